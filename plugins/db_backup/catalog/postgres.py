"""A team's catalogue in PostgreSQL: several hosts share it. All that is PostgreSQL's own is here."""

from __future__ import annotations

from sqlalchemy import Connection, NullPool, create_engine, event, func, select
from sqlalchemy.exc import DBAPIError

from db_backup.catalog.place import BUSY_TIMEOUT_SECONDS, WRITES, Place, postgres_name
from db_backup.catalog.tables import UtcDateTime
from db_backup.engines.postgres import session
from db_backup.errors import CatalogError, SourceError
from db_backup.model import ConnectionInfo

# Any number that no other program takes for its own advisory lock: the bytes of "dbbackup".
_WRITERS = int.from_bytes(b"dbbackup", "big")
# As in SQLite, a writing transaction waits for the others, and sees all that they wrote.
_BEGIN_WRITING = (
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; "
    f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_SECONDS}s'; "
    f"SELECT pg_advisory_xact_lock({_WRITERS})"
)
_BEGIN_READING = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

# PostgreSQL manual, "Error Codes": what happened, and what to do.
_ERRORS = {
    "42501": ("may not be used by '{login}': {reason}", "Make '{login}' the owner of its database or schema."),
    "3F000": ("has no schema to lie in: {reason}", "Create the schema that the connection's search_path names."),
    "25006": ("can only be read: {reason}", "Let the connection lead to the primary server, not to a replica."),
    "55P03": (
        f"was busy for {BUSY_TIMEOUT_SECONDS} seconds",
        "Another process writes to it for very long; run it again when that has ended.",
    ),
    "53100": ("has no room left: {reason}", "Free some space on its server, then run it again."),
}
_BROKEN = ("cannot be reached any more: {reason}", "Look into the server's log, and run it again.")
_FAILED = ("failed: {reason}", "Look into the server's log; `db-backup catalog reindex` rebuilds the index.")


def postgres_place(connection: ConnectionInfo) -> Place:
    """A catalogue in the database of this connection. Nothing is connected yet.

    As with SQLite no connection is kept: a forked child never shares one with its parent, and tasks that wait hold
    none of the server's. SQLAlchemy is given connections, never the password.
    """

    def connect() -> session.Connection:
        try:
            return session.connect(connection, autocommit=False)
        except SourceError as error:
            raise CatalogError(
                f"The catalogue of the connection '{connection.conn_id}' cannot be opened: {error.message}",
                hint=error.hint,
            ) from error

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _begin)
    name = postgres_name(connection)
    return Place(
        engine=engine,
        name=name,
        explain=lambda error: explain_postgres(error, name, connection.login),
        now=lambda link: link.execute(select(func.clock_timestamp(type_=UtcDateTime()))).scalar_one(),
        remedy_when_taken="Give the connection of BACKUP_CATALOG_CONN_ID a database of its own, or a schema: "
        "'options': '-c search_path=db_backup' in its extra.",
    )


def explain_postgres(error: DBAPIError, name: str, login: str) -> CatalogError:
    """What a failure of PostgreSQL means to a person."""
    reason = (str(error.orig).splitlines() or [type(error.orig).__name__])[0].rstrip(".")
    code = getattr(error.orig, "sqlstate", None) or ""
    what, remedy = _ERRORS.get(code, _BROKEN if not code or code.startswith(("08", "57P")) else _FAILED)
    return CatalogError(
        f"The catalogue in {name} {what.format(reason=reason, login=login)}.", hint=remedy.format(login=login)
    )


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql(_BEGIN_WRITING if writes else _BEGIN_READING)
