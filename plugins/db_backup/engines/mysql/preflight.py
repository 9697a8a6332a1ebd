"""Before the dump: the server, the tools, the privileges, and what this database holds that a dump trips over."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from db_backup.engines.base import DumpRequest, EngineOptions, Preflight
from db_backup.engines.exclusion import Exclusion
from db_backup.engines.mysql.cautions import (
    about_definers,
    about_engines,
    about_floats,
    about_history,
    about_options,
    about_sequences,
    about_versions,
    about_views,
    account_of,
    names,
    structure_warning,
)
from db_backup.engines.mysql.connecting import Session, query, session_for
from db_backup.engines.mysql.databases import character_set, replaced_name
from db_backup.engines.mysql.flavour import (
    DumpPlan,
    Flavour,
    Tool,
    Version,
    find_client_tool,
)
from db_backup.engines.mysql.inventory import invalid_views
from db_backup.engines.mysql.left_out import leave_out
from db_backup.engines.mysql.privileges import Privileges, read_privileges
from db_backup.engines.mysql.replica import Replica, read_replica
from db_backup.engines.mysql.server import Server, describe_server
from db_backup.engines.mysql.tables import read_sizes
from db_backup.errors import ConfigurationError, PrivilegeMissing
from db_backup.model import BackupType, ConnectionInfo

_SNAPSHOT_ENGINES = {"InnoDB", "RocksDB"}  # what START TRANSACTION WITH CONSISTENT SNAPSHOT covers
FIRST_HISTORY: Version = (10, 11, 0)

_ENGINES = """SELECT table_name, engine FROM information_schema.tables
    WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND engine IS NOT NULL"""
VERSIONED = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = %s AND table_type = 'SYSTEM VERSIONED'"""
VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = %s"


@dataclass(frozen=True)
class Findings:
    """What the preflight found out, for the contract and for the dump that follows."""

    preflight: Preflight
    server: Server
    dump_tool: Tool
    plan: DumpPlan
    may_block_structure: bool = False
    unprotected_tables: tuple[str, ...] = ()  # of engines that the snapshot does not cover
    may_lock_tables: bool = False
    replica: Replica | None = None

    @property
    def tables_to_lock(self) -> tuple[str, ...]:
        return self.unprotected_tables if self.may_lock_tables else ()

    def recovery_point(self, taken_at: datetime) -> datetime:
        """Of a dump whose snapshot is no older than ``taken_at``: a replica has what had come to it by then."""
        until = self.replica.replicated_until if self.replica else None
        return min(taken_at, until) if until else taken_at


def run_preflight(connection: ConnectionInfo, options: EngineOptions, request: DumpRequest) -> Findings:
    """:raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceError, ToolMissing, ToolVersionMismatch:
    :raises ConfigurationError: rows that ``exclude_tables`` leaves out are needed by others.
    """
    if not connection.database:
        raise ConfigurationError(
            f"The connection '{connection.conn_id}' names no database.",
            hint="Set its schema to the database that is to be backed up.",
        )
    with session_for(connection, "examine") as session:
        return _examine(session, connection, options, request)


def examine_copy(connection: ConnectionInfo, backup_type: BackupType) -> Findings:
    """What a dump of a restored database is asked for: no privileges, no locks, no warnings, nothing left out.

    :raises ServerUnreachable, AccessDenied, SourceError, ToolMissing, ToolVersionMismatch:
    """
    with session_for(connection, "examine") as session:
        survey = _survey(session, connection)
    return Findings(
        Preflight(survey.server.info, (survey.tool.info,), (), None),
        survey.server,
        survey.tool,
        _plan(survey, connection.database, backup_type),
    )


def _plan(survey: _Survey, database: str, backup_type: BackupType) -> DumpPlan:
    return DumpPlan(
        database,
        definitions=backup_type is not BackupType.DATA,
        rows=backup_type is not BackupType.STRUCTURE,
        triggers=backup_type is not BackupType.DATA,
        events=backup_type is not BackupType.DATA,
        counters=backup_type is BackupType.DATA,
        ignored_views=tuple(survey.invalid_views),
        with_history=survey.with_history,
    )


