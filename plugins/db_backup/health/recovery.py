"""How long restores take: measured by the last timed one of each type, and predicted for today's size (SPEC §9)."""

from __future__ import annotations

from collections.abc import Iterator

from db_backup.health.history import Expectations, History
from db_backup.health.report import RecoveryTime
from db_backup.model import BackupType


def recovery_times(history: History, expectations: Expectations) -> tuple[RecoveryTime, ...]:
    """Of each type that has a target, and whose last restore (for proof or drill, into a scratch server) was timed."""
    return tuple(
        time
        for backup_type, target in expectations.recovery_time.items()
        for time in _of_type(history, backup_type, target.total_seconds())
    )


def _of_type(history: History, backup_type: BackupType, target_seconds: float) -> Iterator[RecoveryTime]:
    backups = history.of_type(backup_type)
    restored = [(backup.restored_at, backup) for backup in backups if backup.restored_at is not None]
    if not restored:
        return
    measured_at, last = max(restored, key=lambda one: one[0])
    if last.restore_seconds is None:
        return
    newest, working = backups[0], last.restore_seconds - last.restore_setup_seconds
    before, today = history.bytes_to_restore(last), history.bytes_to_restore(newest)
    predicted = working * today / before if before else None
    yield RecoveryTime(
        type=backup_type,
        target_seconds=target_seconds,
        measured_seconds=last.restore_seconds,
        measured_on=last.id,
        measured_at=measured_at,
        setup_seconds=last.restore_setup_seconds,
        bytes_per_second=before / working if working else 0.0,
        predicted_seconds=None if predicted is None else predicted + last.restore_setup_seconds,
        predicted_for=newest.id,
    )
