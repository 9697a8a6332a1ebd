"""Connections to a server from beside a database: to make it, rename it, replace it or drop it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from db_backup.engines.postgres.session import Connection, MissingDatabase, connected
from db_backup.errors import SourceError
from db_backup.model import ConnectionInfo

#: What every server is made with. Sessions start in the first where no other database is left to go to.
MAINTENANCE_DATABASES = ("postgres", "template1")


@contextmanager
def beside(connection: ConnectionInfo, *databases: str) -> Iterator[Connection]:
    """A session on the connection's server, in none of these databases: in its own, or in one that every server has.

    The connection's own may itself be what was lost.

    :raises ServerUnreachable, AccessDenied, SourceError:
    """
    with ExitStack() as stack:
        yield _first_that_exists(connection, databases, stack)


def _first_that_exists(connection: ConnectionInfo, avoided: Collection[str], stack: ExitStack) -> Connection:
    for database in dict.fromkeys((connection.database, *MAINTENANCE_DATABASES)):
        if database in avoided:
            continue
        inner = ExitStack()
        try:
            link = inner.enter_context(connected(dataclasses.replace(connection, database=database)))
        except MissingDatabase:
            continue
        stack.push(inner)
        return link
    raise SourceError(
        f"There is no database at {connection.address} to work from: {' and '.join(MAINTENANCE_DATABASES)} are not "
        "there, or are what is to be changed.",
        hint="Create an empty database called postgres.",
    )
