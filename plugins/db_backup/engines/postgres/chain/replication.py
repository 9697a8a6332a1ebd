"""The server's write-ahead log over the replication protocol, between two positions.

PostgreSQL manual, "Streaming Replication Protocol". No slot is used to read, and nothing is confirmed: nothing that we
read makes the server let go of WAL, nor are we ever taken for a synchronous standby.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.pq.abc import PGresult

from db_backup.engines.postgres.chain.position import (
    Position,
    fingerprint,
    format_lsn,
    last_page,
    parse_lsn,
)
from db_backup.engines.postgres.session import Connection, connected, one_line
from db_backup.errors import ChainBroken
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

_WAL_MESSAGE = struct.Struct(">cQQq")  # "w", where it starts, where the server is, its clock
_NEW_FULL = "A new full backup begins a new chain."


@dataclass(frozen=True)
class Source:
    """Whose log it is. ``flushed``: up to there it can be read."""

    system: str
    timeline: int
    flushed: int


class Replication:
    """One walsender of the server."""

    def __init__(self, link: Connection, entry: str) -> None:
        self._pg = link.pgconn
        self._pg.nonblocking = 0
        self._entry = entry

    def identify(self) -> Source:
        result = self._run("IDENTIFY_SYSTEM", pq.ExecStatus.TUPLES_OK)
        system, timeline, flushed = (bytes(result.get_value(0, column) or b"").decode() for column in range(3))
        return Source(system, int(timeline), parse_lsn(flushed))

    def read(self, start: int, end: int, timeline: int) -> Iterator[bytes]:
        """The bytes from ``start`` to ``end``, which the server has flushed. Nothing can be asked afterwards.

        :raises ChainBroken: the server has them no longer, or never had them.
        """
        command = f"START_REPLICATION PHYSICAL {format_lsn(start)} TIMELINE {timeline}"
        self._run(command, pq.ExecStatus.COPY_BOTH)
        at = start
        while at < end:
            size, message = self._pg.get_copy_data(0)
            if size < 0:
                raise self._error(self._pg.get_result() if size == -1 else None)
            if bytes(message[:1]) != b"w":  # a keepalive
                continue
            _, first, _, _ = _WAL_MESSAGE.unpack_from(message)
            if first != at:
                raise psycopg.OperationalError(f"it sent {format_lsn(first)} instead of {format_lsn(at)}")
            data = bytes(message[_WAL_MESSAGE.size : _WAL_MESSAGE.size + end - at])
            at += len(data)
            yield data

    def _run(self, command: str, expected: pq.ExecStatus) -> PGresult:
        result = self._pg.exec_(command.encode())
        if result.status != expected:
            raise self._error(result)
        return result

    def _error(self, result: PGresult | None) -> Exception:
        state = bytes((result and result.error_field(pq.DiagnosticField.SQLSTATE)) or b"").decode()
        text = one_line(((result and result.error_message) or self._pg.error_message).decode(errors="replace"))
        text = text.removeprefix("ERROR: ").removeprefix("FATAL: ").strip()
        if state == "58P01" or "not in this server's history" in text or "ahead of the WAL flush" in text:
            return ChainBroken(
                f"The server of '{self._entry}' does not have the WAL any more that the chain needs next: {text}.",
                hint=_NEW_FULL,
                database=self._entry,
            )
        return psycopg.OperationalError(text or "the server ended the replication")


@contextmanager
def replicating(connection: ConnectionInfo, *, entry: str, cancellation: Cancellation) -> Iterator[Replication]:
    """:raises AccessDenied: the user may not replicate, or pg_hba.conf has no line for it.
    :raises ServerUnreachable:
    """
    with connected(connection, entry=entry, cancellation=cancellation, replication=True) as link:
        yield Replication(link, entry)


def page_before(connection: ConnectionInfo, lsn: int, timeline: int, *, entry: str, cancellation: Cancellation) -> str:
    """The fingerprint of ``Position.page`` as the server has it now.

    :raises ChainBroken: it is not there any more.
    """
    with replicating(connection, entry=entry, cancellation=cancellation) as replication:
        return fingerprint(b"".join(replication.read(last_page(lsn), lsn, timeline)))


def refuse_other_history(source: Source, parent: Position, identity: str, entry: str) -> None:
    """Whether the server's log may go on where the parent ended, by what it says of itself.

    :param identity: the parent's server, as its manifest has it.
    :raises ChainBroken: it is another server's, another timeline's or an older state's.
    """
    if {source.system} != {parent.system, identity}:
        raise _broken(entry, "another PostgreSQL cluster answers at its address")
    if source.timeline != parent.timeline:
        raise _broken(
            entry,
            f"its server went from timeline {parent.timeline} to {source.timeline}: it was promoted, or restored to "
            "another moment",
        )
    if source.flushed < parent.lsn:
        raise _broken(
            entry,
            f"its server was put back to an older state, at {format_lsn(source.flushed)}, before the "
            f"{format_lsn(parent.lsn)} of the last backup",
        )


def refuse_other_wal(connection: ConnectionInfo, parent: Position, *, entry: str, cancellation: Cancellation) -> None:
    """Whether the server still has the WAL before the parent's end, byte for byte.

    :raises ChainBroken: it has not, or another.
    """
    if parent.page != page_before(connection, parent.lsn, parent.timeline, entry=entry, cancellation=cancellation):
        raise _broken(
            entry, f"its server was put back to an older state: its WAL before {format_lsn(parent.lsn)} is another"
        )


def _broken(entry: str, reason: str) -> ChainBroken:
    return ChainBroken(f"The chain of '{entry}' cannot go on: {reason}.", hint=_NEW_FULL, database=entry)
