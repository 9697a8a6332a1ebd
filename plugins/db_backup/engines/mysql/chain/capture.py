"""A server's binlog over the replication protocol (COM_BINLOG_DUMP): exactly the bytes of a span, checked as they come.

The library ``mysql-replication`` reads this protocol too, but decodes every row into Python objects and keeps none of
the bytes; ``mariadb-binlog --raw`` knows no stop position and writes to disk. So: pymysql for the session, and these
lines for the one command that it does not have. Formats: MariaDB knowledge base, "Replication Protocol".
"""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pymysql

from db_backup.engines.mysql.chain.archive import Span
from db_backup.engines.mysql.chain.events import (
    CHECKSUM_BYTES,
    HEAD_TYPES,
    HEADER_BYTES,
    MAGIC,
    Event,
    EventHeader,
    EventScanner,
    EventType,
    Head,
    MalformedBinlog,
    read_head,
)
from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.connecting import Session, query, session_for
from db_backup.engines.mysql.flavour import Flavour
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

#: What the command can name: its offset has 32 bits.
MOST_OFFSET = (1 << 32) - 1
_COM_BINLOG_DUMP = 0x12
_NON_BLOCK, _ANNOTATE_ROWS = 1, 2
_NOBODY = 0  # as server id: a reader that is no replica
_CAPABILITY_GTID = 4
_WHOLE_PACKET = (1 << 24) - 1
_PIECE_BYTES = 1 << 20
_OK, _END, _ERROR = 0x00, 0xFE, 0xFF


class CaptureEnded(Exception):
    """The server has sent all that it has, or the files are not as they were listed; the text says which."""


class BinlogSession:
    """A session of its own that sends binlog files; one request, and then it is of no more use."""

    def __init__(self, session: Session, flavour: Flavour) -> None:
        self._session = session
        self._wire = cast("Any", session)  # these methods of pymysql's connection are its own business
        self._flavour = flavour

    def request(self, file: str, offset: int) -> None:
        query(self._session, "SET @master_binlog_checksum = @@global.binlog_checksum")
        query(self._session, "SET @source_binlog_checksum = @@global.binlog_checksum")
        # Where storage is slow, the server waits for us; it would give up after a minute.
        query(self._session, "SET SESSION net_write_timeout = 3600")
        flags = _NON_BLOCK
        if self._flavour is Flavour.MARIADB:
            query(self._session, f"SET @mariadb_slave_capability = {_CAPABILITY_GTID}")
            flags |= _ANNOTATE_ROWS
        self._wire._execute_command(_COM_BINLOG_DUMP, struct.pack("<IHI", offset, flags, _NOBODY) + file.encode())

    def events(self) -> Iterator[tuple[EventHeader, Iterator[bytes]]]:
        """Each event's header, and all its bytes as they come. Take them all before the next event.

        :raises pymysql.err.MySQLError: the connection was lost, or what the server says of it.
        """
        while True:
            length, more = self._packet_head()
            first = self._wire._read_bytes(min(length, 1 + HEADER_BYTES))
            if first[0] == _ERROR:
                self._raise(first + self._wire._read_bytes(length - len(first)))
            if first[0] == _END and length < 9:
                return
            if first[0] != _OK or len(first) <= HEADER_BYTES:
                raise MalformedBinlog(f"the server sent something else than an event ({first[:20]!r})")
            yield EventHeader.parse(first[1:]), self._payload(first[1:], length - len(first), more)

    def _packet_head(self) -> tuple[int, bool]:
        low, high, _ = struct.unpack("<HBB", self._wire._read_bytes(4))
        length = low + (high << 16)
        return length, length == _WHOLE_PACKET

    def _payload(self, first: bytes, left: int, more: bool) -> Iterator[bytes]:
        """What is larger than a packet goes on in the next one."""
        if left <= _PIECE_BYTES and not more:
            yield first + self._wire._read_bytes(left) if left else first
            return
        yield first
        while True:
            while left:
                yield self._wire._read_bytes(min(left, _PIECE_BYTES))
                left -= min(left, _PIECE_BYTES)
            if not more:
                return
            left, more = self._packet_head()

    def _raise(self, packet: bytes) -> None:
        pymysql.err.raise_mysql_exception(packet)

    def stop(self) -> None:
        """From any thread: whoever waits for the server waits no more."""
        link = self._wire._sock
        if link is not None:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is gone already


