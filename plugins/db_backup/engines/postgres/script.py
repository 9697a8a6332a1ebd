"""Reading pg_dump's plain SQL script as it passes by.

Only a COPY statement outside quotes and comments begins a table's data: a function's body may hold the same line. The
script is pg_dump's own, so no string holds a quote escaped by a backslash (``standard_conforming_strings`` is on).
"""

from __future__ import annotations

import re

from xxhash import xxh3_64

from db_backup.engines.postgres.contents import (
    ATTACH_PARTITION,
    COPY,
    QUALIFIED_NAME,
    SEQUENCE_VALUE,
    CopyRows,
    DumpContents,
    StreamDamaged,
    attachments,
    copied_table,
    sequence_value,
    unquoted,
)

_CREATE = re.compile(rb"^CREATE (?:UNLOGGED )?TABLE " + QUALIFIED_NAME + rb" ", re.MULTILINE)
_TOKEN = re.compile(
    rb"(?P<comment>--[^\n]*\n)"
    rb"|(?P<quote>['\"]|/\*|\$(?:[^\W\d]\w*)?\$)"
    rb"|(?P<copy>" + COPY.pattern + rb")"
    rb"|(?P<create>" + _CREATE.pattern + rb")"
    rb"|(?P<sequence_value>" + SEQUENCE_VALUE.pattern + rb")"
    rb"|(?P<attach>" + ATTACH_PARTITION.pattern + rb")"
    rb"|(?P<alteration>^ALTER TABLE ONLY " + QUALIFIED_NAME + rb"\s(?!ATTACH PARTITION ))"
    # One of these that has not come to its end: names may hold line ends.
    rb"|(?P<unfinished>^(?:COPY|CREATE (?:UNLOGGED )?TABLE|ALTER TABLE ONLY) |^SELECT pg_catalog\.setval\()"
    rb"|(?P<large_object>^SELECT pg_catalog\.lo(?:_open\('\d+', \d+\)|write\(0, '\\x[0-9a-f]*'\)|_close\(0\));\n)"
    rb"|(?P<restriction>^\\(?:un)?restrict [A-Za-z0-9]+\n)",
    re.MULTILINE,
)
_FOOTER = b"-- PostgreSQL database dump complete\n"
_AFTER_FOOTER = re.compile(rb"(?:--)?|(?P<unrestriction>\\unrestrict [A-Za-z0-9]+)")


class ScriptReader:
    """A ``DumpReader`` of the plain format."""

    def __init__(self) -> None:
        self._contents = DumpContents()
        self._tail = b""
        self._quote: bytes | None = None  # what closes the quote or comment that is open
        self._table = ""
        self._rows: CopyRows | None = None
        self._large_object = xxh3_64()
        self._restricted = False
        self._footer = False

    def feed(self, block: bytes) -> None:
        data = self._tail + block
        self._tail = b""
        while data:
            if self._footer:
                self._read_end(data)
                return
            if self._rows is None:
                data = self._read_sql(data)
                continue
            rest = self._rows.feed(data)
            if rest is None:
                return
            self._rows, data = None, rest

    def finish(self) -> DumpContents:
        if self._rows is not None:
            raise StreamDamaged(f"ends in the data of table {self._table}", truncated=True)
        if self._quote is not None or self._tail.strip() or not self._footer or self._restricted:
            raise StreamDamaged("ends before its last line", truncated=True)
        return self._contents

    def _read_sql(self, data: bytes) -> bytes:
        """Read whole lines until a table's data begins; returns the data that follows, for ``CopyRows``."""
        position, end = 0, data.rfind(b"\n") + 1
        while position < end:
            if self._quote is not None:
                closing = data.find(self._quote, position, end)
                if closing < 0:
                    break
                position = closing + len(self._quote)
                self._quote = None
                continue
            token = _TOKEN.search(data, position, end)
            if token is None:
                break
            if token["unfinished"]:
                self._tail = data[token.start() :]
                return b""
            position = token.end()
            self._read_token(token)
            if self._rows is not None or self._footer:
                return data[position:]
        self._tail = data[end:]
        return b""

    def _read_end(self, data: bytes) -> None:
        """The last line of the footer's comment, and what ``\\restrict`` began; nothing else."""
        *lines, self._tail = data.split(b"\n")
        for line in lines:
            match = _AFTER_FOOTER.fullmatch(line)
            if match is None:
                raise StreamDamaged("goes on after its last line", truncated=False)
            self._restricted = self._restricted and not match["unrestriction"]

    def _read_token(self, token: re.Match[bytes]) -> None:
        text = token[0]
        if token["quote"]:
            self._quote = b"*/" if text == b"/*" else text
        elif token["comment"]:
            self._footer = self._footer or text == _FOOTER
        elif token["copy"]:
            self._begin_table(text)
        elif token["create"]:
            self._define(text)
        elif token["sequence_value"]:
            self._contents.sequence_values.append(sequence_value(text))
        elif token["attach"]:
            attachments(text, self._contents.parents.__setitem__)
        elif token["large_object"]:
            self._read_large_object(text)
        elif token["restriction"]:
            self._restricted = text.startswith(b"\\restrict")

    def _begin_table(self, statement: bytes) -> None:
        table = copied_table(statement)
        assert table is not None  # noqa: S101 - the token was found with the same pattern
        self._table = ".".join(table)
        self._rows = CopyRows(self._contents.begin_copy(table))

    def _define(self, statement: bytes) -> None:
        names = _CREATE.match(statement)
        assert names is not None  # noqa: S101 - as above
        self._contents.defined.add((unquoted(names[1]), unquoted(names[2])))

    def _read_large_object(self, statement: bytes) -> None:
        """From ``lo_open`` to ``lo_close`` is one object: its oid and its content, as one hash."""
        if b"lo_open(" in statement:
            self._large_object = xxh3_64()
        if b"lo_close(" in statement:
            self._contents.large_objects.add_hashed(self._large_object.intdigest())
        else:
            self._large_object.update(statement)
