"""What a SQL dump holds: its tables with rows counted and hashed, its objects, its position and its end."""

from __future__ import annotations

import re
from collections.abc import Iterator

from db_backup.engines.mysql.dump_splitter import IDENTIFIER, DumpSplitter, Kind, Piece
from db_backup.engines.row_hashing import TableCounter
from db_backup.manifest import TableInventory

_NAME = rb"(%s|\"(?:[^\"]|\"\")+\"|[\w$\x80-\xff]+)" % IDENTIFIER
_QUALIFIED_NAME = rb"(?:%s\s*\.\s*)?%s" % (_NAME, _NAME)
_TABLE = re.compile(rb"CREATE TABLE (?:IF NOT EXISTS )?(%s)" % IDENTIFIER)
_SEQUENCE = re.compile(rb"CREATE SEQUENCE (?:IF NOT EXISTS )?(%s)" % IDENTIFIER)
_VIEW = re.compile(rb"/\*!\d+ VIEW (%s) AS " % IDENTIFIER)
_VERSIONED = rb"(?:/\*!\d+ |\*/\s*)*"
_PERSON = rb"(?:`[^`]*`|\"[^\"]*\"|'[^']*'|[\w$.%-]+)"  # or the name of a role
_DEFINER = rb"(?:%sDEFINER\s*=\s*%s(?:@%s)?\s*)?" % (_VERSIONED, _PERSON, _PERSON)
_KIND = rb"(?:AGGREGATE\s+)?(TRIGGER|PROCEDURE|FUNCTION|PACKAGE BODY|PACKAGE|EVENT)\s+(?:IF NOT EXISTS\s+)?"
_CODE = re.compile(rb"%sCREATE\s*%s%s%s%s%s" % (_VERSIONED, _VERSIONED, _DEFINER, _VERSIONED, _KIND, _QUALIFIED_NAME))
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
    """Show it every byte of a dump, in order; then ask what went by. Memory is constant."""

    def __init__(self) -> None:
        self._splitter = DumpSplitter()
        self._counters: dict[bytes, TableCounter] = {}
        self._created: set[bytes] = set()
        self._completed = False
        self.database: str | None = None  # the source's name, from the dump's first comment
        self.objects: list[tuple[str, str]] = []  # (kind, name) of views, sequences, triggers, routines, events
        self.refusals: list[str] = []  # what the tool says that it may not show
        self.binlog_file: str | None = None
        self.binlog_position: int | None = None
        self.gtid: str | None = None

    def feed(self, block: bytes | bytearray | memoryview) -> None:
        """:raises MalformedDump: this is no SQL dump."""
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
        return self._completed

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
    def created_tables(self) -> set[str]:
        return {unquoted(name) for name in self._created}

    def _see(self, piece: Piece) -> None:
        kind = piece.kind
        if kind is Kind.ROWS:
            self._counter(piece.table).add_all(piece.rows)
        elif kind is Kind.ROW_END:
            self._counter(piece.table).add_hashed(piece.digest)
        elif kind is Kind.STATEMENT:
            self._completed = False
            self._see_statement(piece.text)
        elif kind is Kind.COMMENT:
            self._see_comment(piece.text)
        elif kind is Kind.INSERT:
            self._completed = False

    def _counter(self, table: bytes) -> TableCounter:
        return self._counters.setdefault(table, TableCounter())

    def _see_statement(self, text: bytes) -> None:
        if (table := _TABLE.match(text)) is not None:
            self._created.add(table[1])
            self._counter(table[1])
        elif (sequence := _SEQUENCE.match(text)) is not None:
            self.objects.append(("sequence", unquoted(sequence[1])))
        elif (code := code_head(text)) is not None:
            self.objects.append(code)
        elif text.startswith(b"/*!50001 CREATE ALGORITHM") and (view := _VIEW.search(text)) is not None:
            self.objects.append(("view", unquoted(view[1])))

    def _see_comment(self, text: bytes) -> None:
        self._completed = _COMPLETED.match(text) is not None
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


def _by_name(table: TableInventory) -> str:
    return table.name
