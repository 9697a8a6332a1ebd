"""Restoring: a plan that a person can read and say yes to, and its carrying out."""

from db_backup.jobs.restore.carrying_out import restore_backup
from db_backup.jobs.restore.request import RestorePlan, RestoreReport, RestoreRequest, Way

__all__ = ["RestorePlan", "RestoreReport", "RestoreRequest", "Way", "restore_backup"]