@dataclass(frozen=True)
class _Survey:
    """What decides the tool and its arguments."""

    server: Server
    tool: Tool
    invalid_views: Mapping[str, str]
    versioned_tables: tuple[str, ...]

    @property
    def with_history(self) -> bool:
        return bool(self.versioned_tables) and min(self.server.version, self.tool.version) >= FIRST_HISTORY


def _survey(session: Session, connection: ConnectionInfo) -> _Survey:
    database = connection.database
    server = describe_server(session, connection)
    tool = find_client_tool(server.flavour, server.flavour.dump_names)
    versioned = names(session, VERSIONED, database) if server.flavour is Flavour.MARIADB else []
    invalid = invalid_views(session, database, names(session, VIEWS, database))
    return _Survey(server, tool, invalid, tuple(versioned))


def _examine(session: Session, connection: ConnectionInfo, options: EngineOptions, request: DumpRequest) -> Findings:
    database = connection.database
    server = describe_server(session, connection)
    privileges = read_privileges(session, database, server.flavour)
    _require(privileges, server, connection, options, request.type)
    parallel = request.jobs > 1 and request.type is not BackupType.STRUCTURE
    if parallel:
        _require_common_moment(privileges, connection, options)
    survey = _survey(session, connection)
    plan = _plan(survey, database, request.type)
    exclusion = leave_out(session, database, server.flavour, request)
    unprotected = unprotected_tables(session, database) if plan.rows and options.mysql_single_transaction else {}
    may_block = _may_block_structure(privileges, server)
    may_lock = privileges.holds("LOCK TABLES")
    replica = read_replica(session, server.flavour, server.version)
    warnings = [
        *(replica.warnings if replica else ()),
        *_about_restores(session, connection),
        *(_about_definitions(session, survey, database, privileges, options) if plan.definitions else []),
        *about_versions(server, survey.tool),
        *about_engines(unprotected, may_lock),
        *(_about_rows(session, survey, database) if plan.rows else []),
        *exclusion.warnings,
        *([] if may_block else [structure_warning(connection, server.flavour)]),
    ]
    estimate = _estimate(session, database, exclusion) if plan.rows else None
    return Findings(
        Preflight(server.info, (survey.tool.info,), tuple(warnings), estimate),
        server,
        survey.tool,
        dataclasses.replace(
            plan,
            tables_without_rows=exclusion.tables,
            # Only a full backup with a position is what others follow.
            with_position=request.type is BackupType.FULL
            and _may_record_position(privileges, server, options)
            # MySQL's tool would flush tables for it, which a read lock of ours holds back.
            and not (parallel and server.flavour is Flavour.MYSQL),
        ),
        may_block,
        tuple(unprotected),
        may_lock,
        replica,
    )


def _estimate(session: Session, database: str, exclusion: Exclusion) -> int:
    return sum(size for table, size in read_sizes(session, database).items() if table not in exclusion.tables)


def _about_restores(session: Session, connection: ConnectionInfo) -> Iterator[str]:
    aside = replaced_name(connection.database)
    if character_set(session, aside) is not None:
        yield (
            f"A restore of '{connection.address}' was interrupted while it took its place, or is at it now: "
            f"'{aside}' holds what it set aside, and views, routines, triggers or events may be missing. Restore again "
            "to put that in order."
        )


def _about_definitions(
    session: Session, survey: _Survey, database: str, privileges: Privileges, options: EngineOptions
) -> Iterator[str]:
    yield from about_options(options)
    yield from about_views(survey.invalid_views)
    yield from about_sequences(session, database, survey.server.flavour)
    yield from about_definers(session, database, privileges)


