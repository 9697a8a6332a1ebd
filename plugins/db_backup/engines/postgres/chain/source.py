"""What is asked of a server before a full or an increment, and the moment at which one ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.engines.postgres.chain.position import PAGE_BYTES, parse_lsn, record_end
from db_backup.engines.postgres.chain.slot import SlotState
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.session import Connection, rows, value
from db_backup.engines.postgres.standby import is_standby
from db_backup.errors import PrivilegeMissing, SourceUnsupported
from db_backup.units import human_bytes

_MUCH_HELD_BYTES = 4 << 30
_POLL_SECONDS = 0.02
# The roles of services that hand out no right to replicate physically (Amazon RDS, Google Cloud SQL, Azure).
_MANAGED = {"rds_superuser": "Amazon RDS", "cloudsqlsuperuser": "Google Cloud SQL", "azure_pg_admin": "Azure"}
_SETTINGS = """SELECT pg_catalog.current_setting('wal_level'),
    pg_catalog.current_setting('max_wal_senders')::int, pg_catalog.current_setting('max_replication_slots')::int,
    pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
    pg_catalog.current_setting('wal_block_size')::int, pg_catalog.current_setting('max_slot_wal_keep_size'),
    coalesce(nullif(pg_catalog.current_setting('idle_replication_slot_timeout', true), '0'), ''),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication)"""


@dataclass(frozen=True)
class WalSettings:
    """Of the server, as far as chains depend on them.

    :param most_kept: max_slot_wal_keep_size as it prints.
    :param longest_idle: idle_replication_slot_timeout as it prints (PostgreSQL 18); empty where there is no end.
    """

    level: str
    senders: int
    slots: int
    segment_bytes: int
    page_bytes: int
    most_kept: str
    longest_idle: str
    slots_in_use: int
    senders_in_use: int


def wal_settings(link: Connection) -> WalSettings:
    return WalSettings(*rows(link, _SETTINGS)[0])


def refuse_unsuitable(link: Connection, found: WalSettings, entry: str) -> None:
    """:raises SourceUnsupported: the server keeps no history that could be read.
    :raises PrivilegeMissing: this user may not read it.
    """
    refusals = (
        (
            is_standby(link),
            "it is a standby, whose history another server writes",
            "Let the connection lead to the primary server.",
        ),
        (
            found.level == "minimal",
            "wal_level is minimal, which leaves changes out of its WAL",
            "Set wal_level = replica and restart the server.",
        ),
        (
            found.page_bytes != PAGE_BYTES,
            f"it was built with WAL pages of {found.page_bytes} bytes",
            "Use a server with the usual pages of 8192 bytes.",
        ),
        (
            found.senders <= found.senders_in_use,
            f"of its {found.senders} connections for replication (max_wal_senders) none is free to read its WAL",
            "Set max_wal_senders to 2 more than its standbys need and restart the server.",
        ),
    )
    for applies, reason, hint in refusals:
        if applies:
            raise _unsupported(entry, reason, hint)
    _refuse_without_right(link, entry)


def refuse_without_slot(found: WalSettings, slot: SlotState | None, entry: str) -> None:
    """:raises SourceUnsupported: the chain has no slot, and the server none to give."""
    if slot is None and found.slots <= found.slots_in_use:
        raise _unsupported(
            entry,
            f"all {found.slots} replication slots (max_replication_slots) are in use, and it would need one more",
            "Raise max_replication_slots and restart the server, or drop a slot that nobody uses.",
        )


def _refuse_without_right(link: Connection, entry: str) -> None:
    user, may = rows(
        link,
        "SELECT current_user::text, rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )[0]
    if may:
        return
    managed = rows(link, "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY (%(names)s)", names=[*_MANAGED])
    if managed:
        raise _unsupported(
            entry,
            f"{_MANAGED[managed[0][0]]} gives no right to replicate the whole server to '{user}'",
            "Use the service's own point-in-time recovery, and full backups of the single databases here.",
        )
    raise PrivilegeMissing(
        f"The user '{user}' may not replicate the server of '{entry}'.",
        hint=f'Let a superuser run: ALTER ROLE "{user}" REPLICATION; and see that pg_hba.conf lets it in.',
        database=entry,
    )


def refuse_tablespaces(link: Connection, entry: str) -> None:
    """Also for increments: what replays that one was made would write into the live server's files.

    :raises SourceUnsupported: there are some; ``pg_basebackup`` writes no more than one to its standard output.
    """
    names = rows(link, "SELECT spcname FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_' ORDER BY 1")
    if names:
        raise _unsupported(
            entry,
            f"it has tablespaces of its own ({some([str(name) for (name,) in names])}), which lie outside of its data "
            "folder and can be neither streamed nor rebuilt apart from it",
            "Move what lies in them into pg_default, drop them, and take a full backup, which begins a new chain; or "
            "take full backups of the single databases.",
        )


def _unsupported(entry: str, reason: str, hint: str) -> SourceUnsupported:
    return SourceUnsupported(
        f"No increments can be taken of the server of '{entry}': {reason}.", hint=hint, database=entry
    )


def warnings(found: WalSettings, slot_name: str, slot: SlotState | None) -> Iterator[str]:
    """What a person should know of this server's chain."""
    if found.most_kept == "-1":
        yield (
            f"max_slot_wal_keep_size is not set: if backups stop, the replication slot {slot_name} lets the WAL fill "
            "the server's disk. Set it to what is written between two increments and the longest outage, or drop the "
            "slot when its entry goes."
        )
    elif slot is not None and slot.safe_bytes is not None and slot.safe_bytes < slot.held_bytes:
        yield (
            f"The replication slot {slot_name} holds {human_bytes(slot.held_bytes)} of WAL, and the server gives it up "
            f"after {human_bytes(max(slot.safe_bytes, 0))} more (max_slot_wal_keep_size = {found.most_kept}), which "
            "breaks the chain: take increments more often, or raise it."
        )
    if found.longest_idle:
        yield (
            f"The server gives up the replication slot {slot_name} when no backup is published for "
            f"{found.longest_idle} (idle_replication_slot_timeout), which breaks the chain."
        )
    if slot is not None and slot.held_bytes >= _MUCH_HELD_BYTES:
        yield (
            f"The replication slot {slot_name} keeps {human_bytes(slot.held_bytes)} of WAL on the server's disk until "
            "this backup is published."
        )


