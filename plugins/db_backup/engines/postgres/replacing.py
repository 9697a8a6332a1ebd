"""Putting a restored database in the place of another: both are renamed in one transaction, and a crash leaves either.

ALTER DATABASE … RENAME takes the lock that every new session of the database wants, then waits some seconds for the
sessions that are there (``RenameDatabase`` and ``CountOtherDBBackends`` in PostgreSQL's source). A second session of
ours ends them meanwhile, and whoever connects again stands before the lock. So nothing has to be forbidden that a crash
could leave forbidden (``ALLOW_CONNECTIONS false``).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
from psycopg import sql

from db_backup.engines.postgres.belongings import carry_over
from db_backup.engines.postgres.maintenance import MAINTENANCE_DATABASES, beside, drop, end_sessions
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.session import Connection, one_line, rows
from db_backup.errors import LoadFailed, Refused, ServerUnreachable
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

MOST_NAME_BYTES = 63  # NAMEDATALEN - 1
_RESTORING = "__db_backup_restoring"
_REPLACED = "__db_backup_replaced"
_MARK = "What a restore of Airflow DB Backup has replaced; it is to be dropped."  # the comment of our own
_ATTEMPTS = 6  # of some seconds each
_LOCK_WAIT_SECONDS = 10
_BETWEEN_TERMINATIONS_SECONDS = 0.05

# Whose they are; the server's own, such as autovacuum's, make way by themselves.
_SESSIONS = """SELECT DISTINCT coalesce(usename::text, usesysid::text) FROM pg_catalog.pg_stat_activity
    WHERE datname = ANY (%(names)s) AND usesysid IS NOT NULL ORDER BY 1"""
_COMMENT = """SELECT pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database
    WHERE datname = %(name)s"""
_EXISTING = "SELECT datname::text FROM pg_catalog.pg_database WHERE datname = ANY (%(names)s)"
# What neither a renaming nor a drop can go past, or what would be lost with the old database.
_OBSTACLES = (
    ("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = %(name)s ORDER BY 1", "prepared transactions"),
    (
        "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = %(name)s ORDER BY 1",
        "replication slots",
    ),
    (
        """SELECT s.subname::text FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
        WHERE d.datname = %(name)s ORDER BY 1""",
        "subscriptions",
    ),
)


def replacement_name(database: str) -> str:
    """What the replacement of a database is called until it takes its place."""
    return _with_suffix(database, _RESTORING)


def replaced_name(database: str) -> str:
    """What a database is called between being replaced and being dropped."""
    return _with_suffix(database, _REPLACED)


def _with_suffix(database: str, suffix: str) -> str:
    """Cut with a hash where the name would be too long, so that two long names do not share one."""
    whole = database + suffix
    if len(whole.encode(errors="surrogateescape")) <= MOST_NAME_BYTES:
        return whole
    name = database.encode(errors="surrogateescape")
    suffix = f"_{hashlib.sha256(name).hexdigest()[:8]}{suffix}"
    return name[: MOST_NAME_BYTES - len(suffix)].decode(errors="ignore") + suffix


def refuse_irreplaceable(link: Connection, database: str, address: str) -> None:
    """See that it may be renamed, and dropped afterwards.

    :raises Refused: it is the server's own, or has what would be lost with it; or its name meanwhile is somebody's.
    """
    marked = rows(link, "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = %(name)s", name=database)
    if database in MAINTENANCE_DATABASES or marked == [(True,)]:
        raise Refused(
            f"The database '{database}' at {address} is one of the server's own (a template, or where sessions go that "
            "create and rename databases), and is not replaced; nothing was changed.",
            hint="Restore into a new database.",
        )
    for query, what in _OBSTACLES:
        if names := [name for (name,) in rows(link, query, name=database)]:
            raise Refused(
                f"The database '{database}' at {address} cannot be replaced, for it has {what}: {some(names)}; nothing "
                "was changed.",
                hint="End or drop them first, or restore into a new database.",
            )
    replaced = replaced_name(database)
    if any(comment != _MARK for (comment,) in rows(link, _COMMENT, name=replaced)):
        raise Refused(
            f"The database '{database}' at {address} would be called '{replaced}' while it is replaced, and there is a "
            "database of that name which no restore has left there; nothing was changed.",
            hint=f"Rename '{replaced}', or drop it if nobody needs it, and restore again.",
        )


def leftover(link: Connection, database: str, address: str) -> Iterator[str]:
    """A warning, where a restore that replaced this database could not drop the old one, which the next one drops."""
    replaced = replaced_name(database)
    if rows(link, _COMMENT, name=replaced):
        yield (
            f"'{replaced}' at {address}, which an earlier restore replaced and could not drop, is dropped before the "
            "database is replaced."
        )


def replace_with(connection: ConnectionInfo, database: str, cancellation: Cancellation) -> tuple[str, ...]:
    """See ``Engine.replace_with``. Not to be stopped once it has begun: it takes some seconds.

    :raises Refused: the database is in use and cannot be freed, or cannot be replaced; nothing was changed.
    :raises LoadFailed: there is no such replacement.
    :raises PrivilegeMissing: this user may not end the sessions, or rename a database.
    :raises ServerUnreachable: the connection broke; one of the two is in service.
    :raises Interrupted: before it has begun.
    """
    target = connection.database
    replaced = replaced_name(target)
    cancellation.check()
    avoided = (target, database, replaced)
    with beside(connection, *avoided) as link, beside(connection, *avoided) as other:
        link.execute("SET statement_timeout = 0")
        existing = {name for (name,) in rows(link, _EXISTING, names=[target, database])}
        if database not in existing:
            raise LoadFailed(
                f"There is no database '{database}' at {connection.address} to be put in the place of '{target}'; "
                "nothing was changed.",
                hint="Restore again.",
            )
        steps = [(database, target)]
        if target in existing:
            refuse_irreplaceable(link, target, connection.address)
            _drop_leftover(link, replaced, connection)
            steps.insert(0, (target, replaced))
        warnings = _swap(link, other, connection, steps, cancellation)
        if target in existing:
            warnings += _drop_replaced(link, replaced, connection)
        return tuple(warnings)


def _swap(
    link: Connection,
    other: Connection,
    connection: ConnectionInfo,
    steps: Sequence[tuple[str, str]],
    cancellation: Cancellation,
) -> list[str]:
    """Rename, as often as it takes to find nobody there; returns warnings.

    :param steps: of each database its name and its new name, in their order.
    """
    names = [name for name, _ in steps]
    problem: psycopg.Error | None = None
    for _ in range(_ATTEMPTS):
        cancellation.check()
        try:
            with _sessions_ended(other, names):
                return _rename(link, steps)
        except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable) as error:
            problem = error
        except psycopg.OperationalError as error:
            raise ServerUnreachable(
                f"The server at {connection.address} stopped answering while the restored database was put in its "
                f"place: {one_line(error)}. Either it or the old one is in service as '{connection.database}'.",
                hint=f"While '{names[-1]}' is still there, it is the old one: restore again.",
            ) from error
    users = some([user for (user,) in rows(link, _SESSIONS, names=names)]) or "others"
    raise Refused(
        f"The database '{connection.database}' at {connection.address} could not be freed of its sessions (of {users}),"
        f" and was not replaced: {one_line(problem)}; nothing was changed.",
        hint="Stop what uses it, and restore again.",
    ) from problem


def _rename(link: Connection, steps: Sequence[tuple[str, str]]) -> list[str]:
    """All or nothing. With two steps the second database gets what belongs to the first; returns warnings."""
    with link.transaction():
        link.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_SECONDS}s'")
        warnings = carry_over(link, *(name for name, _ in steps)) if len(steps) > 1 else []
        for names in steps:
            old, new = map(sql.Identifier, names)
            link.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(old, new))
        if len(steps) > 1:
            replaced = sql.Identifier(steps[0][1])
            link.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(replaced, sql.Literal(_MARK)))
    return warnings


@contextmanager
def _sessions_ended(link: Connection, databases: list[str]) -> Iterator[None]:
    """Before the block begins, and again and again while it runs, sessions of these databases are ended.

    Where that fails and the block does, too, it is that which is raised: it explains the other.
    """
    done = threading.Event()
    end_sessions(link, databases)  # what this user may not do, it may not from the start

    def go_on() -> None:
        while not done.wait(_BETWEEN_TERMINATIONS_SECONDS):
            end_sessions(link, databases)

    with ThreadPoolExecutor(1, thread_name_prefix="end-sessions") as thread:
        ending = thread.submit(go_on)
        try:
            yield
        except psycopg.Error:
            done.set()
            ending.result()
            raise
        finally:
            done.set()


def _drop_leftover(link: Connection, replaced: str, connection: ConnectionInfo) -> None:
    try:
        drop(link, replaced)
    except psycopg.errors.ObjectInUse as error:
        raise Refused(
            f"'{replaced}' at {connection.address}, which an interrupted restore left, cannot be dropped: "
            f"{one_line(error)}; nothing was changed.",
            hint="End what uses it, drop it, and restore again.",
        ) from error


def _drop_replaced(link: Connection, replaced: str, connection: ConnectionInfo) -> list[str]:
    """A warning, where the old database stays beside the new one, which is in service by now."""
    try:
        drop(link, replaced)
    except psycopg.Error as error:
        return [
            f"The database that was replaced could not be dropped, and is still at {connection.address} as "
            f"'{replaced}': {one_line(error)}."
        ]
    return []
