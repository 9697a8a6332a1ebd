"""What follows a restore: statistics for the planner, and questions of the configuration."""

from __future__ import annotations

from db_backup.engines.postgres.session import connected
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation


def refresh_statistics(connection: ConnectionInfo, cancellation: Cancellation) -> None:
    """ANALYZE, of every table that this user may analyze.

    :raises SourceError, Interrupted:
    """
    cancellation.check()
    with connected(connection, cancellation=cancellation) as link, cancellation.on_cancel(link.cancel):
        link.execute("SET statement_timeout = 0")
        link.execute("ANALYZE")


def ask(connection: ConnectionInfo, query: str, cancellation: Cancellation) -> object:
    """The first value of the first row of one query that only reads; None: no row.

    A cursor takes one statement, and no other than a query; a transaction that only reads keeps the functions that it
    calls from writing.

    :raises SourceError, Interrupted:
    """
    cancellation.check()
    with connected(connection, cancellation=cancellation) as link, cancellation.on_cancel(link.cancel):
        link.execute("BEGIN READ ONLY")
        with link.cursor(name="question") as cursor:
            cursor.execute(query.encode())
            row = cursor.fetchone()
        return row[0] if row else None
