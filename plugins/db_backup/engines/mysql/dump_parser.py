"""What a SQL dump holds: its tables with rows counted and hashed, its objects, its position and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from db_backup.engines.mysql.dump_splitter import IDENTIFIER, DumpSplitter, Kind, MalformedDump, Piece
from db_backup.engines.row_hashing import TableCounter
from db_backup.manifest import DatabaseObject, TableInventory

AUTO_INCREMENT = "auto_increment"
SEQUENCE_VALUE = "sequence value"
_NAME = rb"(%s|\"(?:[^\"]|\"\")+\"|[\w$\x80-\xff]+)" % IDENTIFIER
_TABLE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?(%s)" % IDENTIFIER)
_SEQUENCE = re.compile(rb"CREATE SEQUENCE (?:IF NOT EXISTS )?(%s)" % IDENTIFIER)
_VIEW = re.compile(rb"/\*!\d+ VIEW (%s) AS " % IDENTIFIER)
# What may stand between two words: the server prints a trigger as its author typed it, comments and all.
GAP = rb"(?:\s|/\*M?!\d*|\*/|/\*(?!M?!)(?:(?!\*/).)*\*/|--(?=\s)[^\n]*\n|\#[^\n]*\n)*"
_PERSON = rb"(?:`[^`]*`|\"[^\"]*\"|'[^']*'|[\w$.%-]+)"  # or the name of a role
_CODE = re.compile(
    rb"{gap}CREATE\b{gap}(?:OR\b{gap}REPLACE\b{gap})?(?:DEFINER{gap}={gap}{person}(?:@{person})?{gap})?"
    rb"(?:AGGREGATE\b{gap})?(TRIGGER|PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE|EVENT)\b{gap}"
    rb"(?:IF\b{gap}NOT\b{gap}EXISTS\b{gap})?(?:{name}{gap}\.{gap})?{name}".replace(b"{gap}", GAP)
    .replace(b"{person}", _PERSON)
    .replace(b"{name}", _NAME),
    re.IGNORECASE | re.DOTALL,
)
_ON_TABLE = re.compile(
    rb"{gap}(?:BEFORE|AFTER)\b{gap}(?:INSERT|UPDATE|DELETE)\b{gap}ON\b{gap}(?:{name}{gap}\.{gap})?{name}".replace(
        b"{gap}", GAP
    ).replace(b"{name}", _NAME),
    re.IGNORECASE | re.DOTALL,
)
# The column's attribute has no "=", and what stands in quotes is the user's own.
_AUTO_INCREMENT = re.compile(rb"'[^'\\]*(?:\\.[^'\\]*)*'|`(?:[^`]|``)*`|\bAUTO_INCREMENT=(\d+)", re.DOTALL)
_SEQUENCE_START = re.compile(rb" start with (-?\d+) .* increment by (-?\d+) ")
_SETVAL = re.compile(rb"DO SETVAL\((%s), (-?\d+), 0\)" % IDENTIFIER)
# What a dump with rows says of every table, empty ones too.
_ANNOUNCEMENT = re.compile(rb"/\*!40000 ALTER TABLE (%s) DISABLE KEYS \*/" % IDENTIFIER)
_COUNTER = re.compile(
    rb"ALTER (?:TABLE (%s) AUTO_INCREMENT=(\d+)|SEQUENCE (%s) RESTART (-?\d+));" % ((IDENTIFIER,) * 2)
)
COUNTERS_BEGIN = b"-- Where AUTO_INCREMENT columns and sequences stand"
COUNTERS_END = b"-- Counters completed"
_COMPLETED = re.compile(rb"-- Dump completed on \d{4}-\d\d-\d\d +\d{1,2}:\d\d:\d\d\s*$")
_NO_PRIVILEGE = re.compile(rb"-- insufficient privileges to (.*)")
_DATABASE = re.compile(rb"-- Host: .*?    Database: (.*)\n")
_FILE_POSITION = re.compile(
    rb"-- CHANGE (?:MASTER|REPLICATION SOURCE) TO (?:MASTER|SOURCE)_LOG_FILE='([^']+)', (?:MASTER|SOURCE)_LOG_POS=(\d+)"
)
_GTID = re.compile(rb"-- SET GLOBAL gtid_slave_pos='([^']*)'")


def unquoted(name: bytes) -> str:
    """A name out of its backticks or double quotes."""
    if name[:1] in {b"`", b'"'}:
        name = name[1:-1].replace(name[:1] * 2, name[:1])
    return name.decode(errors="surrogateescape")


class DumpParser:
    """Show it every byte of a dump, in order; then ask what went by. Memory is constant.

    :param counters: whether the section that says where counters stand must follow the tool's end marker.
    """

    def __init__(self, *, counters: bool = False) -> None:
        self._with_counters = counters
        self._among_counters = False
        self._splitter = DumpSplitter()
        self._counters: dict[bytes, TableCounter] = {}
        self._created: set[bytes] = set()
        self._announced: set[bytes] = set()
        self._auto_increments: dict[bytes, int] = {}
        self._sequences: dict[bytes, _Sequence] = {}
        self._seen_objects: set[tuple[str, str]] = set()
        self._completed = False
        self._after_comment = False
        self.database: str | None = None  # the source's name, from the dump's first comment
        self.objects: list[tuple[str, str]] = []  # (kind, name) of views, sequences, triggers, routines, events
        self.refusals: list[str] = []  # what the tool says that it may not show
        self.binlog_file: str | None = None
        self.binlog_position: int | None = None
        self.gtid: str | None = None

    def feed(self, block: bytes | bytearray | memoryview) -> None:
        """:raises MalformedDump: this is no SQL dump, or more than one."""
        for _ in self.pieces(block):
            pass

    def pieces(self, block: bytes | bytearray | memoryview) -> Iterator[Piece]:
        """Feed a block, and see the pieces that it completed.

        :raises MalformedDump:
        """
        for piece in self._splitter.feed(block):
            self._see(piece)
            yield piece

    def finish(self) -> bytes:
        """The stream has ended. Returns its last bytes, which no piece held."""
        rest = self._splitter.rest
        for piece in self._splitter.feed(b"\n"):
            self._see(piece)
        if self._splitter.rest.strip():
            self._completed = False
        return rest

    @property
    def complete(self) -> bool:
        """Whether the end marker was the last thing in the stream."""
        return self._completed and not self._with_counters

    @property
    def last_table(self) -> str | None:
        """The table whose data or structure went by last."""
        return unquoted(next(reversed(self._counters))) if self._counters else None

    @property
    def tables(self) -> tuple[TableInventory, ...]:
        """Rows and checksum of each table, by name."""
        return tuple(
            sorted((counter.inventory(unquoted(name)) for name, counter in self._counters.items()), key=_by_name)
        )

    @property
    def counters(self) -> tuple[DatabaseObject, ...]:
        """Where AUTO_INCREMENT columns and sequences stand in what a load of this dump gives."""
        found = [(AUTO_INCREMENT, table, value) for table, value in self._auto_increments.items()]
        found += [(SEQUENCE_VALUE, name, sequence.value) for name, sequence in self._sequences.items()]
        return tuple(
            sorted(
                (
                    DatabaseObject(kind=kind, name=f"{name.decode(errors='surrogateescape')}: {value}")
                    for kind, name, value in found
                ),
                key=_by_name,
            )
        )

    @property
    def created_tables(self) -> set[str]:
        return {unquoted(name) for name in self._created}

    @property
    def tables_with_rows(self) -> set[str]:
        """Those whose rows it brings, however few."""
        return {unquoted(name) for name in self._announced}

    @property
    def sequences(self) -> set[str]:
        """Those of which the dump says where they stand."""
        return {unquoted(name) for name in self._sequences}

    def _see(self, piece: Piece) -> None:
        kind = piece.kind
        if self._completed and kind is not Kind.BLANK and not self._begins_counters(piece):
            raise MalformedDump("it goes on after its end marker")
        if kind is Kind.ROWS:
            self._counter(piece.table).add_all(piece.rows)
        elif kind is Kind.ROW_END:
            self._counter(piece.table).add_hashed(piece.digest)
        elif kind is Kind.STATEMENT:
            self._see_statement(piece.text)
        elif kind is Kind.COMMENT:
            self._see_comment(piece.text)
        self._after_comment = kind is Kind.COMMENT

    def _begins_counters(self, piece: Piece) -> bool:
        return self._with_counters and piece.kind is Kind.COMMENT and piece.text.startswith(COUNTERS_BEGIN)

    def _counter(self, table: bytes) -> TableCounter:
        return self._counters.setdefault(table, TableCounter())

    def _see_statement(self, text: bytes) -> None:
        if (table := _TABLE.match(text)) is not None:
            self._see_table(table[1], text)
        elif (sequence := _SEQUENCE.match(text)) is not None:
            self._add_object("sequence", unquoted(sequence[1]))
            if (terms := _SEQUENCE_START.search(text, sequence.end())) is not None:
                self._sequences[sequence[1]] = _Sequence(int(terms[1]), int(terms[2]))
        elif self._among_counters:
            self._see_counter(text)
        elif (announced := _ANNOUNCEMENT.match(text)) is not None:
            self._see_announcement(announced[1])
        elif (setval := _SETVAL.match(text)) is not None:
            if setval[1] in self._sequences:
                self._sequences[setval[1]].set(int(setval[2]))
        elif (code := code_head(text)) is not None:
            self._add_object(*code)
        elif text.startswith(b"/*!50001 CREATE ALGORITHM") and (view := _VIEW.search(text)) is not None:
            self._add_object("view", unquoted(view[1]))

    def _see_table(self, name: bytes, text: bytes) -> None:
        if name in self._created:
            raise MalformedDump(f"it creates the table '{unquoted(name)}' twice")
        self._created.add(name)
        self._counter(name)
        if (value := auto_increment_of(text)) > 1:
            self._auto_increments[name] = value

    def _see_announcement(self, name: bytes) -> None:
        if name in self._announced:
            raise MalformedDump(f"it brings the rows of '{unquoted(name)}' twice")
        self._announced.add(name)
        self._counter(name)

    def _see_counter(self, text: bytes) -> None:
        match = _COUNTER.match(text)
        if match is None:
            return
        if match[3] is not None:
            self._sequences[match[3]] = _Sequence(int(match[4]), 1)
        elif int(match[2]) > 1:  # as definitions print it
            self._auto_increments[match[1]] = int(match[2])

    def _add_object(self, kind: str, name: str) -> None:
        if (kind, name) in self._seen_objects:
            raise MalformedDump(f"it creates the {kind} '{name}' twice")
        self._seen_objects.add((kind, name))
        self.objects.append((kind, name))

    def _see_comment(self, text: bytes) -> None:
        # A line break in a table's name begins a comment line with what follows it; the marker stands apart.
        if self._completed:  # what follows the end marker has been found to be ours
            self._completed, self._among_counters = False, True
        elif self._among_counters:
            if text.startswith(COUNTERS_END):
                self._completed, self._with_counters = True, False
        else:
            self._completed = not self._after_comment and _COMPLETED.match(text) is not None
        if self.database is None and (database := _DATABASE.match(text)) is not None:
            self.database = database[1].decode(errors="surrogateescape")
        elif (position := _FILE_POSITION.match(text)) is not None:
            self.binlog_file, self.binlog_position = position[1].decode(), int(position[2])
        elif (gtid := _GTID.match(text)) is not None:
            self.gtid = gtid[1].decode()
        elif (refusal := _NO_PRIVILEGE.match(text)) is not None:
            self.refusals.append(refusal[1].decode(errors="replace").strip())


def code_head(statement: bytes) -> tuple[str, str] | None:
    """Kind and name of the trigger, routine or event that a statement creates."""
    match = _CODE.match(statement)
    return (match[1].decode().lower(), unquoted(match[3])) if match is not None else None


def trigger_table(statement: bytes) -> str | None:
    """The table of the trigger that a statement creates."""
    head = _CODE.match(statement)
    if head is None or head[1].upper() != b"TRIGGER":
        return None
    match = _ON_TABLE.match(statement, head.end())
    return unquoted(match[2]) if match is not None else None


def with_name(statement: bytes, name: bytes) -> bytes:
    """The statement that creates a trigger, routine or event, with another (quoted) name and no database's."""
    match = _CODE.match(statement)
    if match is None:
        raise ValueError("this creates neither a trigger nor a routine nor an event")
    start = match.start(2) if match[2] is not None else match.start(3)
    return statement[:start] + name + statement[match.end(3) :]


def auto_increment_of(definition: bytes) -> int:
    """Where the AUTO_INCREMENT of the table stands whose ``CREATE TABLE`` this is."""
    found = [int(match[1]) for match in _AUTO_INCREMENT.finditer(definition) if match[1] is not None]
    return found[-1] if found else 1


class _Sequence:
    """Where a sequence stands after its creation and its SETVAL, which never sets it back."""

    def __init__(self, start: int, increment: int) -> None:
        self.value = start
        self._further = min if increment < 0 else max

    def set(self, value: int) -> None:
        self.value = self._further(self.value, value)


def _by_name(item: TableInventory | DatabaseObject) -> str:
    return item.name
