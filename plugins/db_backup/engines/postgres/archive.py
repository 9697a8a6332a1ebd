"""Reading pg_dump's custom archive as it passes by: which tables it announces, their rows, and whether all came.

After the table of contents come blocks: ``src/bin/pg_dump/pg_backup_custom.c`` (``_StartData``, ``_StartLOs``).
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import ClassVar

from xxhash import xxh3_64

from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.toc import Announced, Steps, TableData, TocReader, check_all_came, sized

_OFFSET_BYTES = 8
_BLOCK_DATA = 1
_BLOCK_LARGE_OBJECTS = 3


class ArchiveReader(TocReader):
    """A ``DumpReader`` of the custom format. About 300 ns a row: pg_dump writes each row as a chunk of its own."""

    _kind: ClassVar[str] = "custom"
    _format_code: ClassVar[int] = 1  # archCustom

    def _after_the_table_of_contents(self) -> Steps:
        while True:
            while self._position == len(self._data):
                block = yield
                if block is None:
                    check_all_came(self.announced.values())
                    return
                self._data, self._position = block, 0
            yield from self._block()

    def _place(self, where: str) -> Generator[None, bytes | None, str]:
        """The data's position: unknown in an archive that was not seekable."""
        yield from self._take(1 + _OFFSET_BYTES, where)
        return ""

    def _block(self) -> Generator[None, bytes | None, None]:
        kind = (yield from self._take(1, "the head of a block"))[0]
        entry_id = yield from self._integer("the head of a block")
        entry = self.announced.get(entry_id)
        if entry is None or kind not in {_BLOCK_DATA, _BLOCK_LARGE_OBJECTS}:
            raise StreamDamaged("holds a block that its table of contents does not announce", truncated=False)
        if kind == _BLOCK_LARGE_OBJECTS:
            yield from self._large_objects()
        else:
            yield from self._table_data(entry)
        del self.announced[entry_id]

    def _table_data(self, entry: Announced) -> Generator[None, bytes | None, None]:
        """Chunks until one of length 0; rows and chunks need not have the same borders."""
        rows = TableData(self._contents, entry)
        unread = 0  # bytes of the present chunk that have not come yet
        while True:
            pieces, unread, whole = self._chunks(unread)
            if text := b"".join(pieces):
                rows.feed(text)
            if whole:
                rows.finish()
                return
            yield from self._more(f"the data of {entry}")

    def _chunks(self, unread: int) -> tuple[list[bytes], int, bool]:
        """The chunks that are there: their bytes, how many of the last are still to come, whether the block ended."""
        data, position, end = self._data, self._position, len(self._data)
        pieces = [data[position : position + unread]] if unread else []
        position += unread
        unpack = sized.unpack_from
        try:
            while position < end:
                sign, size = unpack(data, position)
                if sign:
                    raise StreamDamaged("has a chunk of negative length", truncated=False)
                start = position + 5
                position = start + size
                if not size:
                    self._position = position
                    return pieces, 0, True
                pieces.append(data[start:position])
        except struct.error:  # the chunk's head is cut by the end of what has come
            self._position = position
            return pieces, 0, False
        self._position = end
        return pieces, position - end, False

    def _large_objects(self) -> Generator[None, bytes | None, None]:
        """For each: its oid, then chunks until one of length 0; an oid of 0 ends the block."""
        where = "the large objects"
        while oid := (yield from self._integer(where)):
            content = xxh3_64(oid.to_bytes(4, "little", signed=False))
            whole = False
            unread = 0
            while not whole:
                pieces, unread, whole = self._chunks(unread)
                content.update(b"".join(pieces))
                if not whole:
                    yield from self._more(where)
            self._contents.large_objects.add_hashed(content.intdigest())
