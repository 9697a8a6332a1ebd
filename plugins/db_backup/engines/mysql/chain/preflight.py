"""Before a full or an increment of a server: whether its binlog can be followed, and what a replay would trip over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from db_backup.engines.base import DumpRequest, EngineOptions, Preflight
from db_backup.engines.mysql.cautions import (
    about_definers,
    about_engines,
    about_floats,
    about_history,
    about_versions,
    about_views,
    account_of,
    names,
)
from db_backup.engines.mysql.chain.server import (
    read_files,
    read_standing,
    server_ids,
    user_databases,
    variable,
)
from db_backup.engines.mysql.connecting import Session, identifier, query, session_for
from db_backup.engines.mysql.databases import some
from db_backup.engines.mysql.flavour import DumpPlan, Flavour, Tool, find_client_tool
from db_backup.engines.mysql.inventory import invalid_views
from db_backup.engines.mysql.preflight import FIRST_HISTORY, VERSIONED, VIEWS, routine_grant, unprotected_tables
from db_backup.engines.mysql.privileges import Privileges, read_privileges
from db_backup.engines.mysql.replica import Replica, read_replica
from db_backup.engines.mysql.server import Server, describe_server
from db_backup.engines.mysql.tables import read_sizes
from db_backup.errors import ConfigurationError, PrivilegeMissing, SourceUnsupported
from db_backup.model import ConnectionInfo

# From Friday's last run to Monday's first, and a day in which nobody could take one.
_SHORTEST_HISTORY_SECONDS = 4 * 24 * 3600
#: What a scratch server must have as its source had it: statements are logged that go by it.
SCRATCH_SETTINGS = (
    "lower_case_table_names",
    "default_storage_engine",
    "old_mode",
    "explicit_defaults_for_timestamp",
    "mysql56_temporal_format",
    "innodb_page_size",
    "innodb_default_row_format",
)


@dataclass(frozen=True)
class History:
    """A binlog that can be followed. ``kept_seconds``: how long the server keeps its files; None: for ever."""

    server: Server
    ids: tuple[int, int]
    kept_seconds: int | None
    replica: Replica | None
    warnings: tuple[str, ...]

    def recovery_point(self, taken_at: datetime) -> datetime:
        """A replica has what had come to it by then."""
        until = self.replica.replicated_until if self.replica else None
        return min(taken_at, until) if until else taken_at


@dataclass(frozen=True)
class Source:
    """What a full of the server takes.

    :param locked: names of the tables without transactions, as SQL writes them.
    """

    history: History
    preflight: Preflight
    tool: Tool
    plan: DumpPlan
    locked: tuple[str, ...]
    settings: dict[str, str]

    @property
    def databases(self) -> tuple[str, ...]:
        return self.plan.databases


def examine_history(session: Session, connection: ConnectionInfo) -> History:
    """:raises SourceUnsupported: no replay could lead from one moment of this server to a later one.
    :raises PrivilegeMissing:
    """
    server = describe_server(session, connection)
    privileges = read_privileges(session, "", server.flavour)
    _require(privileges, connection, _to_replicate(server))
    replica = read_replica(session, server.flavour, server.version)
    _require_history(session, connection, replica)
    kept = _kept_seconds(session)
    warnings = [
        *(replica.warnings if replica else ()),
        *_about_format(session),
        *_about_time(session, kept),
        *_about_offset(session),
    ]
    return History(server, server_ids(session, server.flavour), kept, replica, tuple(warnings))


def examine_source(
    connection: ConnectionInfo, options: EngineOptions, databases: Sequence[str], request: DumpRequest
) -> Source:
    """:raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceUnsupported, ToolMissing, ToolVersionMismatch:
    :raises ConfigurationError: not all of the server's databases shall be in it, or not all rows.
    """
    if request.exclude_tables:
        raise ConfigurationError(
            f"The full backup of the server '{request.entry}' cannot leave out rows: its binlog has them.",
            hint="Remove exclude_tables.",
            database=request.entry,
        )
    with session_for(connection, "examine", database="") as session:
        history = examine_history(session, connection)
        server = history.server
        privileges = read_privileges(session, "", server.flavour)
        _require(privileges, connection, _to_dump(server))
        _require_routines(privileges, server, connection)
        found = _chosen(user_databases(session), databases, request.entry)
        return _survey(session, history, found, privileges)


def _survey(session: Session, history: History, databases: tuple[str, ...], privileges: Privileges) -> Source:
    server = history.server
    tool = find_client_tool(server.flavour, server.flavour.dump_names)
    plan, warnings = plan_for(session, server, tool, databases)
    unprotected = {database: unprotected_tables(session, database) for database in databases}
    for database in databases:
        warnings += [
            f"In '{database}': {warning}"
            for warning in (
                *about_engines(unprotected[database], may_lock=True),
                *about_floats(session, database),
                *about_definers(session, database, privileges),
            )
        ]
    settings = {name: value for name in SCRATCH_SETTINGS if (value := variable(session, name)) is not None}
    estimate = sum(sum(read_sizes(session, database).values()) for database in databases)
    return Source(
        history,
        Preflight(
            server.info,
            (tool.info,),
            (*history.warnings, *about_versions(server, tool), *warnings, *_about_prepared(session, server.flavour)),
            estimate,
        ),
        tool,
        plan,
        _written(unprotected),
        settings,
    )


def locked_tables(session: Session, source: Source) -> tuple[str, ...]:
    """What ``Source.locked`` is by now."""
    return _written({database: unprotected_tables(session, database) for database in source.databases})


def _written(tables: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    return tuple(
        f"{identifier(database)}.{identifier(table)}" for database, of_it in tables.items() for table in sorted(of_it)
    )


def plan_for(
    session: Session, server: Server, tool: Tool, databases: tuple[str, ...], *, with_position: bool = True
) -> tuple[DumpPlan, list[str]]:
    """What the dump tool is asked for, and what it leaves out."""
    warnings: list[str] = []
    views: list[str] = []
    versioned = False
    for database in databases:
        invalid = invalid_views(session, database, names(session, VIEWS, database))
        views += [f"{database}.{view}" for view in invalid]
        tables = names(session, VERSIONED, database) if server.flavour is Flavour.MARIADB else []
        versioned = versioned or bool(tables)
        without_history = tables if min(server.version, tool.version) < FIRST_HISTORY else []
        found = (*about_views(invalid), *about_history(without_history))
        warnings += [f"In '{database}': {warning}" for warning in found]
    plan = DumpPlan(
        "",
        databases=databases,
        ignored_views=tuple(views),
        with_position=with_position,
        with_history=versioned and min(server.version, tool.version) >= FIRST_HISTORY,
    )
    return plan, warnings


def _chosen(found: tuple[str, ...], wanted: Sequence[str], entry: str) -> tuple[str, ...]:
    if left_out := sorted(set(found) - set(wanted)) if wanted else []:
        raise ConfigurationError(
            f"'databases' of the server '{entry}' leaves out {some(left_out)}, and the binlog holds changes of these "
            "too: increments could not be replayed without them.",
            hint="Write databases: all, or make entries under databases: of those that are wanted alone.",
            database=entry,
        )
    if not found:
        raise SourceUnsupported(
            f"The server of '{entry}' has no database besides its own.",
            hint="Create a database first, and see whether this is the right server.",
            database=entry,
        )
    return found


def _to_replicate(server: Server) -> tuple[str, ...]:
    newer = server.flavour is Flavour.MARIADB and server.version >= (10, 5, 2)
    return ("REPLICATION SLAVE", "BINLOG MONITOR" if newer else "REPLICATION CLIENT")


def _to_dump(server: Server) -> tuple[str, ...]:
    blocks = () if server.flavour is Flavour.MARIADB else ("BACKUP_ADMIN",)
    return ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES", "RELOAD", *blocks)


def _require(privileges: Privileges, connection: ConnectionInfo, wanted: Sequence[str]) -> None:
    if lacking := [name for name in wanted if not privileges.on_all(name)]:
        raise PrivilegeMissing(
            f"The user '{connection.login}' lacks {', '.join(lacking)} on the whole server of '{connection.address}', "
            "which a chain of its backups takes.",
            hint=f"GRANT {', '.join(lacking)} ON *.* TO {account_of(connection)};",
        )


def _require_routines(privileges: Privileges, server: Server, connection: ConnectionInfo) -> None:
    if not privileges.sees_all_routines(server.flavour, server.version):
        raise PrivilegeMissing(
            f"The user '{connection.login}' cannot see all stored routines of the server of '{connection.address}': "
            "the dump would leave them out in silence.",
            hint=f"{routine_grant(server, '*.*')} TO {account_of(connection)};",
        )


def _require_history(session: Session, connection: ConnectionInfo, replica: Replica | None) -> None:
    where = f"The server of '{connection.address}'"
    standing = read_standing(session)
    if standing is None:
        raise SourceUnsupported(
            f"{where} writes no binlog, and increments are made of it.",
            hint="Set log_bin and binlog_format=ROW in the server's configuration, and restart it.",
        )
    if standing.filtered:
        raise SourceUnsupported(
            f"{where} leaves changes out of its binlog (binlog_do_db or binlog_ignore_db: {standing.filtered}).",
            hint="Remove these settings from the server's configuration.",
        )
    for name in ("encrypt_binlog", "binlog_encryption"):
        if variable(session, name) == "ON":
            raise SourceUnsupported(
                f"{where} encrypts its binlog ({name}), whose files cannot be captured as they are.",
                hint=f"Switch {name} off and let db-backup encrypt the increments, or take fulls alone.",
            )
    if (variable(session, "binlog_storage_engine") or "").lower() == "innodb":
        raise SourceUnsupported(
            f"{where} keeps its binlog inside InnoDB, where positions of files mean nothing.",
            hint="Unset binlog_storage_engine, or take fulls alone.",
        )
    if replica is not None and "ON" not in {variable(session, f"log_{name}_updates") for name in ("slave", "replica")}:
        raise SourceUnsupported(
            f"{where} is a replica and does not log what it replicates.",
            hint="Set log_slave_updates=ON in its configuration, or name its source as the server.",
        )


def _kept_seconds(session: Session) -> int | None:
    """Since MariaDB 10.6 and MySQL 8 in seconds, before that in days."""
    seconds = variable(session, "binlog_expire_logs_seconds")
    kept = float(seconds) if seconds is not None else float(variable(session, "expire_logs_days") or 0) * 86400
    return int(kept) or None


def _about_format(session: Session) -> Iterator[str]:
    if (log_format := variable(session, "binlog_format")) not in {None, "ROW"}:
        yield (
            f"The server's binlog_format is {log_format}: statements that do not always do the same may be replayed "
            "with another result, and LOAD DATA cannot be replayed at all. Set it to ROW."
        )
    if (image := variable(session, "binlog_row_image")) == "MINIMAL":
        yield (
            f"The server's binlog_row_image is {image}: a replay finds rows by their primary keys alone. FULL also "
            "proves that it changes what was changed."
        )


def _about_time(session: Session, kept_seconds: int | None) -> Iterator[str]:
    if kept_seconds is not None and kept_seconds < _SHORTEST_HISTORY_SECONDS:
        yield (
            f"The server keeps its binlog for {kept_seconds / 3600:g} h: when no increment is taken for longer than "
            f"that, the chain breaks. Set binlog_expire_logs_seconds to {_SHORTEST_HISTORY_SECONDS} or more."
        )
    if (limit := variable(session, "max_binlog_total_size") or "0") != "0":
        yield (
            f"The server keeps its binlog up to {limit} bytes (max_binlog_total_size): when more is written between "
            "two increments, the chain breaks."
        )


def _about_offset(session: Session) -> Iterator[str]:
    files = read_files(session)
    if files and (size := list(files.values())[-1]) >= 1 << 32:
        yield (
            f"The server's binlog file is {size} bytes long, and no increment can begin beyond 4 GiB: FLUSH BINARY "
            "LOGS begins another one."
        )


def _about_prepared(session: Session, flavour: Flavour) -> Iterator[str]:
    if flavour is not Flavour.MARIADB:
        return  # MySQL takes another privilege for the question
    if count := len(query(session, "XA RECOVER")):
        yield (
            f"{count} XA transactions were prepared and not decided: they are not in this backup, and instead of the "
            "increment that would hold their end a full is taken."
        )
