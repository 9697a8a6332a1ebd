"""Before the dump: the server, the tools, the privileges, and what this database holds that a dump trips over."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from db_backup.engines.base import DumpRequest, EngineOptions, Preflight
from db_backup.engines.exclusion import Exclusion
from db_backup.engines.mysql.connecting import Session, query, session_for
from db_backup.engines.mysql.databases import character_set, replaced_name
from db_backup.engines.mysql.flavour import (
    DumpPlan,
    Flavour,
    Tool,
    Version,
    find_client_tool,
    server_flavour,
    version_numbers,
)
from db_backup.engines.mysql.inventory import invalid_views
from db_backup.engines.mysql.left_out import leave_out
from db_backup.engines.mysql.privileges import Privileges, read_privileges
from db_backup.engines.mysql.replica import Replica, read_replica
from db_backup.engines.mysql.tables import read_sizes
from db_backup.errors import ConfigurationError, PrivilegeMissing
from db_backup.manifest import ServerInfo
from db_backup.model import BackupType, ConnectionInfo, EngineName

_SNAPSHOT_ENGINES = {"InnoDB", "RocksDB"}  # what START TRANSACTION WITH CONSISTENT SNAPSHOT covers
_FIRST_HISTORY: Version = (10, 11, 0)

_ENGINES = """SELECT table_name, engine FROM information_schema.tables
    WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND engine IS NOT NULL"""
_FLOATS = """SELECT DISTINCT c.table_name, EXISTS (SELECT 1 FROM information_schema.statistics s
        WHERE s.table_schema = c.table_schema AND s.table_name = c.table_name AND s.index_name = 'PRIMARY')
    FROM information_schema.columns c
    JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
    WHERE c.table_schema = %s AND c.data_type = 'float' AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"""
_VERSIONED = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = %s AND table_type = 'SYSTEM VERSIONED'"""
_SEQUENCE_DEFAULTS = """SELECT DISTINCT table_name FROM information_schema.columns
    WHERE table_schema = %s AND column_default LIKE '%%nextval(%%'"""
_VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = %s"
_DEFINERS = """SELECT definer FROM information_schema.routines WHERE routine_schema = %s
    UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = %s
    UNION SELECT definer FROM information_schema.events WHERE event_schema = %s
    UNION SELECT definer FROM information_schema.views WHERE table_schema = %s"""
_ACCOUNTS = "SELECT CONCAT(user, '@', host) FROM mysql.user"


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    info: ServerInfo
    flavour: Flavour
    version: Version
    binlog: bool


def describe_server(session: Session, connection: ConnectionInfo) -> Server:
    version, comment, binlog = query(session, "SELECT VERSION(), @@version_comment, @@log_bin")[0]
    flavour, numbers = server_flavour(str(version), str(comment)), version_numbers(str(version))
    # MariaDB's server_uid changes with the port: it has no identity that would hold.
    identity = str(query(session, "SELECT @@server_uuid")[0][0]) if _has_uuid(flavour, numbers) else ""
    encoding, collation = query(session, "SELECT @@character_set_database, @@collation_database")[0]
    info = ServerInfo(
        engine=EngineName.MYSQL,
        flavour=flavour.value,
        version=".".join(map(str, numbers)),
        identity=identity,
        address=connection.address,
        encoding=str(encoding),
        collation=str(collation),
    )
    return Server(info, flavour, numbers, bool(binlog))


def _has_uuid(flavour: Flavour, version: Version) -> bool:
    return flavour is Flavour.MYSQL and version >= (5, 6, 0)


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
        return bool(self.versioned_tables) and min(self.server.version, self.tool.version) >= _FIRST_HISTORY


