"""Reading the table of contents of pg_dump's archives: the beginning of a custom one, a member of the others.

The format has no specification but its source: ``src/bin/pg_dump/pg_backup_archiver.c`` (``WriteHead``, ``WriteToc``),
and ``WriteExtraToc`` of each format. Only uncompressed archives are read; we compress ourselves.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import ClassVar

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
LARGE_OBJECTS_ENTRY = "BLOBS"
_MAGIC = b"PGDMP"
_INTEGER_BYTES = 4
_OFFSET_BYTES = 8
_TIMESTAMP_INTEGERS = 7
_MOST_ENTRIES = 50_000_000
sized = struct.Struct("<BI")  # how the archive writes an integer: sign byte, magnitude

Steps = Generator[None, "bytes | None", None]


@dataclass(frozen=True)
class Entry:
    """One entry of the table of contents, as far as choosing among entries asks for it.

    ``id`` and ``dependencies`` count within one archive. ``schema`` and ``owner`` are empty where there are none.
    """

    id: int
    description: str  # "TABLE", "FK CONSTRAINT"
    schema: str
    tag: str
    definition: bytes
    owner: str
    dependencies: tuple[int, ...]


@dataclass(frozen=True)
class Announced:
    """A table-of-contents entry whose data must follow; ``file``: the member that holds it, where members do."""

    description: str
    table: TableName
    file: str = ""

    def __str__(self) -> str:
        return f"table {'.'.join(self.table)}" if self.description == "TABLE DATA" else self.description.lower()


class TableData:
    """One table's rows, however they arrive; after the end mark come only line ends."""

    def __init__(self, contents: DumpContents, entry: Announced) -> None:
        self._rows = CopyRows(contents.begin_copy(entry.table))
        self._entry = entry
        self._ended = False

    def feed(self, text: bytes) -> None:
        rest = text if self._ended else self._rows.feed(text)
        if rest is not None and rest.strip(b"\n"):
            raise StreamDamaged(f"goes on after the end mark of {self._entry}", truncated=False)
        self._ended = rest is not None

    def finish(self) -> None:
        if not self._ended:
            raise StreamDamaged(f"has no end mark after the data of {self._entry}", truncated=True)


def check_all_came(missing: Iterable[Announced]) -> None:
    """:raises StreamDamaged: something is missing."""
    if missing := list(missing):
        first, *others = missing
        text = f"ends before the data of {first}" + (f" and of {len(others)} more" if others else "")
        raise StreamDamaged(text, truncated=True)


class TocReader:
    """A ``DumpReader`` of ``toc.dat``, which the tar and the directory format have. ``announced`` is in its order.

    :param entries: gets every entry, in the archive's order.
    """

    _kind: ClassVar[str] = "tar or directory"
    _format_code: ClassVar[int] = 3  # archTar; a directory's says so too, for it is a tar taken apart

    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.announced: dict[int, Announced] = {}
        self._entries = entries
        self._contents = DumpContents()
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

    def _read(self) -> Steps:
        yield from self._head()
        yield from self._table_of_contents()
        yield from self._after_the_table_of_contents()

    def _after_the_table_of_contents(self) -> Steps:
        while self._position == len(self._data):
            block = yield
            if block is None:
                return
            self._data, self._position = block, 0
        raise StreamDamaged("has more in toc.dat than a table of contents", truncated=False)

    def _place(self, where: str) -> Generator[None, bytes | None, str]:
        """Where an entry's data lies: the name of a member."""
        return _name((yield from self._text(where)))

    def _head(self) -> Generator[None, bytes | None, None]:
        head = yield from self._take(11, "its header")
        if not head.startswith(_MAGIC):
            raise StreamDamaged(f"is not a {self._kind} archive of pg_dump", truncated=False)
        self._version = (head[5], head[6])
        if not OLDEST_VERSION <= self._version <= NEWEST_VERSION:
            raise StreamDamaged(
                f"has archive version {head[5]}.{head[6]}, and this program reads "
                f"{OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} to {NEWEST_VERSION[0]}.{NEWEST_VERSION[1]} "
                "(PGSQL_BACKUP_FORMAT=plain works with every version)",
                truncated=False,
            )
        if tuple(head[8:11]) != (_INTEGER_BYTES, _OFFSET_BYTES, self._format_code):
            raise StreamDamaged(f"is not a {self._kind} archive of the usual integer sizes", truncated=False)
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
        owner = yield from self._text(where)
        yield from self._text(where)  # with oids
        dependencies = []
        while (dependency := (yield from self._text(where))) is not None:  # ended by a null
            dependencies.append(dependency)
        file = yield from self._place(where)
        table = (_name(schema), _name(tag))
        if has_data:
            # A partition's rows may be copied to its partitioned table, which only the statement names.
            self.announced[entry_id] = Announced(description, copied or table, file)
        elif description == "TABLE":
            self._contents.defined.add(table)
        elif description == "SEQUENCE SET":
            self._contents.sequence_values.append(sequence_value(definition or b""))
        if description in {"TABLE", "TABLE ATTACH"} and definition:
            attachments(definition, self._contents.parents.__setitem__)
        if self._entries is not None:
            numbers = tuple(int(number) for number in dependencies if number.isdigit())
            self._entries.append(Entry(entry_id, description, *table, definition or b"", _name(owner), numbers))

    def _integer(self, where: str) -> Generator[None, bytes | None, int]:
        sign, magnitude = sized.unpack((yield from self._take(5, where)))
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