@contextmanager
def binlog_session(connection: ConnectionInfo, flavour: Flavour, cancellation: Cancellation) -> Iterator[BinlogSession]:
    """Leaving the block ends the transfer, however far it is.

    :raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceError:
    """
    with session_for(connection, "read the binlog of", database="") as session:
        reader = BinlogSession(session, flavour)
        with cancellation.on_cancel(reader.stop):
            try:
                yield reader
            finally:
                reader.stop()


class Transfer:
    """Binlog files as they come, from one place on; each one's head and events, in order.

    ``transactions``: how many went by.

    :param watching: shown every event that is read.
    """

    def __init__(
        self,
        reader: BinlogSession,
        start: Place,
        cancellation: Cancellation,
        watching: Callable[[Event], None] | None = None,
    ) -> None:
        self.transactions = 0
        self._watching = watching
        self._cancellation = cancellation
        reader.request(start.file, start.offset)
        self._events = _in_files(reader)
        self._next: _Found | None = None

    def head(self, file: str) -> Head:
        """What the file begins with, of which nothing was read yet.

        :raises CaptureEnded: another file, or none, comes next.
        :raises MalformedBinlog: no binlog file begins like this.
        """
        content = MAGIC
        while (found := self._peek()) is not None and found.file == file and found.header.type in HEAD_TYPES:
            self._next = None
            content += b"".join(found.pieces)
        if len(content) == len(MAGIC):
            raise CaptureEnded(f"{file} did not come")
        head = read_head(content + bytes(HEADER_BYTES))
        if head is None or len(head.content) != len(content):
            raise MalformedBinlog(f"{file} begins with something else than its description")
        return head

    def read(self, span: Span, head: Head) -> Iterator[bytes]:
        """Every byte of the span, and nothing else.

        :raises CaptureEnded: the file is not as it was listed.
        :raises MalformedBinlog: a checksum or a length is wrong.
        """
        scanner = EventScanner(span.start, head.checksum_bytes)
        while scanner.offset < span.end:
            self._cancellation.check()
            found = self._peek()
            if found is None or found.file != span.file:
                raise CaptureEnded(f"{span.file} ended at {scanner.offset}, and was to end at {span.end}")
            self._next = None
            for piece in found.pieces:
                for event in scanner.feed(piece):
                    self.transactions += event.begins_group
                    if self._watching is not None:
                        self._watching(event)
                yield piece
        if scanner.offset > span.end:
            raise CaptureEnded(f"an event of {span.file} goes beyond {span.end}, where it was to end")

    def _peek(self) -> _Found | None:
        if self._next is None:
            self._next = next(self._events, None)
        return self._next


def fetch_head(connection: ConnectionInfo, flavour: Flavour, file: str, cancellation: Cancellation) -> Head:
    """What a binlog file of the server begins with.

    :raises CaptureEnded, MalformedBinlog: it is not readable as one.
    """
    with binlog_session(connection, flavour, cancellation) as reader:
        return Transfer(reader, Place(file, len(MAGIC)), cancellation).head(file)


@dataclass(frozen=True)
class _Found:
    file: str
    header: EventHeader
    pieces: Iterator[bytes]


def _in_files(reader: BinlogSession) -> Iterator[_Found]:
    """Events as they stand in files. Events of the server's own say which file comes next."""
    file = ""
    for header, pieces in reader.events():
        if header.type == EventType.START_ENCRYPTION:
            raise CaptureEnded(f"{file} is encrypted")
        if not header.is_artificial:
            yield _Found(file, header, pieces)
            continue
        whole = b"".join(pieces)
        if header.type == EventType.ROTATE:
            file = _next_file(whole)


def _next_file(rotate: bytes) -> str:
    """What follows the offset; whether a checksum follows the name, no field of it says."""
    body, checksum = rotate[:-CHECKSUM_BYTES], int.from_bytes(rotate[-CHECKSUM_BYTES:], "little")
    return (body if zlib.crc32(body) == checksum else rotate)[HEADER_BYTES + 8 :].decode()
