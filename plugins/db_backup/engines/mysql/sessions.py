"""Who else uses a database: counted, ended, and waited for."""

from __future__ import annotations

import time

import pymysql

from db_backup.engines.mysql.connecting import Session, error_code, query
from db_backup.errors import SourceError

# The server's own threads (replication, the scheduler of events) cannot be ended this way.
_OTHERS = """SELECT id FROM information_schema.processlist
    WHERE db = %s AND id <> CONNECTION_ID() AND user NOT IN ('system user', 'event_scheduler')"""
_UNKNOWN_THREAD = 1094
_MAY_NOT_END = {1095, 1227}
_END_SECONDS = 5
_WAIT_SECONDS = 60


def other_sessions(session: Session, database: str) -> frozenset[int]:
    """Connections to a database besides this one; without PROCESS only those of the same user."""
    return frozenset(int(number) for (number,) in query(session, _OTHERS, (database,)))


def end_sessions(session: Session, database: str) -> int:
    """End the connections to a database, and wait a moment for it; how many stay, for this user may not end them."""
    ended, kept = set(), 0
    for number in other_sessions(session, database):
        try:
            query(session, f"KILL {number}")
        except pymysql.err.MySQLError as error:
            if error_code(error) in _MAY_NOT_END:
                kept += 1
            elif error_code(error) != _UNKNOWN_THREAD:
                raise
        else:
            ended.add(number)
    deadline = time.monotonic() + _END_SECONDS
    while ended & other_sessions(session, database) and time.monotonic() < deadline:
        time.sleep(0.02)
    return kept


def await_end_of_load(session: Session, database: str, before: frozenset[int], address: str) -> None:
    """The client is gone; the server may still be at its last statement, and must not fill what we have emptied.

    :param before: connections that were there before the load.
    :raises SourceError: it is at it for longer than a minute.
    """
    deadline = time.monotonic() + _WAIT_SECONDS
    ours = _busy_sessions(session, database) - before
    while ours:  # those that come later belong to others
        if time.monotonic() > deadline:
            raise SourceError(
                f"The server of {address} has not ended the load after {_WAIT_SECONDS} s.",
                hint="See SHOW PROCESSLIST for what it is at.",
            )
        time.sleep(0.02)
        ours &= _busy_sessions(session, database)


def _busy_sessions(session: Session, database: str) -> frozenset[int]:
    busy = query(session, f"{_OTHERS} AND command <> 'Sleep'", (database,))
    return frozenset(int(number) for (number,) in busy)
