"""A SQL dump taken apart as it streams by: comments, statements and rows, in constant memory.

Made for what ``mariadb-dump`` and ``mysqldump`` print, and split the way their clients split it: quotes, escapes,
comments and ``DELIMITER`` count, lines do not. The pieces, put together, are the stream again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from xxhash import xxh3_64

STATEMENT_LIMIT_BYTES = 64 << 20  # structure larger than this is no structure
ROWS_LIMIT_BYTES = 5 << 18  # rows that wait for the end of their INSERT, which the tools end before 1 MiB
_SCAN_BYTES = 64 << 10  # bounds what one match may have to remember

IDENTIFIER = rb"`(?:[^`]|``)+`"
_COLUMNS = rb"\([^`)]*(?:`[^`]*`[^`)]*)*\)"
_INSERT = re.compile(
    rb"(?:INSERT|REPLACE) (?:IGNORE )?INTO (%s)(?: %s)? VALUES\s*(?=\()" % (IDENTIFIER, _COLUMNS), re.DOTALL
)
# Every alternative begins with another byte, so that a match that fails has only one way to fail.
_ROW_BODY = rb"[^')]*(?:'[^'\\]*(?:\\.[^'\\]*)*'[^')]*)*"
_ROW = re.compile(rb"\((%s)\)" % _ROW_BODY, re.DOTALL)
_ROW_AND_END = re.compile(rb"\((%s)\)(,\n?(?=\()|;\n)" % _ROW_BODY, re.DOTALL)
_BETWEEN_LINES, _BETWEEN_ROWS = b"),\n(", b"),("
_OUTSIDE_STRING = re.compile(rb"[^')]*")
_INSIDE_STRING = re.compile(rb"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL)
_BLANK = re.compile(rb"\s*")
SANDBOX_LINE = re.compile(rb"/\*M?!999999\\- enable the sandbox mode \*/ ?\n")
_SQL_MODE = re.compile(rb"SET sql_mode\s*=\s*('[^']*')?")


class Kind(Enum):
    BLANK = auto()
    COMMENT = auto()
    SANDBOX = auto()  # the first line of newer MariaDB dumps
    DELIMITER = auto()
    STATEMENT = auto()
    INSERT = auto()  # the head of an INSERT, up to its first row
    ROWS = auto()  # whole rows of it
    ROW_PART = auto()  # some bytes of a row too large to be held
    ROW_END = auto()  # the last of them


class Piece(NamedTuple):
    """Some bytes of the dump. ``rows``: without their parentheses; ``digest``: xxh3_64 of a large row, likewise."""

    kind: Kind
    text: bytes
    table: bytes = b""
    rows: Sequence[bytes] = ()
    digest: int = 0


class MalformedDump(ValueError):
    """The stream is no SQL dump at this place."""


class DumpSplitter:
    """Feed it blocks, take the pieces that are whole; then ``rest`` is what the stream ended in the middle of."""

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0
        self._started = False
        self._delimiter = b";"
        self._backslash_escapes = True
        self._table: bytes | None = None  # the INSERT that we are in
        self._large_row: xxh3_64 | None = None
        self._in_string = False

    @property
    def rest(self) -> bytes:
        """What is left over. A final comment without a line break counts as whole: feed a line break to get it."""
        return self._buffer[self._position :]

    def feed(self, block: bytes | bytearray | memoryview) -> Iterator[Piece]:
        """The pieces that this block completes. Consume them all before the next block.

        :raises MalformedDump:
        """
        block = bytes(block)
        if b"\0" in block:  # the tools write it as an escape; in a file it is a hole
            raise MalformedDump("there are zero bytes in it")
        self._buffer = self._buffer[self._position :] + block
        self._position = 0
        while self._position < len(self._buffer):
            if self._large_row is not None:
                piece = self._next_of_large_row()
            elif self._table is not None:
                piece = self._next_rows()
            else:
                piece = self._next_statement()
            if piece is None:
                break
            yield piece

    def _take(self, kind: Kind, end: int, table: bytes = b"", rows: Sequence[bytes] = (), digest: int = 0) -> Piece:
        text = self._buffer[self._position : end]
        self._position = end
        return Piece(kind, text, table, rows, digest)

    # Between rows

    def _next_statement(self) -> Piece | None:
        buffer, start = self._buffer, self._position
        blank = _BLANK.match(buffer, start)
        if blank is not None and blank.end() > start:
            return self._take(Kind.BLANK, blank.end())
        line_end = buffer.find(b"\n", start) + 1
        if not line_end and len(buffer) - start < STATEMENT_LIMIT_BYTES:
            return None  # every construct that we know ends its line
        return self._line(line_end or len(buffer)) or self._insert() or self._statement()

    def _line(self, end: int) -> Piece | None:
        """What is a line of its own: comments and the client's commands."""
        buffer, start = self._buffer, self._position
        first, self._started = not self._started, True
        if first and (sandbox := SANDBOX_LINE.match(buffer, start)) is not None:
            return self._take(Kind.SANDBOX, sandbox.end())
        if buffer.startswith((b"-- ", b"--\n"), start):
            return self._take(Kind.COMMENT, end)
        if buffer.startswith(b"DELIMITER ", start):
            self._delimiter = buffer[start + 10 : end].strip() or b";"
            return self._take(Kind.DELIMITER, end)
        return None

    def _insert(self) -> Piece | None:
        insert = _INSERT.match(self._buffer, self._position)
        if insert is None:
            return None
        self._table = insert[1]
        return self._take(Kind.INSERT, insert.end(), table=insert[1])

    def _statement(self) -> Piece | None:
        buffer, start = self._buffer, self._position
        statement = _statement_pattern(self._delimiter, self._backslash_escapes).match(buffer, start)
        if statement is None:
            if len(buffer) - start > STATEMENT_LIMIT_BYTES:
                raise MalformedDump(f"a statement without an end begins with {buffer[start : start + 60]!r}")
            return None
        mode = _SQL_MODE.search(buffer, start, start + 200)
        if mode is not None:
            self._backslash_escapes = b"NO_BACKSLASH_ESCAPES" not in (mode[1] or b"")
        return self._take(Kind.STATEMENT, statement.end())

    # Among rows

    def _next_rows(self) -> Piece | None:
        buffer, start = self._buffer, self._position
        table = self._table or b""
        end = buffer.find(b");\n", start)
        while end >= 0:
            rows = _whole_rows(buffer[start : end + 1])
            if rows is not None:
                self._table = None
                return self._take(Kind.ROWS, end + 3, table=table, rows=rows)
            end = buffer.find(b");\n", end + 1)  # that one was inside a string
        if (piece := self._rows_so_far(table)) is not None:
            return piece
        if len(buffer) - start <= ROWS_LIMIT_BYTES:
            return None
        return self._next_rows_one_by_one(table)

    def _rows_so_far(self, table: bytes) -> Piece | None:
        """The rows that are there while the end of their INSERT is not; None where a plain split will not do."""
        start, separator = self._position, _BETWEEN_LINES
        end = self._buffer.rfind(separator, start)
        if end < 0:
            separator = _BETWEEN_ROWS
            end = self._buffer.rfind(separator, start)
        rows = _split_rows(self._buffer[start : end + 1]) if end >= 0 else None
        return None if rows is None else self._take(Kind.ROWS, end + len(separator) - 1, table=table, rows=rows)

    def _next_rows_one_by_one(self, table: bytes) -> Piece | None:
        start = end = self._position
        rows = []
        while (row := _ROW_AND_END.match(self._buffer, end)) is not None:
            rows.append(row[1])
            end = row.end()
            if row[2] == b";\n":
                self._table = None
                break
        if rows:
            return self._take(Kind.ROWS, end, table=table, rows=rows)
        if self._buffer[start : start + 1] != b"(":
            raise MalformedDump(f"no row where one of {table.decode(errors='replace')} should be")
        self._large_row, self._in_string = xxh3_64(), False
        return self._take(Kind.ROW_PART, start + 1, table=table)

    def _next_of_large_row(self) -> Piece | None:
        """Hash up to the next quote, the row's end or the end of what is there."""
        buffer, start = self._buffer, self._position
        row, table = self._large_row, self._table or b""
        assert row is not None  # noqa: S101 - the caller asked
        pattern = _INSIDE_STRING if self._in_string else _OUTSIDE_STRING
        match = pattern.match(buffer, start, min(start + _SCAN_BYTES, len(buffer)))
        end = match.end() if match is not None else start
        if end == start + _SCAN_BYTES or end == len(buffer):
            row.update(buffer[start:end])
            return self._take(Kind.ROW_PART, end, table=table) if end > start else None
        stopped_at = buffer[end : end + 1]
        if stopped_at == b"'":
            self._in_string = not self._in_string
        elif stopped_at == b"\\":  # an escape that this scan cut in two
            if end + 1 == len(buffer):
                row.update(buffer[start:end])
                return self._take(Kind.ROW_PART, end, table=table) if end > start else None
            end += 1
        else:
            return self._end_of_large_row(row, end, table)
        row.update(buffer[start : end + 1])
        return self._take(Kind.ROW_PART, end + 1, table=table)

    def _end_of_large_row(self, row: xxh3_64, end: int, table: bytes) -> Piece | None:
        """The closing parenthesis and what follows it: a comma, or the statement's end."""
        buffer = self._buffer
        if len(buffer) < end + 3:
            return None
        follows = buffer[end + 1 : end + 3]
        length = {b",\n": 3, b";\n": 3, b",(": 2}.get(follows)
        if length is None:
            raise MalformedDump(f"a row of {table.decode(errors='replace')} ends in {follows!r}")
        row.update(buffer[self._position : end])
        self._large_row = None
        if follows == b";\n":
            self._table = None
        return self._take(Kind.ROW_END, end + length, table=table, digest=row.intdigest())


