"""``CleanupOperator``: delete what is no longer to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from db_backup.errors import BackupError, UsageError
from db_backup.model import MOST_DAYS, BackupType
from db_backup.operators.base import Job, WorkspaceOperator, choice, names, whole_number, yes_or_no


class CleanupOperator(WorkspaceOperator):
    """Delete the backups whose days are over, by the rules of ``db-backup cleanup``. All arguments are templated.

    Left alone: an entry at which a backup is at work, one of which a backup failed in this DAG run or did not pass its
    proof, and one whose backup is the first after so long that everything before it would go at once. A backup that
    cannot be deleted stops no other, and fails the task in the end. Returns ``delete`` as SPEC's ``cleanup``
    names it, ``failed``, ``warnings``, and ``kept``: how many were.

    :param database: an entry, or several; not given: every one.
    :param type: only backups of this type, or of these.
    :param retention_days: to be kept this time, instead of each backup's own days.
    :param plan_only: ``true``: only log what would be deleted.
    :param wait_seconds: how long to wait for an entry at which a backup is at work, before it is left alone.
    :param enabled: ``false``: the task is skipped.
    """

    template_fields: Sequence[str] = ("database", "type", "retention_days", "plan_only", "wait_seconds", "enabled")

    def __init__(
        self,
        *,
        database: str | Sequence[str] | None = None,
        type: str | Sequence[str] | None = None,
        retention_days: int | str | None = None,
        plan_only: bool | str = False,
        wait_seconds: int | str = 60,
        enabled: bool | str = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.database = database
        self._has_entries = database is not None
        self.type = type
        self.retention_days = retention_days
        self.plan_only = plan_only
        self.wait_seconds = wait_seconds
        self.enabled = enabled

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.cleanup import CleanupRequest, clean_up, plan_cleanup

        if not yes_or_no(self.enabled, "enabled", default=True):
            raise AirflowSkipException("This run was asked for without cleanup: nothing was deleted.")
        if self._has_entries and self.database is None:  # another task's result, and that task failed: not "every one"
            raise UsageError(
                "The task that says which entries to clean up has said nothing, so nothing was deleted.",
                hint="Its log says why.",
            )
        types = tuple(choice(BackupType, name, "type") for name in names(self.type) or ())
        request = CleanupRequest(
            entries=names(self.database),
            types=tuple(item for item in types if item) or tuple(BackupType),
            days=whole_number(self.retention_days, "retention_days", most=MOST_DAYS),
            wait_seconds=whole_number(self.wait_seconds, "wait_seconds", least=0) or 0,
        )
        dry_run = yes_or_no(self.plan_only, "plan_only", default=False)
        if dry_run:
            report = plan_cleanup(job.workspace, request, run=job.run)
        else:
            report = clean_up(job.workspace, request, run=job.run, progress=job.progress, cancellation=job.cancellation)
        for kept in report.keep:
            self.log.info("kept %s: %s", kept.backup_id, "; ".join(kept.reasons))
        for deleted in report.delete:
            self.log.info("%s %s: %s", "would delete" if dry_run else "deleted", deleted.backup_id, deleted.reason)
        for warning in report.warnings:
            self.log.warning("%s", warning)
        if report.failed:
            raise BackupError(
                f"{len(report.failed)} backups could not be deleted. "
                + " ".join(f"{failed.backup_id}: {failed.error}" for failed in report.failed),
                hint=report.failed[0].hint,
            )
        return {**report.model_dump(mode="json", include={"delete", "failed", "warnings"}), "kept": len(report.keep)}
