"""What a person should know of a database before it is dumped: each finding as a sentence for the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.connecting import Session, query
from db_backup.engines.mysql.flavour import Flavour, Tool
from db_backup.engines.mysql.privileges import Privileges
from db_backup.engines.mysql.server import Server
from db_backup.model import ConnectionInfo

_FLOATS = """SELECT DISTINCT c.table_name, EXISTS (SELECT 1 FROM information_schema.statistics s
        WHERE s.table_schema = c.table_schema AND s.table_name = c.table_name AND s.index_name = 'PRIMARY')
    FROM information_schema.columns c
    JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
    WHERE c.table_schema = %s AND c.data_type = 'float' AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"""
_SEQUENCE_DEFAULTS = """SELECT DISTINCT table_name FROM information_schema.columns
    WHERE table_schema = %s AND column_default LIKE '%%nextval(%%'"""
_DEFINERS = """SELECT definer FROM information_schema.routines WHERE routine_schema = %s
    UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = %s
    UNION SELECT definer FROM information_schema.events WHERE event_schema = %s
    UNION SELECT definer FROM information_schema.views WHERE table_schema = %s"""
_ACCOUNTS = "SELECT CONCAT(user, '@', host) FROM mysql.user"


def names(session: Session, statement: str, database: str) -> list[str]:
    """The first column of what a statement about one database gives."""
    return [str(row[0]) for row in query(session, statement, (database,))]


def account_of(connection: ConnectionInfo) -> str:
    """The user as a GRANT names it; from which hosts it comes is not ours to know."""
    return f"'{connection.login}'@'%'"


def about_options(options: EngineOptions) -> Iterator[str]:
    for setting, wanted, what in (
        ("MYSQL_BACKUP_ROUTINES", options.mysql_routines, "Stored routines"),
        ("MYSQL_BACKUP_TRIGGERS", options.mysql_triggers, "Triggers"),
        ("MYSQL_BACKUP_EVENTS", options.mysql_events, "Events"),
    ):
        if not wanted:
            yield f"{what} are left out, as {setting}=false asks."


def about_versions(server: Server, tool: Tool) -> Iterator[str]:
    if tool.version[:2] < server.version[:2]:
        yield (
            f"The tool {tool.path.name} {tool.info.version} is older than the server ({server.info.version}): "
            f"install the {tool.flavour.package} of the server's release."
        )


def about_views(invalid: Mapping[str, str]) -> Iterator[str]:
    for view, statement in invalid.items():
        yield f"The view '{view}' refers to something that is gone, and is left out. Its SQL: {statement}"


def about_engines(unprotected: Mapping[str, str], may_lock: bool) -> Iterator[str]:
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


def about_floats(session: Session, database: str) -> Iterator[str]:
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


def about_sequences(session: Session, database: str, flavour: Flavour) -> Iterator[str]:
    if flavour is Flavour.MARIADB and (tables := names(session, _SEQUENCE_DEFAULTS, database)):
        yield (
            f"Column defaults name their sequence together with the database '{database}': {_listed(tables)}. "
            "db-backup corrects this when it restores under another name; the stock command does not."
        )


def about_history(versioned_tables: Sequence[str]) -> Iterator[str]:
    """:param versioned_tables: those whose history is not dumped."""
    if versioned_tables:
        yield (
            "The history of system-versioned tables is not in the dump (it takes a server and a tool of 10.11 or "
            f"newer): {_listed(versioned_tables)}."
        )


def about_definers(session: Session, database: str, privileges: Privileges) -> Iterator[str]:
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


def structure_warning(connection: ConnectionInfo, flavour: Flavour) -> str:
    privilege = "RELOAD" if flavour is Flavour.MARIADB else "BACKUP_ADMIN"
    return (
        "The structure could have been changed while the dump ran, and the dump then fails: "
        f"GRANT {privilege} ON *.* TO {account_of(connection)} lets the backup hold such changes back."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(re.sub(r"\s", " ", name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
