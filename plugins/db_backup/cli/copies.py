"""Where a backup's copies are, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

from db_backup.model import LOCAL_STORAGE
from db_backup.summary import BackupSummary


def places(backup: BackupSummary) -> str:
    """Where its copies are, and where one should be and is not: "local, s3 (missing)"."""
    marks = {
        **dict.fromkeys(backup.cold, " (cold)"),
        **dict.fromkeys(backup.damaged_copies, " (damaged)"),
        **dict.fromkeys(backup.missing_copies, " (missing)"),
    }
    return ", ".join(f"{storage}{marks.get(storage, '')}" for storage in (*backup.storages, *backup.missing_copies))


def only_local(backups: Sequence[BackupSummary]) -> bool:
    """Whether each lies in ``local``, as it should, and nowhere else: a table need not say so."""
    return {places(backup) for backup in backups} == {LOCAL_STORAGE}
