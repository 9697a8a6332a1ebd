"""Connections to a server from beside a database: to make it, rename it, replace it or drop it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import sql

from db_backup.engines.postgres.session import Connection, MissingDatabase, connected, rows
from db_backup.errors import SourceError
from db_backup.model import ConnectionInfo

#: What every server is made with. Sessions start in the first where no other database is left to go to.
MAINTENANCE_DATABASES = ("postgres", "template1")
# Not autovacuum's workers: only a superuser may end these, and the server does so itself where they are in the way.
_TERMINATE = """SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
    WHERE datname = ANY (%(names)s) AND pid <> pg_catalog.pg_backend_pid() AND usesysid IS NOT NULL"""


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


def end_sessions(link: Connection, databases: Collection[str]) -> None:
    """:raises psycopg.errors.InsufficientPrivilege: this user may not end one of them."""
    rows(link, _TERMINATE, names=list(databases))


def drop(link: Connection, database: str) -> None:
    """Where it exists, and whoever is in it.

    FORCE asks for a right over every process in the database, which an owner has not over a worker of autovacuum;
    without it the server ends these workers itself, and waits some seconds for the others.

    :raises psycopg.errors.ObjectInUse: somebody could not be got out of it.
    """
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(database))
    try:
        link.execute(statement + sql.SQL(" WITH (FORCE)"))
    except psycopg.errors.InsufficientPrivilege:
        end_sessions(link, [database])
        link.execute(statement)
