"""Where a replay is to end, as a position in the WAL.

PostgreSQL itself ends a replay to a time right before the first transaction that ended later. Whatever that one did
before its end is replayed by then, also what nothing takes back: DROP DATABASE removes the files, and commits
afterwards. So a time is made a position here: right after the last transaction that ended by then.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.engines.postgres.chain.position import format_lsn
from db_backup.engines.postgres.chain.wal_records import WalRecord, WalRecords
from db_backup.errors import ScratchUnavailable
from db_backup.progress import Cancellation

MANAGER = "Transaction"
# Of prepared transactions the number that they had is printed first: xact_desc_commit, access/rmgrdesc/xactdesc.c.
_END = re.compile(r"(?:COMMIT|ABORT)(?:_PREPARED)? (?:\d+: )?(\S+ \S+) UTC")


@dataclass(frozen=True)
class Stop:
    """:param lsn: before the first record that begins there or later; where ``inclusive``, after that one.
    :param time: when the transaction ended that is the last one; None: not known.
    """

    lsn: int
    inclusive: bool = False
    time: datetime | None = None


def stop_at_time(
    transactions: WalRecords, moment: datetime, *, consistent: int, cancellation: Cancellation
) -> Stop | None:
    """:param transactions: those of the WAL from ``consistent`` on, before which no replay can end.
    :returns: None where the WAL is cut off before one that ended later: all of it is to be replayed, and found short.
    :raises ScratchUnavailable, ToolError, Interrupted:
    """
    last = Stop(consistent)
    with closing(transactions.read(cancellation)) as records:
        for record in records:
            if not record.description.startswith(("COMMIT", "ABORT")):
                continue
            ended = _ended(record)
            if ended > moment:
                return last
            last = Stop(record.lsn, inclusive=True, time=ended)
    return last if transactions.to_the_end else None


def _ended(record: WalRecord) -> datetime:
    match = _END.match(record.description)
    if match is None:
        raise ScratchUnavailable(
            f"pg_waldump does not say when the transaction at {format_lsn(record.lsn)} ended.",
            hint="Give a position in the WAL (LSN) instead of a time.",
        )
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
