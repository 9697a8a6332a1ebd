"""What a replay must not do in a scratch server, made into statements of the same length that do nothing. Pure.

Accounts are in no dump of databases: GRANT, DROP USER or a row of ``mysql.user`` would fail there, and stop the replay.
Offsets stay what they are, so that positions mean what they say; this happens to the copies of files in the scratch
folder alone, never to what is stored.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from db_backup.engines.mysql.chain.events import CHECKSUM_BYTES, HEADER_BYTES, Event, EventType
from db_backup.engines.mysql.dump_parser import GAP

_OF_ACCOUNTS = re.compile(
    rb"{gap}(?:GRANT\b|REVOKE\b|SET{gap}(?:PASSWORD|DEFAULT{gap}ROLE)\b"
    rb"|(?:CREATE|ALTER|DROP|RENAME){gap}(?:OR{gap}REPLACE{gap})?(?:USER|ROLE)\b)".replace(b"{gap}", GAP),
    re.IGNORECASE | re.DOTALL,
)
_NOTHING = b"DO 0"
_QUERY_HEAD_BYTES = 13
_ROWS = frozenset({*range(20, 26), *range(30, 33), *range(166, 172)})  # written, changed, deleted; all versions
_ENDS_STATEMENT = 1
_SYSTEM = frozenset({b"mysql", b"sys", b"performance_schema"})


@dataclass(frozen=True)
class Patch:
    """Bytes to write over those at ``offset``."""

    offset: int
    content: bytes


class Silencer:
    """Shown every event in order, it says what to write over them."""

    def __init__(self) -> None:
        self._maps: list[Event] = []  # of the tables of a statement whose rows have not come yet
        self._silent = False  # the rows of this statement

    def see(self, event: Event) -> Iterator[Patch]:
        statement = event.statement
        if statement is not None and _OF_ACCOUNTS.match(statement):
            yield _silenced(event)
        elif event.header.type == EventType.TABLE_MAP:
            self._maps.append(event)
        elif event.header.type in _ROWS:
            yield from self._see_rows(event)

    def _see_rows(self, event: Event) -> Iterator[Patch]:
        if self._maps:
            self._silent = all(table.table_database in _SYSTEM for table in self._maps)
        if self._silent:
            yield from map(_silenced, (*self._maps, event))
        self._maps.clear()
        if struct.unpack_from("<H", event.body, 6)[0] & _ENDS_STATEMENT:
            self._silent = False


def _silenced(event: Event) -> Patch:
    """The event as a statement that does nothing."""
    length = event.header.length
    room = length - HEADER_BYTES - _QUERY_HEAD_BYTES - 1 - event.checksum_bytes
    if room < len(_NOTHING):
        return Patch(event.offset, b"")  # no such event is as short as that
    header = bytearray(event.content[:HEADER_BYTES])
    header[4] = EventType.QUERY
    content = bytes(header) + bytes(_QUERY_HEAD_BYTES + 1) + _NOTHING.ljust(room)
    if event.checksum_bytes:
        content += zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "little")
    return Patch(event.offset, content)
