"""The pieces of a dump on their way to the client: chosen, renamed, events last."""

from __future__ import annotations

from db_backup.engines.mysql.databases import is_replacement, replacement_name
from db_backup.engines.mysql.definers import definer_of
from db_backup.engines.mysql.dump_parser import DumpParser, code_head
from db_backup.engines.mysql.dump_splitter import Kind, Piece
from db_backup.engines.mysql.events import EventsLast, is_enabled, is_event, passes, waiting
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.selection import Selection


class Rewriting:
    """One stream of a dump, for the database ``target``; ``parser`` has seen each piece before it comes here.

    ``active_events``: how many of the events run there. ``definers``: accounts that the statements name.
    ``passing_events``: names of events that cannot be made any more after some time.
    """

    def __init__(
        self, target: str, parser: DumpParser, selection: Selection | None, *, keep_sandbox_line: bool
    ) -> None:
        self.parser = parser
        self.active_events = 0
        self.definers: set[str] = set()
        self.passing_events: set[str] = set()
        self._target = target
        self._selection = selection
        self._keep_sandbox_line = keep_sandbox_line
        self._renaming: Renaming | None = None
        self._events = EventsLast()
        self._off_on_replica = 0

    @property
    def warnings(self) -> list[str]:
        said = []
        if self._renaming is not None and self._target != replacement_name(self._source):
            said += self._renaming.warnings
        if self._off_on_replica:
            said.append(
                f"{self._off_on_replica} events were switched off because their server was a replica (DISABLE ON "
                "SLAVE), and are switched off for good (DISABLE) in what is restored."
            )
        return said

    def apply(self, piece: Piece) -> bytes:
        """The bytes to load instead of the piece's, perhaps none."""
        if piece.kind is Kind.SANDBOX:
            return piece.text if self._keep_sandbox_line else b""
        if self._events.keeps(piece):
            return b""
        pieces = (piece,) if self._selection is None else self._selection.chosen(piece)
        return b"".join(self._renamed(chosen) for chosen in pieces)

    def held_back(self) -> bytes:
        """What is loaded after everything else: the events."""
        if self._selection is not None:
            return b""
        return b"\n" + b"".join(self._renamed(self._dormant(piece)) for piece in self._events.held)

    @property
    def _source(self) -> str:
        return self.parser.database or self._target

    def _renamed(self, piece: Piece) -> bytes:
        if piece.kind is not Kind.STATEMENT:
            return piece.text
        if (definer := definer_of(piece.text)) is not None:
            self.definers.add(definer)
        if self._renaming is None:  # the dump's first comment, which names its database, has gone by
            self._renaming = Renaming(self._source, self._target)
        return self._renaming.apply(piece)

    def _dormant(self, piece: Piece) -> Piece:
        if piece.kind is not Kind.STATEMENT or not is_event(piece.text):
            return piece
        if passes(piece.text) and (head := code_head(piece.text)) is not None:
            self.passing_events.add(head[1])
        if not is_replacement(self._target):
            self.active_events += is_enabled(piece.text)
            return piece
        text, off_on_replica = waiting(piece.text)
        self._off_on_replica += off_on_replica
        return piece._replace(text=text)
