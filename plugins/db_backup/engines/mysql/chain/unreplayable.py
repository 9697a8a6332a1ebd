"""What no scratch server can replay: an increment with it ends a chain, while a full can still be taken. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from db_backup.engines.mysql.chain.events import Event, EventType

_DECIDES = re.compile(rb"XA (?:COMMIT|ROLLBACK) (X'[0-9a-f]*',X'[0-9a-f]*',\d+)", re.IGNORECASE)
_LOADS = frozenset({EventType.BEGIN_LOAD_QUERY, EventType.EXECUTE_LOAD_QUERY})


def xid_text(format_id: int, branch_bytes: int, data: bytes) -> str:
    """A prepared transaction as the binlog names it.

    :param branch_bytes: the length of the first of the two that ``data`` is made of.
    """
    return f"X'{data[:branch_bytes].hex()}',X'{data[branch_bytes:].hex()}',{format_id}"


class Unreplayable:
    """Shown every event. ``reason``: why nothing that holds these can be replayed; empty: it can.

    :param undecided: XA transactions that were prepared before the chain's base, and so are in no backup of it.
    """

    def __init__(self, undecided: Collection[str]) -> None:
        self.reason = ""
        self._undecided = {xid.lower() for xid in undecided}

    def see(self, event: Event) -> None:
        if event.header.type in _LOADS:
            self.reason = (
                "a LOAD DATA was logged as a statement (binlog_format=STATEMENT), whose file no replay may read"
            )
        elif self._undecided and (statement := event.statement) is not None:
            decides = _DECIDES.match(statement)
            if decides is not None and decides[1].decode().lower() in self._undecided:
                self.reason = "an XA transaction was decided that had been prepared before the chain's full backup"
