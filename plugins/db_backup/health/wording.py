"""How controls tell their evidence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from db_backup.health.history import BackupRecord
from db_backup.health.report import Control, ControlResult
from db_backup.units import human_duration

_NAMED = 3  # how many backups evidence names


def without_backups(name: str) -> Control:
    """The control of an entry that has none."""
    return Control(name=name, result=ControlResult.NOT_APPLICABLE, evidence="There are no backups.")


def names(backups: Iterable[BackupRecord]) -> str:
    """The newest few by name, the others by number."""
    ids = [backup.id for backup in backups]
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def words(duration: timedelta) -> str:
    return human_duration(duration.total_seconds())


def moment(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
