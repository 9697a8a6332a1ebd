"""Side connections that keep a dump one moment: no structure changes, no writes to tables without transactions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pymysql

from db_backup.engines.mysql.connecting import Session, connect, error_code, explain, identifier, query
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.preflight import Findings
from db_backup.errors import SourceError
from db_backup.model import ConnectionInfo

LOCK_WAIT_SECONDS = 60
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
def guard(connection: ConnectionInfo, findings: Findings) -> Iterator[Guard]:
    """Hold off what would change the dump's moment, as far as the privileges go.

    :raises SourceError: a lock was not to be had in a minute; the message says which.
    """
    sessions: list[Session] = []
    with ExitStack() as stack:
        if findings.unprotected_tables and findings.may_lock_tables:
            names = ", ".join(f"{identifier(table)} READ" for table in findings.unprotected_tables)
            held = stack.enter_context(_side_session(connection, findings.server.flavour))
            _lock(held, connection, (f"LOCK TABLES {names}",), "lock the tables without transactions of")
            sessions.append(held)
        if findings.may_block_structure:
            flavour = findings.server.flavour
            held = stack.enter_context(_side_session(connection, flavour))
            stack.enter_context(_structure_held(held, connection, flavour))
            sessions.append(held)
        yield Guard(sessions)


@contextmanager
def _side_session(connection: ConnectionInfo, flavour: Flavour) -> Iterator[Session]:
    session = connect(connection)
    try:
        query(session, f"SET SESSION wait_timeout = {_IDLE_SECONDS}, lock_wait_timeout = {LOCK_WAIT_SECONDS}")
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
            raise SourceError(
                f"Could not {doing} '{connection.address}' within {LOCK_WAIT_SECONDS} s: another session is changing "
                "its structure or holds it locked.",
                hint="See SHOW PROCESSLIST for what is at work there, and run the backup again afterwards.",
            ) from error
        raise explain(error, connection, doing=doing) from error


@contextmanager
def _structure_held(session: Session, connection: ConnectionInfo, flavour: Flavour) -> Iterator[None]:
    """The server ends the blocking by itself when the connection is gone: after an error nothing is asked of it, for it
    may never answer."""
    _lock(session, connection, _BLOCK[flavour], "hold back structure changes in")
    yield
    with contextlib.suppress(pymysql.err.MySQLError, OSError):
        query(session, _UNBLOCK[flavour])
