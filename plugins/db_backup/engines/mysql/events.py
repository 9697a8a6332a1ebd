"""Events of a dump: made after all else, and switched off in a database that is not in its place yet. Pure.

The tools print them before routines and views. An event that ran among half of a database, or in a copy that is still
compared with its backup, would change what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from db_backup.engines.mysql.dump_parser import code_head
from db_backup.engines.mysql.dump_splitter import Kind, Piece

# What the tools print around all events of a database.
_BEGIN = re.compile(rb"/\*!50106 SET @save_time_zone\s*=")
_END = re.compile(rb"/\*!50106 SET TIME_ZONE\s*=\s*@save_time_zone")
# The server itself writes the head of an event; quoted names and intervals may hold anything.
_STATUS = re.compile(
    rb"`(?:[^`]|``)*`|'[^'\\]*(?:\\.[^'\\]*)*'|"
    rb"(\bON COMPLETION (?:NOT )?PRESERVE )(ENABLE|DISABLE ON (?:SLAVE|REPLICA)|DISABLE)\b",
    re.DOTALL,
)
_ENDING = re.compile(rb"\bON SCHEDULE (?:AT '|EVERY .* ENDS ')", re.DOTALL)
_ENABLED, _DISABLED, _WAITING = b"ENABLE", b"DISABLE", b"DISABLE ON SLAVE"


class EventsLast:
    """Keeps the events of one stream back. ``held``: their statements, in order."""

    def __init__(self) -> None:
        self._among_events = False
        self.held: list[Piece] = []

    def keeps(self, piece: Piece) -> bool:
        """Whether this piece belongs to the events, and is held from now on."""
        statement = piece.kind is Kind.STATEMENT
        begins = statement and _BEGIN.match(piece.text) is not None
        if not (self._among_events or begins):
            return False
        self.held.append(piece)
        self._among_events = not (statement and _END.match(piece.text) is not None)
        return True


def is_event(statement: bytes) -> bool:
    head = code_head(statement)
    return head is not None and head[0] == "event"


def passes(statement: bytes) -> bool:
    """Whether a time comes after which the server drops this event, and makes it no more (without an error)."""
    status = _status(statement)
    if status is None or status[1] != b"ON COMPLETION NOT PRESERVE ":
        return False
    return _ENDING.search(statement, 0, status.start()) is not None


def about_passed(events: Iterable[str]) -> str:
    """The warning that these events cannot be made any more."""
    return f"The time of these events is over, and the server does not make them again: {', '.join(events)}."


def waiting(statement: bytes) -> tuple[bytes, bool]:
    """The statement that makes an event, switched off so that ``woken`` knows whether it is to run.

    Second: whether it was off on its server because that was a replica, which is not kept.
    """
    status = _status(statement)
    if status is None or status[2] == _DISABLED:
        return statement, False
    changed = _WAITING if status[2] == _ENABLED else _DISABLED
    return statement[: status.start(2)] + changed + statement[status.end(2) :], changed == _DISABLED


def woken(statement: bytes) -> bytes:
    """The statement that makes a waiting event, as it is to be."""
    status = _status(statement)
    if status is None or status[2] in {_ENABLED, _DISABLED}:
        return statement
    return statement[: status.start(2)] + _ENABLED + statement[status.end(2) :]


def is_enabled(statement: bytes) -> bool:
    status = _status(statement)
    return status is not None and status[2] == _ENABLED


def _status(statement: bytes) -> re.Match[bytes] | None:
    return next((match for match in _STATUS.finditer(statement) if match[1] is not None), None)
