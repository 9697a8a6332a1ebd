"""An increment's bytes: a tar of binlog files, of which each holds its first events and the range that was captured.

The files are sparse, in the form that GNU tar calls old: what ``tar --extract`` makes of them has every event at its
true offset, so that ``mariadb-binlog --start-position=…`` finds it there, and takes no more room than the events. Both
ranges begin on a block of the tar, as GNU tar reads them; so the first is filled up with zeros. Pure.
"""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from db_backup.engines.base import Block
from db_backup.engines.blocks import BlockReader
from db_backup.engines.mysql.chain.events import MAGIC, EventHeader, Head, read_head
from db_backup.engines.mysql.chain.position import Place

END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)
_SPARSE = tarfile.GNUTYPE_SPARSE
_RANGES_AT = 386  # of the header; each an offset and a length of 12 bytes, four at most
_REAL_SIZE_AT = 483
_NUMBER_BYTES = 12
_CHECKSUM = slice(148, 156)


class MalformedArchive(ValueError):
    """These bytes are not such a tar. ``truncated``: they only end too early."""

    def __init__(self, message: str, *, truncated: bool = False) -> None:
        super().__init__(message)
        self.truncated = truncated


@dataclass(frozen=True)
class Span:
    """What of one binlog file an increment holds besides the file's head: the bytes from ``start`` to ``end``."""

    file: str
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    def __str__(self) -> str:
        return f"{self.file} {self.start}-{self.end}"


@dataclass(frozen=True)
class _Range:
    offset: int
    length: int


def _ranges(span: Span, head_bytes: int) -> tuple[_Range, ...]:
    """What of the file is in the tar: one range where the two meet."""
    filled = head_bytes + -head_bytes % tarfile.BLOCKSIZE
    if span.start < filled:
        return (_Range(0, max(span.end, head_bytes)),)
    return (_Range(0, filled), _Range(span.start, span.size))


def member(span: Span, head: Head) -> tuple[bytes, bytes]:
    """What stands before and after the span's own bytes: the tar's header with the file's head, and zeros.

    The same span is the same bytes, whenever it is captured: the time in the header is that of the file's beginning.
    """
    ranges = _ranges(span, len(head.content))
    info = tarfile.TarInfo(span.file)
    info.type, info.mtime, info.mode = _SPARSE, EventHeader.parse(head.content[len(MAGIC) :]).timestamp, 0o600
    info.size = sum(part.length for part in ranges)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for number, part in enumerate(ranges):
        at = _RANGES_AT + 2 * _NUMBER_BYTES * number
        header[at : at + _NUMBER_BYTES] = _number(part.offset)
        header[at + _NUMBER_BYTES : at + 2 * _NUMBER_BYTES] = _number(part.length)
    header[_REAL_SIZE_AT : _REAL_SIZE_AT + _NUMBER_BYTES] = _number(max(span.end, len(head.content)))
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    before = head.content.ljust(span.start if len(ranges) == 1 else ranges[0].length, b"\0")
    return bytes(header) + before, bytes(_padding(ranges))


def _number(value: int) -> bytes:
    """Octal, or beyond 8 GiB in 256s, as GNU tar writes it."""
    octal = b"%011o" % value
    return octal + b"\0" if len(octal) < _NUMBER_BYTES else b"\x80" + value.to_bytes(_NUMBER_BYTES - 1, "big")


@dataclass(frozen=True)
class Member:
    """A file of an increment. ``content``: the bytes of the span, to be read before the next file is asked for."""

    span: Span
    head: Head
    content: Iterator[memoryview]


def read_members(blocks: Iterable[Block], start: Place) -> Iterator[Member]:
    """The files of an increment that begins at ``start``, to the end of the tar and of ``blocks``.

    :raises MalformedArchive, MalformedBinlog:
    """
    reader = BlockReader(blocks)
    first = True
    while (header := _take(reader, tarfile.BLOCKSIZE)) != END_OF_TAR[: tarfile.BLOCKSIZE]:
        file, ranges = _read_header(header)
        if first and file != start.file:
            raise MalformedArchive(f"it begins with {file}")
        member = _first_member(reader, ranges, start) if first else _further_member(reader, file, ranges)
        yield member
        for _ in member.content:  # what nobody read
            pass
        if _take(reader, _padding(ranges)).strip(b"\0"):
            raise MalformedArchive(f"something else follows {member.span}")
        first = False
    if first or _take(reader, tarfile.BLOCKSIZE).strip(b"\0") or not reader.has_ended():
        raise MalformedArchive("it goes on after its end" if not first else "there is no file in it")


def _first_member(reader: BlockReader, ranges: tuple[_Range, ...], start: Place) -> Member:
    """It may begin in the middle of its file."""
    end = ranges[-1].offset + ranges[-1].length
    span = Span(start.file, start.offset, end)
    before = _take(reader, min(start.offset, ranges[0].length))
    head = read_head(before)
    if head is None or ranges != _ranges(span, len(head.content)):
        raise MalformedArchive(f"it does not begin at {start}")
    return Member(span, head, _exactly(reader, span.size, span))


def _further_member(reader: BlockReader, file: str, ranges: tuple[_Range, ...]) -> Member:
    """It begins where its file does."""
    if len(ranges) != 1:
        raise MalformedArchive(f"there is a hole in {file}")
    begins = b""
    while (head := read_head(begins)) is None:
        if not (more := reader.take(min(tarfile.BLOCKSIZE, ranges[0].length - len(begins)))):
            raise MalformedArchive(f"it ends in {file}", truncated=True)
        begins += more
    span = Span(file, len(head.content), ranges[0].length)
    rest = _exactly(reader, ranges[0].length - len(begins), span)
    return Member(span, head, itertools.chain([memoryview(begins)[span.start :]], rest))


def _read_header(header: bytes) -> tuple[str, tuple[_Range, ...]]:
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        numbers = [_read_number(header, _RANGES_AT + _NUMBER_BYTES * number) for number in range(4)]
    except (tarfile.HeaderError, ValueError) as error:
        raise MalformedArchive("a header of the tar is damaged") from error
    ranges = tuple(_Range(offset, length) for offset, length in (numbers[:2], numbers[2:]))
    ranges = ranges if ranges[1].offset else ranges[:1]
    if info.type != _SPARSE or ranges[0].offset or sum(part.length for part in ranges) != info.size:
        raise MalformedArchive("it holds something else than binlog files")
    return info.name, ranges


def _read_number(header: bytes, at: int) -> int:
    text = header[at : at + _NUMBER_BYTES]
    return int.from_bytes(text[1:], "big") if text[:1] == b"\x80" else int(text.rstrip(b"\0") or b"0", 8)


def _padding(ranges: Iterable[_Range]) -> int:
    return -sum(part.length for part in ranges) % tarfile.BLOCKSIZE


def _take(reader: BlockReader, size: int) -> bytes:
    taken = reader.take(size)
    if len(taken) < size:
        raise MalformedArchive("it ends before its end", truncated=True)
    return taken


def _exactly(reader: BlockReader, size: int, span: Span) -> Iterator[memoryview]:
    for piece in reader.pieces(size):
        size -= len(piece)
        yield piece
    if size:
        raise MalformedArchive(f"it ends in {span}", truncated=True)
