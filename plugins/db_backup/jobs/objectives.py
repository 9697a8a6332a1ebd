"""What is wanted of an entry: how much may be lost, and how long a restore may take (SPEC §9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from db_backup.config import Entry
from db_backup.model import BackupType, Tier

_RECOVERY_POINT = {Tier.STANDARD: timedelta(hours=24), Tier.CRITICAL: timedelta(minutes=15)}
_RECOVERY_TIME = {
    BackupType.FULL: timedelta(minutes=30),
    BackupType.INCREMENTAL: timedelta(minutes=10),
    BackupType.STRUCTURE: timedelta(minutes=5),
}


def recovery_point(entry: Entry) -> timedelta:
    """The age that the newest data which can be restored may have."""
    own = entry.objectives.rpo_minutes
    return _RECOVERY_POINT[entry.tier] if own is None else timedelta(minutes=own)


def recovery_time(entry: Entry) -> Mapping[BackupType, timedelta]:
    """How long a restore may take, of each type that has a target.

    ``rto_minutes`` says when the database must be back, which takes a full backup: it replaces that target, and the
    others only where it is shorter than they are.
    """
    own = entry.objectives.rto_minutes
    if own is None:
        return _RECOVERY_TIME
    wanted = timedelta(minutes=own)
    return {
        backup_type: wanted if backup_type is BackupType.FULL else min(usual, wanted)
        for backup_type, usual in _RECOVERY_TIME.items()
    }
