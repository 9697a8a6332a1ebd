"""Binlog events as bytes: taken apart as they stream by, their checksums and lengths checked. Pure, in constant memory.

Formats: MariaDB knowledge base, "Replication Protocol", and MySQL's "Binary Log Event Structures". Version 4, which all
servers since MySQL 5.0 write.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"\xfebin"
HEADER_BYTES = 19
CHECKSUM_BYTES = 4
KEPT_BYTES = 256 << 10  # of each event; no statement of structure is longer, rows may be
_WRAP = 1 << 32  # end_log_pos has 32 bits, files may be larger
_HEADER = struct.Struct("<IBIIIH")
_QUERY_HEAD = struct.Struct("<IIBHH")  # thread, seconds that it took, length of the database's name, error, variables
_MARIADB_GTID = struct.Struct("<QIB")
_LONGEST_SECONDS = 1 << 31  # a clock that was set back while a statement ran makes it negative, which is unsigned here
_ARTIFICIAL = 0x20
_CRC32 = 1


class EventType(IntEnum):
    """The types that are told apart here."""

    QUERY = 2
    STOP = 3
    ROTATE = 4
    FORMAT_DESCRIPTION = 15
    XID = 16
    BEGIN_LOAD_QUERY = 17
    EXECUTE_LOAD_QUERY = 18
    TABLE_MAP = 19
    HEARTBEAT = 27
    GTID = 33  # of MySQL, and so the next two
    ANONYMOUS_GTID = 34
    PREVIOUS_GTIDS = 35
    BINLOG_CHECKPOINT = 161
    MARIADB_GTID = 162
    MARIADB_GTID_LIST = 163
    START_ENCRYPTION = 164
    COMPRESSED_QUERY = 165


#: What a file begins with.
HEAD_TYPES = frozenset({EventType.FORMAT_DESCRIPTION, EventType.PREVIOUS_GTIDS, EventType.MARIADB_GTID_LIST})
#: What begins a transaction or a statement that commits by itself.
GROUP_BEGINS = frozenset({EventType.GTID, EventType.ANONYMOUS_GTID, EventType.MARIADB_GTID})
#: What stands between transactions and changes nothing.
BETWEEN_GROUPS = frozenset(
    {
        EventType.STOP,
        EventType.ROTATE,
        EventType.FORMAT_DESCRIPTION,
        EventType.HEARTBEAT,
        EventType.PREVIOUS_GTIDS,
        EventType.BINLOG_CHECKPOINT,
        EventType.MARIADB_GTID_LIST,
    }
)


class MalformedBinlog(ValueError):
    """These bytes are not the events that they should be."""


@dataclass(frozen=True)
class EventHeader:
    """``timestamp``: seconds since 1970 at which its statement began. ``end``: lowest 32 bits of where it ends."""

    timestamp: int
    type: int
    server: int
    length: int
    end: int
    flags: int

    @classmethod
    def parse(cls, content: bytes | bytearray | memoryview) -> EventHeader:
        return cls(*_HEADER.unpack_from(content))

    @property
    def is_artificial(self) -> bool:
        """Whether the server made it up for us: it stands in no file."""
        return bool(self.flags & _ARTIFICIAL) or self.end == 0


@dataclass(frozen=True)
class Event:
    """One that was whole. ``content``: its bytes with header and checksum, or the first ``KEPT_BYTES`` of them."""

    offset: int
    header: EventHeader
    content: bytes
    checksum_bytes: int

    @property
    def end(self) -> int:
        return self.offset + self.header.length

    @property
    def is_kept_whole(self) -> bool:
        return len(self.content) == self.header.length

    @property
    def body(self) -> bytes:
        """Without header and checksum."""
        whole = self.checksum_bytes if self.is_kept_whole else 0
        return self.content[HEADER_BYTES : len(self.content) - whole]

    @property
    def begins_group(self) -> bool:
        """Whether it begins a transaction, or a statement that commits by itself."""
        return self.header.type in GROUP_BEGINS

    @property
    def gtid(self) -> str | None:
        """Of a MariaDB GTID event: ``domain-server-number``."""
        if self.header.type != EventType.MARIADB_GTID:
            return None
        number, domain, _ = _MARIADB_GTID.unpack_from(self.body)
        return f"{domain}-{self.header.server}-{number}"

    @property
    def ended_at(self) -> int:
        """Seconds since 1970 at which what it tells of had ended, as far as it says so: statements tell how long they
        took, others only when they began."""
        if self.header.type in {EventType.QUERY, EventType.COMPRESSED_QUERY}:
            took = int(_QUERY_HEAD.unpack_from(self.body)[1])
            return self.header.timestamp + (took if took < _LONGEST_SECONDS else 0)
        return self.header.timestamp

    @property
    def statement(self) -> bytes | None:
        """The SQL of a statement that was kept whole."""
        if self.header.type not in {EventType.QUERY, EventType.COMPRESSED_QUERY} or not self.is_kept_whole:
            return None
        _, _, database_bytes, _, variables_bytes = _QUERY_HEAD.unpack_from(self.body)
        text = self.body[_QUERY_HEAD.size + variables_bytes + database_bytes + 1 :]
        return _decompressed(text) if self.header.type == EventType.COMPRESSED_QUERY else text

    @property
    def database(self) -> bytes:
        """Of a statement: the database that its session used."""
        _, _, database_bytes, _, variables_bytes = _QUERY_HEAD.unpack_from(self.body)
        start = _QUERY_HEAD.size + variables_bytes
        return self.body[start : start + database_bytes]

    @property
    def table_database(self) -> bytes | None:
        """Of a table map: the database of its table."""
        if self.header.type != EventType.TABLE_MAP:
            return None
        return self.body[9 : 9 + self.body[8]]


def _decompressed(text: bytes) -> bytes:
    """MariaDB's ``log_bin_compress``: how many bytes tell the length, the length, zlib."""
    return zlib.decompress(text[1 + (text[0] & 0x07) :])


