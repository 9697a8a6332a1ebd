"""An increment's stream: a tar of pieces of WAL segments, each named by its segment and where in it the piece begins.

``00000001000000000000002A.00C3F148`` goes into the file ``00000001000000000000002A`` from byte 0xC3F148 on. The first
piece begins where the parent ended, the last ends where the increment does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from db_backup.engines.postgres.chain.position import Position, segment_name, segment_start
from db_backup.engines.postgres.chain.wal_pages import WalPages
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.tar_members import END_OF_TAR, TarMembers, header, padding

FORMAT = "PostgreSQL WAL pieces"
_NAME = re.compile(r"([0-9A-F]{24})\.([0-9A-F]{8})")


@dataclass(frozen=True)
class WalPiece:
    """Some bytes of a segment."""

    segment: str
    offset: int
    data: bytes


def parts_of(start: int, end: int, segment_bytes: int) -> Iterator[tuple[int, int]]:
    """The range from ``start`` to ``end``, divided at the segments' borders."""
    while start < end:
        border = min(end, (start // segment_bytes + 1) * segment_bytes)
        yield start, border
        start = border


class Blocks:
    """Bytes in blocks of any size, to be taken in sizes of ours."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._left = b""

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            block = self._left or next(self._blocks)
            piece, self._left = block[:size], block[size:]
            size -= len(piece)
            yield piece


def as_tar(wal: Iterable[bytes], start: int, end: int, timeline: int, segment_bytes: int) -> Iterator[bytes]:
    """The tar of (``start``, ``end``], in constant memory.

    :param wal: exactly these bytes.
    """
    blocks = Blocks(wal)
    for first, last in parts_of(start, end, segment_bytes):
        yield header(f"{segment_name(first, timeline, segment_bytes)}.{first % segment_bytes:08X}", last - first)
        yield from blocks.take(last - first)
        yield padding(last - first)
    yield END_OF_TAR


class PiecesReader:
    """Takes such a tar apart again, and checks on the way that it is exactly (``start``, ``end``]."""

    def __init__(self, start: Position, end: Position) -> None:
        self._members = TarMembers()
        self._end = end
        self._pages = WalPages(start.lsn, end.timeline, system=end.system, segment_bytes=end.segment_bytes)

    def feed(self, block: bytes) -> Iterator[WalPiece]:
        """:raises StreamDamaged:"""
        for piece in self._members.feed(block):
            match = _NAME.fullmatch(piece.name)
            if match is None:
                raise StreamDamaged(f"holds {piece.name!r}, which is no piece of a segment", truncated=False)
            if piece.begins:
                self._check_follows(match[1], int(match[2], 16), piece.size)
            offset = self._pages.at % self._end.segment_bytes
            self._pages.feed(piece.data)
            yield WalPiece(match[1], offset, piece.data)

    def finish(self) -> None:
        """:raises StreamDamaged: it has not come to its end."""
        self._members.finish()
        if self._pages.at != self._end.lsn:
            raise StreamDamaged("ends before the position that its manifest says", truncated=True)

    def _check_follows(self, segment: str, offset: int, size: int) -> None:
        try:
            timeline, start = segment_start(segment, self._end.segment_bytes)
        except ValueError as error:
            raise StreamDamaged(f"holds {segment!r}, which is no segment", truncated=False) from error
        begins, ends = start + offset, start + offset + size
        if timeline != self._end.timeline or begins != self._pages.at or not begins < ends <= self._end.lsn:
            raise StreamDamaged(f"has a gap before {segment}.{offset:08X}", truncated=False)