def _whole_rows(region: bytes) -> list[bytes] | None:
    """The rows of ``(…),(…)`` without their parentheses; None when the text ends inside a string."""
    if (split := _split_rows(region)) is not None:
        return split
    rows = _ROW.findall(region)
    separators = len(region) - sum(map(len, rows)) - 2 * len(rows)
    return rows if rows and separators in {len(rows) - 1, 2 * (len(rows) - 1)} else None


def _split_rows(region: bytes) -> list[bytes] | None:
    """The same by a plain split, some five times faster than reading the strings; None where that would not be sure.

    The tools write a line break inside a string as ``\\n``. So when every line break separates rows, they separate
    nothing else. On one line a separator stands between rows when no string is open there: after an even number of
    quotes that are not escaped.
    """
    rows = region[1:-1].split(_BETWEEN_LINES)
    if len(rows) > 1:
        return rows if region.count(b"\n") == len(rows) - 1 else None
    rows = bare = region[1:-1].split(_BETWEEN_ROWS)
    if b"\\" in region:
        bare = region[1:-1].replace(b"\\\\", b"  ").replace(b"\\'", b"  ").split(_BETWEEN_ROWS)
    return None if any(quotes % 2 for quotes in map(bytes.count, bare, repeat(b"'"))) else rows


@lru_cache(maxsize=64)
def _statement_pattern(delimiter: bytes, backslash_escapes: bool) -> re.Pattern[bytes]:
    """One statement with its delimiter, the way the client reads it: nothing counts inside quotes and comments.

    Each quote and comment can end in one place only, lest a match that fails tries a shorter one.
    """
    escape = rb"\\." if backslash_escapes else rb"(?!)"
    plain = rb"\\" if backslash_escapes else b""
    quoted = b"|".join(rb"%s[^%s%s]*(?:%s[^%s%s]*)*%s" % (q, q, plain, escape, q, plain, q) for q in (b"'", b'"'))
    special = b"|".join(
        [
            quoted,
            rb"`[^`]*`",
            rb"--(?=\s)[^\n]*(?=\n)",
            rb"-(?!-\s)",
            rb"\#[^\n]*(?=\n)",
            rb"/\*(?!M?!)(?:(?!\*/).)*\*/",
            rb"/(?!\*(?!M?!))",
            *([] if delimiter == b";" else [rb"(?!%s);" % re.escape(delimiter)]),
        ]
    )
    other = rb"[^'\"`\-\#/;]*"
    return re.compile(rb"%s(?:(?:%s)%s)*%s" % (other, special, other, re.escape(delimiter)), re.DOTALL)
