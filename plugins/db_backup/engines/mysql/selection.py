"""Some of a full backup's tables: which of its statements make them. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from db_backup.engines.mysql.dump_parser import trigger_table, unquoted
from db_backup.engines.mysql.dump_splitter import IDENTIFIER, Kind, Piece

_OF_TABLE = re.compile(
    rb"(?:CREATE TABLE (?:IF NOT EXISTS )?|DROP TABLE IF EXISTS |/\*!40000 ALTER TABLE )(%s)" % IDENTIFIER
)
_OF_SEQUENCE = re.compile(
    rb"(?:DROP SEQUENCE IF EXISTS |CREATE SEQUENCE (?:IF NOT EXISTS )?|DO SETVAL\()(%s)" % IDENTIFIER
)
_DRAWS_FROM = re.compile(rb"\b(?:nextval|lastval)\((?:%s\.)?(%s)\)" % (IDENTIFIER, IDENTIFIER))
_SETTING = re.compile(rb"(?:/\*M?!\d+ )?(?:SET|START|COMMIT)\b", re.IGNORECASE)

_OF_DATABASE = re.compile(rb"ALTER DATABASE\b")  # stands before and after code that was made in another character set


class Selection:
    """What of a dump's streams belongs to these tables: definitions, rows, triggers, and the sequences they draw from.

    :param tables: names as the inventory has them.
    :param kept_sequences: which the database has already; they stay as they are.
    """

    def __init__(self, tables: Collection[str], kept_sequences: Collection[str] = ()) -> None:
        self.tables = frozenset(tables)
        self.sequences: set[str] = set()  # that came along
        self.shared_sequences: set[str] = set()  # that were there already
        self._kept = frozenset(kept_sequences)
        self._waiting: dict[str, list[Piece]] = {}
        self._before: Piece | None = None  # what changes the database's character set for the code that follows
        self._changed = False  # by it

    def chosen(self, piece: Piece) -> Iterator[Piece]:
        """What goes on to the client, now that this piece has come."""
        if piece.table:
            if unquoted(piece.table) in self.tables:
                yield piece
        elif piece.kind is not Kind.STATEMENT:
            yield piece
        elif (sequence := _OF_SEQUENCE.match(piece.text)) is not None:
            self._waiting.setdefault(unquoted(sequence[1]), []).append(piece)
        elif (table := _OF_TABLE.match(piece.text)) is not None:
            if unquoted(table[1]) in self.tables:
                yield from self._sequences_of(piece.text)
                yield piece
        elif (triggered := trigger_table(piece.text)) is not None:
            if triggered in self.tables:
                yield from self._change_database()
                yield piece
        elif _OF_DATABASE.match(piece.text):
            yield from self._see_database(piece)
        elif _SETTING.match(piece.text):
            yield piece

    def _see_database(self, piece: Piece) -> Iterator[Piece]:
        if self._before is None:
            self._before = piece
            return
        if self._changed:
            yield piece
        self._before, self._changed = None, False

    def _change_database(self) -> Iterator[Piece]:
        """Late, for a trigger that is wanted: by now the delimiter is the one around code."""
        if self._before is not None:
            yield self._before._replace(text=self._before.text.rstrip(b" ;\n") + b" ;;\n")
            self._changed = True

    def _sequences_of(self, definition: bytes) -> Iterator[Piece]:
        for name in _DRAWS_FROM.findall(definition):
            sequence = unquoted(name)
            if sequence in self._kept:
                self.shared_sequences.add(sequence)
                continue
            for piece in self._waiting.pop(sequence, ()):
                self.sequences.add(sequence)
                yield piece
                yield Piece(Kind.BLANK, b"\n")
