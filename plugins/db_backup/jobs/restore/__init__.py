"""Restoring: a plan that a person can read and say yes to, and its carrying out."""

from db_backup.jobs.restore.carrying_out import PlannedRestore, planned_restore, restore_backup
from db_backup.jobs.restore.explaining import database_name, needs_confirmation, plan_lines
from db_backup.jobs.restore.planning import plan_restore
from db_backup.jobs.restore.request import (
    PlannedRecovery,
    Recovered,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
    Way,
)
from db_backup.jobs.restore.resolve import LATEST, restorable_backups

__all__ = [
    "LATEST",
    "PlannedRecovery",
    "PlannedRestore",
    "Recovered",
    "RestorePlan",
    "RestoreReport",
    "RestoreRequest",
    "Way",
    "database_name",
    "needs_confirmation",
    "plan_lines",
    "plan_restore",
    "planned_restore",
    "restorable_backups",
    "restore_backup",
]
