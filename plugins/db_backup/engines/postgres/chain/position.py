"""Where a chain stands in a server's write-ahead log (WAL), and how its files divide it: pure.

A log sequence number (LSN) counts the bytes of WAL since the cluster was made; it prints as ``0/3000148``. Segments are
the files of ``pg_wal``, each named by timeline and number (PostgreSQL manual, "WAL Internals").
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

PAGE_BYTES = 8192  # XLOG_BLCKSZ as every packager builds it; the preflight refuses another
_SHORT_HEADER_BYTES = 24
_LONG_HEADER_BYTES = 40  # of a segment's first page
_MOST_LSN = (1 << 64) - 1
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_POSITION = re.compile(
    r"(?P<lsn>\S+) timeline=(?P<timeline>\d{1,10}) system=(?P<system>\d{1,20}) segment=(?P<segment>\d{1,12}) "
    r"page=(?P<page>[0-9a-f]{32})"
)
_SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")
_SEGMENT_SIZES = {1 << power for power in range(20, 31)}  # 1 MB to 1 GB


def parse_lsn(text: str) -> int:
    """:raises ValueError: it is none; the text says what one looks like."""
    match = _LSN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no position in a write-ahead log, such as 0/3000148")
    return (int(match[1], 16) << 32) + int(match[2], 16)


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Position:
    """The end of a full or an increment.

    :param lsn: everything before it is in the chain; a record ends there.
    :param system: the cluster's system identifier.
    :param segment_bytes: of the server's WAL files.
    :param page: a fingerprint of the WAL between the beginning of the last page and ``lsn``: a server that was put back
        to an older state goes through the same numbers again, with other bytes.
    """

    lsn: int
    timeline: int
    system: str
    segment_bytes: int
    page: str

    def __str__(self) -> str:
        return (
            f"{format_lsn(self.lsn)} timeline={self.timeline} system={self.system} segment={self.segment_bytes} "
            f"page={self.page}"
        )

    @classmethod
    def parse(cls, text: str) -> Position:
        """:raises ValueError: nothing of this program's."""
        match = _POSITION.fullmatch(text)
        if match is None or int(match["segment"]) not in _SEGMENT_SIZES:
            raise ValueError(f"{text!r} is no position of a PostgreSQL chain")
        return cls(
            lsn=parse_lsn(match["lsn"]),
            timeline=int(match["timeline"]),
            system=match["system"],
            segment_bytes=int(match["segment"]),
            page=match["page"],
        )


def last_page(lsn: int) -> int:
    """Where the page begins that the byte before ``lsn`` is on."""
    return (lsn - 1) // PAGE_BYTES * PAGE_BYTES


def fingerprint(wal: bytes) -> str:
    """What ``Position.page`` holds of these bytes."""
    return hashlib.sha256(wal).hexdigest()[:32]


def record_end(insert_lsn: int, segment_bytes: int) -> int:
    """Where the last record ends, from where the next will begin: at a page's start these differ by its header.

    ``XLogBytePosToRecPtr`` and ``XLogBytePosToEndRecPtr``, ``src/backend/access/transam/xlog.c``.
    """
    page_start = insert_lsn // PAGE_BYTES * PAGE_BYTES
    header_bytes = _SHORT_HEADER_BYTES if page_start % segment_bytes else _LONG_HEADER_BYTES
    return page_start if insert_lsn - page_start == header_bytes else insert_lsn


def segment_name(lsn: int, timeline: int, segment_bytes: int) -> str:
    """Of the segment that holds the byte at ``lsn``."""
    high, low = divmod(lsn // segment_bytes, (1 << 32) // segment_bytes)
    return f"{timeline:08X}{high:08X}{low:08X}"


def segment_start(name: str, segment_bytes: int) -> tuple[int, int]:
    """A segment's timeline and first LSN.

    :raises ValueError: no segment is called so.
    """
    if not _SEGMENT_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no segment of a write-ahead log")
    timeline, high, low = (int(name[start : start + 8], 16) for start in (0, 8, 16))
    per_high = (1 << 32) // segment_bytes
    lsn = (high * per_high + low) * segment_bytes
    if low >= per_high or lsn > _MOST_LSN:
        raise ValueError(f"{name!r} is no segment of a write-ahead log of {segment_bytes >> 20} MB segments")
    return timeline, lsn
