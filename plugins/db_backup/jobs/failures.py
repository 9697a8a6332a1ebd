"""What a run over many backups tells of those that it could not do; none of them stops another."""

from __future__ import annotations

from typing import Self

from db_backup.errors import BackupError
from db_backup.frozen import FrozenModel


class FailedBackup(FrozenModel):
    """A backup that the act failed on, whole or in part; the next run tries it again."""

    backup_id: str
    error: str
    hint: str

    @classmethod
    def of(cls, backup_id: str, error: BackupError) -> Self:
        return cls(backup_id=backup_id, error=error.message, hint=error.hint)


class FailedCopy(FrozenModel):
    """One copy that the act failed on, whole or in part; the next run tries it again."""

    backup_id: str
    storage: str
    error: str
    hint: str

    @classmethod
    def of(cls, backup_id: str, storage: str, error: BackupError) -> Self:
        return cls(backup_id=backup_id, storage=storage, error=error.message, hint=error.hint)
