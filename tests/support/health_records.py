"""Histories for health: an entry's backups and attempts at one fixed moment, told by their ages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from db_backup.health import AttemptRecord, BackupRecord, Control, EntryHealth, Expectations, assess
from db_backup.model import BackupStatus, BackupType

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
MEGABYTE = 1 << 20


def backup(hours: float = 1, **overrides: Any) -> BackupRecord:
    """A good, compressed full of that age in ``local``; it took a minute."""
    created_at = NOW - timedelta(hours=hours)
    fields: dict[str, Any] = {
        "id": f"{overrides.get('type', 'full')}-{hours}h",
        "type": BackupType.FULL,
        "status": BackupStatus.GOOD,
        "created_at": created_at,
        "recovery_point": created_at,
        "duration_seconds": 60.0,
        "size_bytes": 10 * MEGABYTE,
        "plain_bytes": 40 * MEGABYTE,
        "compressed": True,
        "encrypted": False,
        "storages": ("local",),
    }
    return BackupRecord(**{**fields, **overrides})


def attempt(days: float, *, failed: bool = False) -> AttemptRecord:
    return AttemptRecord(NOW - timedelta(days=days), failed)


def expectations(**overrides: Any) -> Expectations:
    """SPEC §9's for a normal entry, and the default limit."""
    fields: dict[str, Any] = {
        "recovery_point": timedelta(hours=24),
        "recovery_time": {
            BackupType.FULL: timedelta(minutes=30),
            BackupType.INCREMENTAL: timedelta(minutes=10),
            BackupType.STRUCTURE: timedelta(minutes=5),
        },
        "max_size_bytes": 1024 * MEGABYTE,
        "off_site": frozenset({"s3"}),
    }
    return Expectations(**{**fields, **overrides})


def health_of(
    backups: Sequence[BackupRecord] = (), attempts: Sequence[AttemptRecord] = (), **wanted: Any
) -> EntryHealth:
    return assess("shop", backups, attempts, expectations(**wanted), now=NOW)


def points_of(health: EntryHealth) -> dict[str, float]:
    return {component.name: float(component.points) for component in health.components}


def control(name: str, health: EntryHealth) -> Control:
    return next(control for control in health.controls if control.name == name)
