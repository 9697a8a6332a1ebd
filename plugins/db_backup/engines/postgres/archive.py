"""Reading pg_dump's custom archive as it passes by: which tables it announces, their rows, and whether all came.

The format has no specification but its source: ``src/bin/pg_dump/pg_backup_archiver.c`` (``WriteHead``, ``WriteToc``)
and ``pg_backup_custom.c`` (``_StartData``, ``_StartLOs``). Only uncompressed archives are read; we compress ourselves.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass

from xxhash import xxh3_64

from db_backup.engines.postgres.contents import (
    CopyRows,
    DumpContents,
    StreamDamaged,
    TableName,
    attachments,
    copied_table,
    sequence_value,
)

OLDEST_VERSION = (1, 12)
NEWEST_VERSION = (1, 16)  # PostgreSQL 17 and 18
NEWEST_SERVER_MAJOR = 18
_MAGIC = b"PGDMP"
_CUSTOM = 1
_INTEGER_BYTES = 4
_OFFSET_BYTES = 8
_BLOCK_DATA = 1
_BLOCK_LARGE_OBJECTS = 3
_TIMESTAMP_INTEGERS = 7
_MOST_ENTRIES = 50_000_000
_sized = struct.Struct("<BI")  # how the archive writes an integer: sign byte, magnitude

_Steps = Generator[None, "bytes | None", None]


@dataclass(frozen=True)
class _Announced:
    """A table-of-contents entry whose data must follow."""

    description: str
    table: TableName

    def __str__(self) -> str:
        return f"table {'.'.join(self.table)}" if self.description == "TABLE DATA" else self.description.lower()


class ArchiveReader:
    """A ``DumpReader`` of the custom format. About 300 ns a row: pg_dump writes each row as a chunk of its own."""

    def __init__(self) -> None:
        self._contents = DumpContents()
        self._announced: dict[int, _Announced] = {}
        self._version = NEWEST_VERSION
        self._data = b""
        self._position = 0
        self._steps = self._read()
        next(self._steps)

    def feed(self, block: bytes) -> None:
        self._steps.send(block)

    def finish(self) -> DumpContents:
        try:
            self._steps.send(None)
        except StopIteration:
            return self._contents
        raise AssertionError("the reader asked for more after the end")

    def _read(self) -> _Steps:
        yield from self._head()
        yield from self._table_of_contents()
        while True:
            while self._position == len(self._data):
                block = yield
                if block is None:
                    self._check_all_came()
                    return
                self._data, self._position = block, 0
            yield from self._block()

    def _check_all_came(self) -> None:
        if self._announced:
            first, *others = self._announced.values()
            text = f"ends before the data of {first}" + (f" and of {len(others)} more" if others else "")
            raise StreamDamaged(text, truncated=True)

    def _head(self) -> Generator[None, bytes | None, None]:
        head = yield from self._take(11, "its header")
        if not head.startswith(_MAGIC):
            raise StreamDamaged("is not a custom archive of pg_dump", truncated=False)
        self._version = (head[5], head[6])
        if not OLDEST_VERSION <= self._version <= NEWEST_VERSION:
            raise StreamDamaged(
                f"has archive version {head[5]}.{head[6]}, and this program reads "
                f"{OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} to {NEWEST_VERSION[0]}.{NEWEST_VERSION[1]} "
                "(PGSQL_BACKUP_FORMAT=plain works with every version)",
                truncated=False,
            )
        if tuple(head[8:11]) != (_INTEGER_BYTES, _OFFSET_BYTES, _CUSTOM):
            raise StreamDamaged("is not a custom archive of the usual integer sizes", truncated=False)
        if self._version >= (1, 15):
            compression = (yield from self._take(1, "its header"))[0]
        else:
            compression = yield from self._integer("its header")
        if compression != 0:
            raise StreamDamaged("is compressed inside, which pg_dump was told not to do", truncated=False)
        for _ in range(_TIMESTAMP_INTEGERS):
            yield from self._integer("its header")
        for _ in ("database", "server version", "pg_dump version"):
            yield from self._text("its header")

    def _table_of_contents(self) -> Generator[None, bytes | None, None]:
        count = yield from self._integer("its table of contents")
        if not 0 <= count <= _MOST_ENTRIES:
            raise StreamDamaged("has a damaged table of contents", truncated=False)
        for _ in range(count):
            yield from self._entry()

    def _entry(self) -> Generator[None, bytes | None, None]:
        """One entry, in the order of ``WriteToc``."""
        where = "its table of contents"
        entry_id = yield from self._integer(where)
        has_data = yield from self._integer(where)
        for _ in ("catalogue oid", "object oid"):
            yield from self._text(where)
        tag = yield from self._text(where)
        description = ((yield from self._text(where)) or b"").decode(errors="replace")
        yield from self._integer(where)  # section
        definition = yield from self._text(where)
        yield from self._text(where)  # drop statement
        copied = copied_table((yield from self._text(where)))
        schema = yield from self._text(where)
        yield from self._text(where)  # tablespace
        if self._version >= (1, 14):
            yield from self._text(where)  # table access method
        if self._version >= (1, 16):
            yield from self._integer(where)  # relation kind
        for _ in ("owner", "with oids"):
            yield from self._text(where)
        while (yield from self._text(where)) is not None:
            pass  # dependencies, ended by a null
        yield from self._take(1 + _OFFSET_BYTES, where)  # data position: unknown in an archive that was not seekable
        table = (_name(schema), _name(tag))
        if has_data:
            # A partition's rows may be copied to its partitioned table, which only the statement names.
            self._announced[entry_id] = _Announced(description, copied or table)
        elif description == "TABLE":
            self._contents.defined.add(table)
        elif description == "SEQUENCE SET":
            self._contents.sequence_values.append(sequence_value(definition or b""))
        if description in {"TABLE", "TABLE ATTACH"} and definition:
            attachments(definition, self._contents.parents.__setitem__)

    def _block(self) -> Generator[None, bytes | None, None]:
        kind = (yield from self._take(1, "the head of a block"))[0]
        entry_id = yield from self._integer("the head of a block")
        entry = self._announced.get(entry_id)
        if entry is None or kind not in {_BLOCK_DATA, _BLOCK_LARGE_OBJECTS}:
            raise StreamDamaged("holds a block that its table of contents does not announce", truncated=False)
        if kind == _BLOCK_LARGE_OBJECTS:
            yield from self._large_objects()
        else:
            yield from self._table_data(entry)
        del self._announced[entry_id]

    def _table_data(self, entry: _Announced) -> Generator[None, bytes | None, None]:
        """Chunks until one of length 0; rows and chunks need not have the same borders."""
        rows = CopyRows(self._contents.begin_copy(entry.table))
        ended = False
        unread = 0  # bytes of the present chunk that have not come yet
        while True:
            pieces, unread, whole = self._chunks(unread)
            if text := b"".join(pieces):
                ended = self._add_rows(rows, text, ended, entry)
            if whole:
                break
            yield from self._more(f"the data of {entry}")
        if not ended:
            raise StreamDamaged(f"has no end mark after the data of {entry}", truncated=True)

    def _add_rows(self, rows: CopyRows, text: bytes, ended: bool, entry: _Announced) -> bool:
        """Whether the end mark has come; only line ends follow it."""
        rest = text if ended else rows.feed(text)
        if rest is not None and rest.strip(b"\n"):
            raise StreamDamaged(f"goes on after the end mark of {entry}", truncated=False)
        return rest is not None

    def _chunks(self, unread: int) -> tuple[list[bytes], int, bool]:
        """The chunks that are there: their bytes, how many of the last are still to come, whether the block ended."""
        data, position, end = self._data, self._position, len(self._data)
        pieces = [data[position : position + unread]] if unread else []
        position += unread
        unpack = _sized.unpack_from
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

    def _integer(self, where: str) -> Generator[None, bytes | None, int]:
        sign, magnitude = _sized.unpack((yield from self._take(5, where)))
        return -magnitude if sign else int(magnitude)

    def _text(self, where: str) -> Generator[None, bytes | None, bytes | None]:
        size = yield from self._integer(where)
        return None if size < 0 else (yield from self._take(size, where))

    def _take(self, size: int, where: str) -> Generator[None, bytes | None, bytes]:
        while len(self._data) - self._position < size:
            yield from self._more(where)
        start = self._position
        self._position += size
        return self._data[start : self._position]

    def _more(self, where: str) -> Generator[None, bytes | None, None]:
        block = yield
        if block is None:
            raise StreamDamaged(f"ends in {where}", truncated=True)
        self._data = self._data[self._position :] + block
        self._position = 0


def _name(text: bytes | None) -> str:
    return (text or b"").decode(errors="backslashreplace")