def _about_rows(session: Session, survey: _Survey, database: str) -> Iterator[str]:
    yield from about_floats(session, database)
    yield from about_history(() if survey.with_history else survey.versioned_tables)


def _require(
    privileges: Privileges,
    server: Server,
    connection: ConnectionInfo,
    options: EngineOptions,
    backup_type: BackupType,
) -> None:
    """Each of these, when it is missing, makes the tool leave something out with exit status 0."""
    scope = f"`{connection.database.replace('`', '``')}`.*"
    wanted = {"SELECT": True, "SHOW VIEW": True}
    defines = backup_type is not BackupType.DATA
    wanted |= {"TRIGGER": defines and options.mysql_triggers, "EVENT": defines and options.mysql_events}
    wanted |= {"LOCK TABLES": not options.mysql_single_transaction}
    lacking = [name for name, needed in wanted.items() if needed and not privileges.holds(name)]
    if lacking:
        raise PrivilegeMissing(
            f"The user '{connection.login}' lacks {', '.join(lacking)} on the database '{connection.database}': "
            "the dump would leave out what the user cannot see.",
            hint=f"GRANT {', '.join(lacking)} ON {scope} TO {account_of(connection)};",
        )
    if defines and options.mysql_routines and not privileges.sees_all_routines(server.flavour, server.version):
        raise PrivilegeMissing(
            f"The user '{connection.login}' cannot see all stored routines of the database '{connection.database}': "
            "the dump would leave them out in silence.",
            hint=f"{routine_grant(server, scope)} TO {account_of(connection)};",
        )


def _require_common_moment(privileges: Privileges, connection: ConnectionInfo, options: EngineOptions) -> None:
    """What several streams of one moment take."""
    if not options.mysql_single_transaction:
        raise ConfigurationError(
            f"'{connection.database}' cannot be dumped in several streams while MYSQL_BACKUP_SINGLE_TRANSACTION is "
            "false: each tool would lock its tables at a moment of its own.",
            hint="Use 1 job (--jobs 1, BACKUP_PARALLEL_JOBS=1), or leave MYSQL_BACKUP_SINGLE_TRANSACTION true.",
        )
    if not privileges.on_all("RELOAD"):
        raise PrivilegeMissing(
            f"The user '{connection.login}' lacks RELOAD, which it takes to begin the streams of "
            f"'{connection.database}' at one moment.",
            hint=f"GRANT RELOAD ON *.* TO {account_of(connection)}; or use 1 job.",
        )


def routine_grant(server: Server, scope: str) -> str:
    """What lets a user see every routine of a database, as a GRANT without its end."""
    if server.flavour is Flavour.MARIADB and server.version >= (11, 3, 0):
        return f"GRANT SHOW CREATE ROUTINE ON {scope}"
    if server.flavour is Flavour.MYSQL and server.version >= (8, 0, 20):
        return "GRANT SHOW_ROUTINE ON *.*"
    return "GRANT SELECT ON mysql.proc"


def _may_block_structure(privileges: Privileges, server: Server) -> bool:
    if server.flavour is Flavour.MARIADB:
        return server.version >= (10, 4, 0) and privileges.on_all("RELOAD")
    return server.version >= (8, 0, 0) and privileges.on_all("BACKUP_ADMIN")


def _may_record_position(privileges: Privileges, server: Server, options: EngineOptions) -> bool:
    # Without a transaction the tools would lock every database of the server for it.
    if not (server.binlog and options.mysql_single_transaction):
        return False
    # MariaDB shows the position of the snapshot itself; MySQL's tool takes a global read lock for it.
    if server.flavour is Flavour.MARIADB:
        return True
    return privileges.on_all("RELOAD") and privileges.on_all("REPLICATION CLIENT")


def unprotected_tables(session: Session, database: str) -> dict[str, str]:
    """Those that the snapshot does not cover, each with its engine."""
    rows = query(session, _ENGINES, (database,))
    return {str(table): str(engine) for table, engine in rows if engine not in _SNAPSHOT_ENGINES}
