"""The moment of a dump. Its tables are locked before it: what rewrites a table leaves no row to an older snapshot.

TRUNCATE, and the forms of ALTER TABLE that write a table anew, are not MVCC-safe (PostgreSQL manual, "Concurrency
Control", "Caveats"): a pg_dump that waited for such a transaction would find the table empty, and say nothing.
"""

# ruff: noqa: S608 - the query is put together from constants of ours
from __future__ import annotations

import time

import psycopg
from psycopg import sql

from db_backup.engines.postgres.inventory import PREAMBLE
from db_backup.engines.postgres.session import Connection, rows
from db_backup.errors import DumpFailed
from db_backup.progress import Cancellation

LOCK_WAIT_SECONDS = 300
BEGIN_SECONDS = 60  # of trying to begin where tables come and go
# What this user may not read is refused by the preflight, which says it better.
_TABLES = (
    PREAMBLE
    + """SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_table_privilege(c.oid, 'SELECT') ORDER BY c.oid"""
)


def begin_snapshot(connection: Connection, entry: str, cancellation: Cancellation) -> None:
    """Everything that this connection reads from here to its end is of one moment, and no table is rewritten until it.

    :raises DumpFailed: a change of a table's structure does not end, or they follow each other too fast.
    :raises Interrupted:
    """
    with cancellation.on_cancel(connection.cancel):
        deadline = time.monotonic() + BEGIN_SECONDS
        while True:
            cancellation.check()
            tables = rows(connection, _TABLES)
            if _begin(connection, tables, entry, cancellation) and rows(connection, _TABLES) == tables:
                return
            connection.execute("ROLLBACK")
            if time.monotonic() > deadline:
                raise DumpFailed(
                    f"The dump of '{entry}' did not begin within {BEGIN_SECONDS} s: tables are made and dropped there "
                    "all the time.",
                    hint="Run it again when that is over.",
                    database=entry,
                )


def _begin(connection: Connection, tables: list[tuple[str, str]], entry: str, cancellation: Cancellation) -> bool:
    """Whether all the tables were there to be locked. The snapshot is taken by what is read next."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    # The dump may take hours, and this transaction is idle meanwhile.
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.execute("SET LOCAL statement_timeout = 0")
    connection.execute(f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
    if not tables:
        return True
    names = sql.SQL(", ").join(sql.SQL("ONLY ") + sql.Identifier(*name) for name in tables)
    try:
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return False
    except psycopg.errors.QueryCanceled:
        cancellation.check()
        raise
    except psycopg.errors.LockNotAvailable as error:
        raise DumpFailed(
            f"The dump of '{entry}' did not begin: a change of a table's structure held its lock for "
            f"{LOCK_WAIT_SECONDS} s.",
            hint="Run it again afterwards.",
            database=entry,
        ) from error
    return True
