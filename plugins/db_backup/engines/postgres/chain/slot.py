"""The replication slot of a chain: it makes the server keep the WAL that the next increment needs.

Made before the base backup, moved only when a backup is published, and never used to read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import psycopg

from db_backup.engines.postgres.chain.position import format_lsn, last_page, parse_lsn
from db_backup.engines.postgres.session import Connection, one_line, rows
from db_backup.errors import ChainBroken, SourceError

_MOST_NAME_BYTES = 63
_NEW_FULL = "A new full backup makes the slot anew and begins a new chain."
_STATE = """SELECT s.slot_type, s.wal_status, s.restart_lsn::text, s.safe_wal_size,
    pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)
    FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = %(slot)s"""


@dataclass(frozen=True)
class SlotState:
    """What the server says of a slot.

    :param kept_from: the LSN from which on it keeps WAL; None where it does not.
    :param held_bytes: how much WAL it keeps from being removed.
    :param safe_bytes: how much more may be written before the server lets it go; None: it never does.
    """

    is_physical: bool
    status: str
    kept_from: int | None
    held_bytes: int
    safe_bytes: int | None

    @property
    def keeps(self) -> bool:
        return self.is_physical and self.kept_from is not None and self.status != "lost"


def slot_name(entry: str, system: str) -> str:
    """Of an entry's chain on one cluster: the same for every run, and nobody else's."""
    readable = re.sub(r"[^a-z0-9_]", "_", entry)
    return f"db_backup_{readable}_{hashlib.sha256(f'{entry} {system}'.encode()).hexdigest()[:8]}"[-_MOST_NAME_BYTES:]


def state(link: Connection, slot: str) -> SlotState | None:
    """None: there is no such slot."""
    for slot_type, status, kept_from, safe_bytes, held_bytes in rows(link, _STATE, slot=slot):
        return SlotState(
            is_physical=slot_type == "physical",
            status=status or "",
            kept_from=parse_lsn(kept_from) if kept_from else None,
            held_bytes=max(int(held_bytes or 0), 0),
            safe_bytes=None if safe_bytes is None else int(safe_bytes),
        )
    return None


def ensure(link: Connection, slot: str) -> bool:
    """See that the server keeps WAL from now on, or from earlier; whether the slot was made for it.

    One that works is left alone: until a new full is published, the chain before it may go on.
    """
    found = state(link, slot)
    if found is not None and found.keeps:
        return False
    if found is not None:
        drop(link, slot)
    rows(link, "SELECT pg_catalog.pg_create_physical_replication_slot(%(slot)s, true)", slot=slot)
    return True


def drop(link: Connection, slot: str) -> None:
    rows(link, "SELECT pg_catalog.pg_drop_replication_slot(%(slot)s)", slot=slot)


def refuse_without(link: Connection, slot: str, entry: str) -> None:
    """Whether a slot was there since the last backup. Whether the WAL is, reading it tells.

    :raises ChainBroken: there was none, or it was given up.
    """
    found = state(link, slot)
    if found is None:
        complaint = f"its replication slot {slot} was dropped"
    elif not found.keeps:
        complaint = (
            f"the server gave up its replication slot {slot} (wal_status {found.status}), and may have removed WAL "
            "that was not backed up"
        )
    else:
        return
    raise ChainBroken(f"The chain of '{entry}' cannot go on: {complaint}.", hint=_NEW_FULL, database=entry)


def advance(link: Connection, slot: str, lsn: int, entry: str) -> None:
    """Let the server remove the WAL before ``lsn``, but for the page that the next increment is proved by.

    :raises SourceError: there is no such slot, or somebody uses it.
    """
    found = state(link, slot)
    target = last_page(lsn)
    if found is not None and found.kept_from is not None and found.kept_from >= target:
        return
    try:
        rows(
            link,
            "SELECT pg_catalog.pg_replication_slot_advance(%(slot)s, %(lsn)s::pg_catalog.pg_lsn)",
            slot=slot,
            lsn=format_lsn(target),
        )
    except psycopg.Error as error:
        raise SourceError(
            f"The replication slot {slot} of '{entry}' could not be moved to {format_lsn(target)}: "
            f"{one_line(error)}; the server keeps the WAL before it.",
            hint="The next backup moves it; where the slot is gone, that makes a new full.",
            database=entry,
        ) from error
