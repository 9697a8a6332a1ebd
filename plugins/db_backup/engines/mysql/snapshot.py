"""Side connections that keep a dump one moment: no structure changes, no writes to tables without transactions.

Several tools cannot share a snapshot, as PostgreSQL's can. They begin theirs while a read lock holds every commit back:
the only time at which a dump holds up a server, a moment unless a tool cannot connect.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pymysql

from db_backup.engines.mysql.connecting import Session, connect, error_code, explain, query
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.streams import MysqlStream
from db_backup.errors import DumpFailed, SourceError
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

LOCK_WAIT_SECONDS = 60
BEGIN_SECONDS = 20  # for every tool to connect and begin its transaction, while writes wait
_ATTEMPT_SECONDS = 3  # others' writes queue up behind a lock that waits: it steps back before they notice
_IDLE_SECONDS = 7 * 24 * 3600  # a side connection says nothing while the dump runs
_LOCK_WAIT_TIMEOUT = 1205

_BLOCK = {
    Flavour.MARIADB: ("BACKUP STAGE START", "BACKUP STAGE BLOCK_DDL"),
    Flavour.MYSQL: ("LOCK INSTANCE FOR BACKUP",),
}
_UNBLOCK = {Flavour.MARIADB: "BACKUP STAGE END", Flavour.MYSQL: "UNLOCK INSTANCE"}


class Guard:
    """Holds what was locked; ``still_holds`` says whether it did so to the end."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions

    def still_holds(self) -> bool:
        """Whether every side connection lives: a lost one has lost its locks long ago."""
        try:
            for session in self._sessions:
                session.ping(reconnect=False)
        except (pymysql.err.MySQLError, OSError):
            return False
        return True


@contextmanager
def guard(
    connection: ConnectionInfo, flavour: Flavour, *, tables: Sequence[str], block_structure: bool
) -> Iterator[Guard]:
    """Hold off what would change the dump's moment, as far as the privileges go.

    :param tables: as SQL writes them, to be locked against writing.
    :param block_structure: whether structure changes are held back, and writes to tables without transactions.
    :raises SourceError: a lock was not to be had in a minute; the message says which.
    """
    sessions: list[Session] = []
    with ExitStack() as stack:
        if tables:
            held = stack.enter_context(_side_session(connection, flavour, lock_wait_seconds=_ATTEMPT_SECONDS))
            _lock_tables(held, connection, tables, flush=block_structure and flavour is Flavour.MARIADB)
            sessions.append(held)
        if block_structure:
            held = stack.enter_context(_side_session(connection, flavour))
            stack.enter_context(_structure_held(held, connection, flavour))
            sessions.append(held)
        yield Guard(sessions)


@contextmanager
def _side_session(
    connection: ConnectionInfo,
    flavour: Flavour,
    *,
    idle_seconds: int = _IDLE_SECONDS,
    lock_wait_seconds: int = LOCK_WAIT_SECONDS,
) -> Iterator[Session]:
    session = connect(connection)
    try:
        query(session, f"SET SESSION wait_timeout = {idle_seconds}, lock_wait_timeout = {lock_wait_seconds}")
        if flavour is Flavour.MARIADB:
            query(session, "SET SESSION idle_transaction_timeout = 0, max_statement_time = 0")
        yield session
    finally:
        session.close()


def _lock(session: Session, connection: ConnectionInfo, statements: Sequence[str], doing: str) -> None:
    try:
        for statement in statements:
            query(session, statement)
    except pymysql.err.MySQLError as error:
        if error_code(error) == _LOCK_WAIT_TIMEOUT:
            raise _locked_out(connection, doing) from error
        raise explain(error, connection, doing=doing) from error


