"""Whether bytes are write-ahead log: every page says what it is and where it belongs.

``XLogPageHeaderData``, ``src/include/access/xlog_internal.h``. The checksums inside are those of records, which the
server checks when it replays them.
"""

from __future__ import annotations

import struct

from db_backup.engines.postgres.chain.position import PAGE_BYTES, format_lsn
from db_backup.engines.postgres.contents import StreamDamaged

_HEADER = struct.Struct("<HHIQ")  # magic, flags, timeline, address
_LONG_HEADER = struct.Struct("<QII")  # at byte 24 of a segment's first page: system, bytes of a segment, of a page
_LONG_AT = 24
_MOST_HEADER_BYTES = _LONG_AT + _LONG_HEADER.size
_LONG = 0x0002  # XLP_LONG_HEADER
_MAGIC_FAMILY = 0xD100
_EMPTY = bytes(_HEADER.size)


class WalPages:
    """Looks at the pages of one timeline as they pass by, in order.

    :param system: whose log it is; empty: whoever's the first page says.
    """

    def __init__(self, start: int, timeline: int, *, system: str = "", segment_bytes: int = 0) -> None:
        self.at = start
        self.system = system
        self.segment_bytes = segment_bytes
        self._timeline = timeline
        self._magic = 0
        self._split = b""  # a page's header of which the end has not come yet
        self._empty_until = 0  # after a switch of segments the rest of one is zeros

    def feed(self, data: bytes) -> None:
        """:raises StreamDamaged: it is something else."""
        data = self._split + data
        first = self.at - len(self._split)
        self.at = first + len(data)
        offset = -first % PAGE_BYTES
        while offset + _MOST_HEADER_BYTES <= len(data):
            self._check(data, offset, first + offset)
            offset += PAGE_BYTES
        self._split = data[offset:]

    def _check(self, data: bytes, offset: int, address: int) -> None:
        magic, flags, timeline, stated = _HEADER.unpack_from(data, offset)
        if data[offset : offset + _HEADER.size] == _EMPTY and self.segment_bytes:
            self._empty_until = (address // self.segment_bytes + 1) * self.segment_bytes
            return
        self._magic = self._magic or magic
        if (
            magic != self._magic
            or magic & 0xFF00 != _MAGIC_FAMILY
            or stated != address
            or not 1 <= timeline <= self._timeline
            or address < self._empty_until
        ):
            raise StreamDamaged(f"holds no write-ahead log at {format_lsn(address)}", truncated=False)
        if flags & _LONG:
            system, segment_bytes, page_bytes = _LONG_HEADER.unpack_from(data, offset + _LONG_AT)
            self.system = self.system or str(system)
            self.segment_bytes = self.segment_bytes or segment_bytes
            if (self.system, self.segment_bytes, PAGE_BYTES) != (str(system), segment_bytes, page_bytes):
                raise StreamDamaged(
                    f"holds the write-ahead log of another server at {format_lsn(address)}", truncated=False
                )
