"""Airflow operators over the use cases. DAG files import from here; the use cases load when a task runs."""

from db_backup.operators.archive import ArchiveOperator
from db_backup.operators.backup import BackupOperator
from db_backup.operators.cleanup import CleanupOperator
from db_backup.operators.fresh import require_fresh_backup
from db_backup.operators.health import HealthScoreOperator
from db_backup.operators.outcome import OutcomeOperator
from db_backup.operators.replicate import ReplicateOperator
from db_backup.operators.restore import RestoreOperator
from db_backup.operators.thaw import ThawOperator
from db_backup.operators.verify import VerifyOperator

__all__ = [
    "ArchiveOperator",
    "BackupOperator",
    "CleanupOperator",
    "HealthScoreOperator",
    "OutcomeOperator",
    "ReplicateOperator",
    "RestoreOperator",
    "ThawOperator",
    "VerifyOperator",
    "require_fresh_backup",
]
