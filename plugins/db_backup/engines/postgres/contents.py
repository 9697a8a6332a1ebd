"""What a dump stream holds, and what can be wrong with it: shared by the readers of both formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xxhash import xxh3_64

from db_backup.engines.row_hashing import TableCounter
from db_backup.manifest import DatabaseObject, TableInventory

LARGE_OBJECTS = "pg_catalog.pg_largeobject"
IDENTIFIER = rb'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_]*)'
QUALIFIED_NAME = rb"(" + IDENTIFIER + rb")\.(" + IDENTIFIER + rb")"
ATTACH_PARTITION = re.compile(
    rb"^ALTER TABLE ONLY " + QUALIFIED_NAME + rb" ATTACH PARTITION " + QUALIFIED_NAME + rb" ", re.MULTILINE
)
_COLUMNS = rb'\((?:[^"\n]|"(?:[^"]|"")*")*\)'
COPY = re.compile(rb"^COPY " + QUALIFIED_NAME + rb" (?:" + _COLUMNS + rb")? ?FROM stdin;\n", re.MULTILINE)
SEQUENCE_VALUE = re.compile(rb"^SELECT pg_catalog\.setval\('((?:[^']|'')*)', (-?\d+), (true|false)\);\n", re.MULTILINE)
_LONG_ROW_BYTES = 1 << 20
_END_OF_COPY = b"\\.\n"

TableName = tuple[str, str]  # schema, table; unquoted


class StreamDamaged(Exception):
    """The stream is not a complete dump. The text continues the sentence "The dump …".

    :param truncated: it ends too early; otherwise it holds what no dump holds.
    """

    def __init__(self, text: str, *, truncated: bool) -> None:
        super().__init__(text)
        self.truncated = truncated


@dataclass
class DumpContents:
    """The tables of a dump with their rows, its partitions with their parents, and its large objects.

    ``tables`` are those that rows are copied to, ``copies`` how many times that is begun: once for every partition
    where pg_dump copies through the partitioned table. ``defined``: the tables that are created.
    """

    tables: dict[TableName, TableCounter] = field(default_factory=dict)
    copies: Counter[TableName] = field(default_factory=Counter)
    defined: set[TableName] = field(default_factory=set)
    parents: dict[TableName, TableName] = field(default_factory=dict)
    large_objects: TableCounter = field(default_factory=TableCounter)
    # From here, never from the catalogue: sequences move on while the snapshot stands still.
    sequence_values: list[DatabaseObject] = field(default_factory=list)

    def begin_copy(self, table: TableName) -> TableCounter:
        """What counts the rows that follow."""
        self.copies[table] += 1
        return self.tables.setdefault(table, TableCounter())

    def merge(self, later: DumpContents) -> None:
        """Add another piece of the same dump, which is loaded after this one.

        The sequences of tables that a piece names are in it as well; what is loaded last holds.
        """
        for table, counter in later.tables.items():
            self.tables.setdefault(table, TableCounter()).merge(counter)
        self.copies += later.copies
        self.defined |= later.defined
        self.parents |= later.parents
        self.large_objects.merge(later.large_objects)
        values = {_sequence_of(item): item for item in (*self.sequence_values, *later.sequence_values)}
        self.sequence_values = list(values.values())

    def inventory(self) -> tuple[TableInventory, ...]:
        """Every table with data in the dump by name, partitions added up in their root.

        Rows of hash partitions may go to other partitions when they are restored, so only the root compares.
        """
        totals: dict[str, TableCounter] = {}
        for table, counter in self.tables.items():
            totals.setdefault(".".join(root(table, self.parents)), TableCounter()).merge(counter)
        if self.large_objects.rows:
            totals[LARGE_OBJECTS] = self.large_objects
        return tuple(totals[name].inventory(name) for name in sorted(totals))

    def empty_tables(self) -> tuple[TableInventory, ...]:
        """Every table that is created and no partition, with no rows."""
        names = sorted(".".join(table) for table in self.defined if table not in self.parents)
        return tuple(TableInventory(name=name, rows=0) for name in names)


def root(table: TableName, parents: Mapping[TableName, TableName]) -> TableName:
    """The partitioned table at the top; the table itself when it is no partition."""
    seen = {table}
    while (parent := parents.get(table)) is not None and parent not in seen:
        seen.add(parent)
        table = parent
    return table


class DumpReader(Protocol):
    """Reads a dump as it passes by, in constant memory."""

    def feed(self, block: bytes) -> None:
        """:raises StreamDamaged: the reader is of no use afterwards."""

    def finish(self) -> DumpContents:
        """The stream has ended.

        :raises StreamDamaged: before its end.
        """


class CopyRows:
    """The lines of one table's COPY text, until the line ``\\.``: one line is one row, however they arrive.

    COPY text escapes line ends inside values (PostgreSQL manual, "COPY", "Text Format"), so every line end is a row's.
    """

    def __init__(self, counter: TableCounter) -> None:
        self._counter = counter
        self._tail = b""
        self._long_row: xxh3_64 | None = None

    def feed(self, data: bytes) -> bytes | None:
        """What follows the end mark, or None while it has not come."""
        if self._long_row is not None:
            end = data.find(b"\n")
            if end < 0:
                self._long_row.update(data)
                return None
            self._long_row.update(data[:end])
            self._counter.add_hashed(self._long_row.intdigest())
            self._long_row = None
            data = data[end + 1 :]
        data = self._tail + data
        mark = 0 if data.startswith(_END_OF_COPY) else data.find(b"\n" + _END_OF_COPY) + 1
        if mark or data.startswith(_END_OF_COPY):
            self._count(data[:mark])
            return data[mark + len(_END_OF_COPY) :]
        cut = data.rfind(b"\n") + 1
        self._count(data[:cut])
        self._tail = data[cut:]
        if len(self._tail) > _LONG_ROW_BYTES:
            self._long_row, self._tail = xxh3_64(self._tail), b""
        return None

    def _count(self, lines: bytes) -> None:
        rows = lines.split(b"\n")
        rows.pop()  # what follows the last line end: nothing
        self._counter.add_all(rows)


def unquoted(identifier: bytes) -> str:
    """An SQL identifier's name."""
    text = identifier.decode(errors="backslashreplace")
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def copied_table(statement: bytes | None) -> TableName | None:
    """The table that a COPY statement names."""
    match = COPY.match(statement or b"")
    return (unquoted(match[1]), unquoted(match[2])) if match else None


def sequence_value(statement: bytes) -> DatabaseObject:
    """What a setval statement sets: "public.orders_id_seq: 42, called".

    :raises StreamDamaged: it is none.
    """
    match = SEQUENCE_VALUE.match(statement)
    name = re.fullmatch(QUALIFIED_NAME, match[1].replace(b"''", b"'")) if match else None
    if match is None or name is None:
        raise StreamDamaged("sets a sequence in an unknown way", truncated=False)
    called = "called" if match[3] == b"true" else "not called"
    text = f"{unquoted(name[1])}.{unquoted(name[2])}: {match[2].decode()}, {called}"
    return DatabaseObject(kind="sequence value", name=text)


def _sequence_of(value: DatabaseObject) -> str:
    return value.name.rpartition(": ")[0]


def attachments(definition: bytes, found: Callable[[TableName, TableName], None]) -> None:
    """Tell ``found(partition, parent)`` of every partition that the SQL attaches."""
    for match in ATTACH_PARTITION.finditer(definition):
        schema, parent, partition_schema, partition = (unquoted(piece) for piece in match.groups())
        found((partition_schema, partition), (schema, parent))
