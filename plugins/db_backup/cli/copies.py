"""Where a backup's copies are, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from db_backup.summary import BackupSummary


def places(backup: BackupSummary) -> str:
    """Where its copies are, and where one should be and is not: "local, s3 (missing)"."""
    marks = {
        **dict.fromkeys(backup.cold, " (cold)"),
        **dict.fromkeys(backup.damaged_copies, " (damaged)"),
        **dict.fromkeys(backup.missing_copies, " (missing)"),
    }
    return ", ".join(f"{storage}{marks.get(storage, '')}" for storage in (*backup.storages, *backup.missing_copies))


def in_one_place(backups: Sequence[BackupSummary]) -> bool:
    """Whether each has one copy, as it should be, and all in the same storage: a table need not say so."""
    told = {places(backup) for backup in backups}
    return len(told) == 1 and set(*told).isdisjoint(",(")
