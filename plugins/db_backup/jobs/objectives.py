"""What is wanted of an entry: how much may be lost, and how long a restore may take (SPEC §9)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from db_backup.config import Entry
from db_backup.config.window import WeeklyWindow
from db_backup.health import OpenWindow
from db_backup.model import BackupType, Tier
from db_backup.settings import Settings

_RECOVERY_POINT = {Tier.STANDARD: timedelta(hours=24), Tier.CRITICAL: timedelta(minutes=15)}
_BUSINESS_HOURS = timedelta(hours=1)
_RECOVERY_TIME = {
    BackupType.FULL: timedelta(minutes=30),
    BackupType.INCREMENTAL: timedelta(minutes=10),
    BackupType.STRUCTURE: timedelta(minutes=5),
}


def recovery_point(entry: Entry, settings: Settings, now: datetime) -> tuple[timedelta, OpenWindow | None]:
    """The age that the newest data which can be restored may have; and what is wanted beyond that in these hours.

    What was changed before a window opened may be lost as before: its target is never stricter than the window's own.
    """
    target, window, otherwise = _wanted(entry, settings)
    if window is None:
        return target, None
    opened = window.opened(now.astimezone(settings.backup_timezone))
    return (otherwise, None) if opened is None else (max(target, otherwise), OpenWindow(target, opened, str(window)))


def _wanted(entry: Entry, settings: Settings) -> tuple[timedelta, WeeklyWindow | None, timedelta]:
    """The target, when it holds (None: always), and what holds otherwise."""
    own, usual = entry.objectives, _RECOVERY_POINT[entry.tier]
    if own.rpo_minutes is not None:
        otherwise = usual if own.otherwise is None else timedelta(minutes=own.otherwise)
        return timedelta(minutes=own.rpo_minutes), own.window, otherwise
    if BackupType.INCREMENTAL in entry.types and entry.tier is Tier.STANDARD and settings.backup_hourly_enabled:
        hours = settings.backup_hourly_window
        if hours.first < hours.last:
            return _BUSINESS_HOURS, WeeklyWindow.parse(f"Mon-Fri {hours.first}:00-{hours.last}:00"), usual
    return usual, None, usual


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