def _lock_tables(session: Session, connection: ConnectionInfo, tables: Sequence[str], *, flush: bool) -> None:
    """Reading goes on, but behind writers that wait for a plain lock, who have the right of way among tables without
    transactions: the dump would wait for them, and they for the dump. Where it is granted, FLUSH makes them wait
    where they are in nobody's way.
    """
    statement = f"LOCK TABLES {', '.join(f'{table} READ' for table in tables)}"
    if flush:
        statement = f"FLUSH TABLES {', '.join(tables)} WITH READ LOCK"
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            query(session, statement)
        except pymysql.err.MySQLError as error:
            if error_code(error) != _LOCK_WAIT_TIMEOUT:
                raise explain(error, connection, doing="lock the tables without transactions of") from error
            if time.monotonic() > deadline:
                raise _locked_out(connection, "lock the tables without transactions of") from error
        else:
            return
        time.sleep(_ATTEMPT_SECONDS)


def _locked_out(connection: ConnectionInfo, doing: str) -> SourceError:
    return SourceError(
        f"Could not {doing} '{connection.address}' within {LOCK_WAIT_SECONDS} s: another session is changing "
        "its structure or holds it locked.",
        hint="See SHOW PROCESSLIST for what is at work there, and run the backup again afterwards.",
    )


@contextmanager
def _structure_held(session: Session, connection: ConnectionInfo, flavour: Flavour) -> Iterator[None]:
    """The server ends the blocking by itself when the connection is gone: after an error nothing is asked of it, for it
    may never answer."""
    _lock(session, connection, _BLOCK[flavour], "hold back structure changes in")
    yield
    with contextlib.suppress(pymysql.err.MySQLError, OSError):
        query(session, _UNBLOCK[flavour])


@contextmanager
def writes_held(connection: ConnectionInfo, flavour: Flavour, cancellation: Cancellation) -> Iterator[None]:
    """Nothing is committed on this server while the block runs. Where this process stands still, the server ends it.

    :raises SourceError: the lock was not to be had in a minute.
    :raises DumpFailed: it was lost before the block ended.
    """
    with _side_session(
        connection, flavour, idle_seconds=2 * BEGIN_SECONDS, lock_wait_seconds=_ATTEMPT_SECONDS
    ) as session:
        _hold_writes(session, connection, cancellation)
        yield
        try:
            query(session, "UNLOCK TABLES")
        except (pymysql.err.MySQLError, OSError) as error:
            raise DumpFailed(
                f"The connection that held writes to '{connection.address}' back was lost before every stream of the "
                "dump had begun.",
                hint="Nothing was kept; run it again.",
            ) from error


def _hold_writes(session: Session, connection: ConnectionInfo, cancellation: Cancellation) -> None:
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        cancellation.check()
        try:
            query(session, "FLUSH TABLES WITH READ LOCK")
        except pymysql.err.MySQLError as error:
            if error_code(error) != _LOCK_WAIT_TIMEOUT:
                raise explain(error, connection, doing="hold writes back in") from error
            if time.monotonic() > deadline:
                raise SourceError(
                    f"Could not hold writes to '{connection.address}' back within {LOCK_WAIT_SECONDS} s, to begin "
                    "several streams at one moment: a statement that writes has been running for longer.",
                    hint="See SHOW PROCESSLIST for it, and run the backup again afterwards, or with 1 job.",
                ) from error
        else:
            return
        time.sleep(_ATTEMPT_SECONDS)


def await_transactions(streams: Sequence[MysqlStream], entry: str, cancellation: Cancellation) -> None:
    """Return as soon as every tool has begun its transaction.

    :raises DumpFailed: one has ended with an error, or has not begun in time.
    """
    deadline = time.monotonic() + BEGIN_SECONDS
    for stream in streams:
        while not stream.has_begun():
            cancellation.check()
            if stream.tool.poll():
                raise stream.failed(entry, stream.tool.wait())
            if time.monotonic() > deadline:
                raise DumpFailed(
                    f"{stream.describe(entry)} did not begin its transaction within {BEGIN_SECONDS} s; writes were "
                    "held back for that long, and are no longer.",
                    hint="See whether the server is overloaded or out of connections, or use 1 job.",
                    database=entry,
                )
            time.sleep(0.005)