def user_databases(link: Connection) -> tuple[str, ...]:
    """Those that people may enter and that are no templates; without what an interrupted DROP DATABASE has left."""
    found = rows(
        link,
        "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2 "
        "ORDER BY datname",
    )
    return tuple(str(name) for (name,) in found)


def database_bytes(link: Connection) -> int | None:
    """What a base backup will about be; None where this user may not know."""
    may = value(
        link,
        """SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
           OR pg_catalog.bool_and(pg_catalog.has_database_privilege(oid, 'CONNECT')) FROM pg_catalog.pg_database""",
    )
    if not may:
        return None
    size = "SELECT pg_catalog.sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database"
    return int(value(link, size))


def settle(link: Connection, segment_bytes: int) -> tuple[datetime, int]:
    """The server's time, and where its WAL ends that was written by then; that is on its disk when this returns.

    Commits that do not wait for the disk (synchronous_commit = off) are written within 3 rounds of the WAL writer
    (PostgreSQL manual, "Asynchronous Commit"). What else lies in memory then is of transactions that have not ended; as
    only what is written can be read, a commit of our own takes it along.
    """
    moment, inserted = rows(link, "SELECT pg_catalog.clock_timestamp(), pg_catalog.pg_current_wal_insert_lsn()::text")[
        0
    ]
    end = record_end(parse_lsn(inserted), segment_bytes)
    delay = float(value(link, "SELECT extract(epoch FROM pg_catalog.current_setting('wal_writer_delay')::interval)"))
    deadline = time.monotonic() + 3 * delay
    while not _is_flushed(link, end):
        if time.monotonic() > deadline:
            _commit(link)
        time.sleep(_POLL_SECONDS)
    return moment.astimezone(UTC), end


def _is_flushed(link: Connection, lsn: int) -> bool:
    return parse_lsn(value(link, "SELECT pg_catalog.pg_current_wal_flush_lsn()::text")) >= lsn


def _commit(link: Connection) -> None:
    with link.transaction():
        link.execute("SET LOCAL synchronous_commit = local")
        rows(link, "SELECT pg_catalog.pg_logical_emit_message(true, 'db-backup', '')")