def _survey(session: Session, connection: ConnectionInfo) -> _Survey:
    database = connection.database
    server = describe_server(session, connection)
    tool = find_client_tool(server.flavour, server.flavour.dump_names)
    versioned = _names(session, _VERSIONED, database) if server.flavour is Flavour.MARIADB else []
    invalid = invalid_views(session, database, _names(session, _VIEWS, database))
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
    unprotected = _unprotected(session, database) if plan.rows and options.mysql_single_transaction else {}
    may_block = _may_block_structure(privileges, server)
    may_lock = privileges.holds("LOCK TABLES")
    replica = read_replica(session, server.flavour, server.version)
    warnings = [
        *(replica.warnings if replica else ()),
        *_about_restores(session, connection),
        *(_about_definitions(session, survey, database, privileges, options) if plan.definitions else []),
        *_about_versions(server, survey.tool),
        *_about_engines(unprotected, may_lock),
        *(_about_rows(session, survey, database) if plan.rows else []),
        *exclusion.warnings,
        *([] if may_block else [_structure_warning(connection, server.flavour)]),
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
    yield from _about_options(options)
    yield from _about_views(survey.invalid_views)
    yield from _about_sequences(session, database, survey.server.flavour)
    yield from _about_definers(session, database, privileges)


def _about_rows(session: Session, survey: _Survey, database: str) -> Iterator[str]:
    yield from _about_floats(session, database)
    yield from _about_history(survey)


def _names(session: Session, statement: str, database: str) -> list[str]:
    return [str(row[0]) for row in query(session, statement, (database,))]


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


def account_of(connection: ConnectionInfo) -> str:
    """The user as a GRANT names it; from which hosts it comes is not ours to know."""
    return f"'{connection.login}'@'%'"


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


def _unprotected(session: Session, database: str) -> dict[str, str]:
    rows = query(session, _ENGINES, (database,))
    return {str(table): str(engine) for table, engine in rows if engine not in _SNAPSHOT_ENGINES}


def _about_options(options: EngineOptions) -> Iterator[str]:
    for setting, wanted, what in (
        ("MYSQL_BACKUP_ROUTINES", options.mysql_routines, "Stored routines"),
        ("MYSQL_BACKUP_TRIGGERS", options.mysql_triggers, "Triggers"),
        ("MYSQL_BACKUP_EVENTS", options.mysql_events, "Events"),
    ):
        if not wanted:
            yield f"{what} are left out, as {setting}=false asks."


def _about_versions(server: Server, tool: Tool) -> Iterator[str]:
    if tool.version[:2] < server.version[:2]:
        yield (
            f"The tool {tool.path.name} {tool.info.version} is older than the server ({server.info.version}): "
            f"install the {tool.flavour.package} of the server's release."
        )


def _about_views(invalid: Mapping[str, str]) -> Iterator[str]:
    for view, statement in invalid.items():
        yield f"The view '{view}' refers to something that is gone, and is left out. Its SQL: {statement}"


def _about_engines(unprotected: Mapping[str, str], may_lock: bool) -> Iterator[str]:
    if not unprotected:
        return
    tables = _listed([f"{table} ({engine})" for table, engine in unprotected.items()])
    if may_lock:
        yield f"Tables without transactions were locked against writing while the dump ran: {tables}."
    else:
        yield (
            f"Tables without transactions may be newer than the snapshot, for LOCK TABLES is not granted: {tables}. "
            "Convert them to InnoDB, or grant LOCK TABLES."
        )


def _about_floats(session: Session, database: str) -> Iterator[str]:
    floats = {str(table): bool(keyed) for table, keyed in query(session, _FLOATS, (database,))}
    if floats:
        yield (
            "FLOAT columns are dumped with 6 digits, as the server prints them, and what a value had beyond them is "
            f"not in the backup (DOUBLE keeps every bit): {_listed(tuple(floats))}."
        )
    if loose := [table for table, keyed in floats.items() if not keyed]:
        yield (
            "FLOAT columns in tables without a primary key cannot be found again by their value when a binlog is "
            f"replayed: {_listed(loose)}."
        )


def _about_sequences(session: Session, database: str, flavour: Flavour) -> Iterator[str]:
    if flavour is Flavour.MARIADB and (tables := _names(session, _SEQUENCE_DEFAULTS, database)):
        yield (
            f"Column defaults name their sequence together with the database '{database}': {_listed(tables)}. "
            "db-backup corrects this when it restores under another name; the stock command does not."
        )


def _about_history(survey: _Survey) -> Iterator[str]:
    if survey.versioned_tables and not survey.with_history:
        yield (
            "The history of system-versioned tables is not in the dump (it takes a server and a tool of 10.11 or "
            f"newer): {_listed(survey.versioned_tables)}."
        )


def _about_definers(session: Session, database: str, privileges: Privileges) -> Iterator[str]:
    if not privileges.reads_system_table("user"):
        return
    accounts = {str(row[0]) for row in query(session, _ACCOUNTS)}
    definers = {str(row[0]) for row in query(session, _DEFINERS, (database,) * 4)}
    gone = sorted(name for name in definers - accounts if name.removesuffix("@") not in _roles(accounts))
    if gone:
        yield (
            f"These definers of views, triggers, routines or events do not exist, so using them fails (1449), "
            f"here and after a restore: {_listed(gone)}."
        )


def _roles(accounts: set[str]) -> set[str]:
    return {name.removesuffix("@") for name in accounts}


def _structure_warning(connection: ConnectionInfo, flavour: Flavour) -> str:
    privilege = "RELOAD" if flavour is Flavour.MARIADB else "BACKUP_ADMIN"
    return (
        "The structure could have been changed while the dump ran, and the dump then fails: "
        f"GRANT {privilege} ON *.* TO {account_of(connection)} lets the backup hold such changes back."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(re.sub(r"\s", " ", name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