class EventScanner:
    """Feed it the bytes of a file from ``offset`` on, and take the events that are whole.

    :param checksum_bytes: what ends each event: 4, or 0 where the server writes none.
    """

    def __init__(self, offset: int, checksum_bytes: int) -> None:
        self.offset = offset  # where the next event begins
        self._checksum_bytes = checksum_bytes
        self._kept = bytearray()
        self._header: EventHeader | None = None
        self._left = 0
        self._checksum = 0
        self._tail = b""  # the last bytes that came: perhaps the checksum

    def feed(self, block: bytes | bytearray | memoryview) -> Iterator[Event]:
        """The events that this block completes. Consume them all before the next block.

        :raises MalformedBinlog: a checksum is wrong, or an event does not end where it says.
        """
        view = memoryview(block)
        while view:
            if self._header is None:
                missing = HEADER_BYTES - len(self._kept)
                self._kept += view[:missing]
                view = view[missing:]
                if len(self._kept) < HEADER_BYTES:
                    return
                self._begin()
            if taken := min(len(view), self._left):
                self._see(view[:taken])
                view = view[taken:]
            if self._left == 0:
                yield self._whole()

    def finish(self) -> None:
        """The bytes have ended.

        :raises MalformedBinlog: in the middle of an event.
        """
        if self._kept:
            raise MalformedBinlog(f"it ends in the middle of the event at {self.offset}")

    def _begin(self) -> None:
        header = EventHeader.parse(self._kept)
        least = HEADER_BYTES + self._checksum_bytes
        if header.length < least or (self.offset + header.length) % _WRAP != header.end:
            raise MalformedBinlog(f"no event begins at {self.offset}")
        self._header = header
        self._left = header.length - HEADER_BYTES
        self._checksum, self._tail = 0, b""
        self._add(bytes(self._kept))

    def _see(self, view: memoryview) -> None:
        self._left -= len(view)
        if room := KEPT_BYTES - len(self._kept):
            self._kept += view[:room]
        self._add(view)

    def _add(self, view: bytes | memoryview) -> None:
        """To the checksum, which is not of itself."""
        if not self._checksum_bytes:
            return
        if len(view) >= CHECKSUM_BYTES:
            self._checksum = zlib.crc32(self._tail, self._checksum)
            self._checksum = zlib.crc32(view[:-CHECKSUM_BYTES], self._checksum)
            self._tail = bytes(view[-CHECKSUM_BYTES:])
            return
        joined = self._tail + bytes(view)
        self._checksum = zlib.crc32(joined[:-CHECKSUM_BYTES], self._checksum)
        self._tail = joined[-CHECKSUM_BYTES:]

    def _whole(self) -> Event:
        assert self._header is not None  # noqa: S101 - it has begun
        if self._checksum_bytes and int.from_bytes(self._tail, "little") != self._checksum:
            raise MalformedBinlog(f"the checksum of the event at {self.offset} is wrong")
        event = Event(self.offset, self._header, bytes(self._kept), self._checksum_bytes)
        self.offset = event.end
        self._header = None
        self._kept.clear()
        return event


@dataclass(frozen=True)
class Head:
    """What a binlog file begins with: its format, and the GTIDs that were logged before it.

    :param content: with the magic number; ``len(content)`` is the offset of what follows.
    """

    content: bytes

    @property
    def checksum_bytes(self) -> int:
        return checksum_bytes_of(self.content[len(MAGIC) :])

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def checksum_bytes_of(description: bytes) -> int:
    """What ends each event of a file, from the format description event that it begins with.

    :raises MalformedBinlog: this is none, or it names an algorithm that nobody knows.
    """
    if len(description) < HEADER_BYTES + 57 + CHECKSUM_BYTES + 1:
        raise MalformedBinlog("it does not begin with the description of its format")
    header = EventHeader.parse(description)
    version = struct.unpack_from("<H", description, HEADER_BYTES)[0]
    if header.type != EventType.FORMAT_DESCRIPTION or version != 4:
        raise MalformedBinlog("it does not begin with the description of its format")
    algorithm = description[header.length - CHECKSUM_BYTES - 1]
    if algorithm not in {0, _CRC32}:
        raise MalformedBinlog(f"it is checked by the unknown algorithm {algorithm}")
    return CHECKSUM_BYTES if algorithm else 0


def read_head(content: bytes) -> Head | None:
    """The head of a file that begins with these bytes; None while it takes more of them.

    :raises MalformedBinlog: no binlog begins like this.
    """
    if not content.startswith(MAGIC[: len(content)]):
        raise MalformedBinlog("it is no binlog")
    end = len(MAGIC)
    for number in range(2):
        if len(content) < end + HEADER_BYTES:
            return None
        header = EventHeader.parse(content[end : end + HEADER_BYTES])
        if number and header.type not in HEAD_TYPES:
            break
        if len(content) < end + header.length:
            return None
        end += header.length
    return Head(content[:end])
