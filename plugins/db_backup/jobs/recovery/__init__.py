"""What can be recovered, read from the storages alone: the catalogue is not needed."""

from db_backup.jobs.recovery.holdings import Source, Stored, held_backups, reachable, source_of
from db_backup.jobs.recovery.windows import (
    DatabaseRecovery,
    RecoverablePoint,
    RecoverableWindow,
    RecoveryGap,
    recovery_windows,
)

__all__ = [
    "DatabaseRecovery",
    "RecoverablePoint",
    "RecoverableWindow",
    "RecoveryGap",
    "Source",
    "Stored",
    "held_backups",
    "reachable",
    "recovery_windows",
    "source_of",
]
