"""``ArchiveOperator``: move old backups to colder classes of their storages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from db_backup.errors import BackupError
from db_backup.model import MOST_DAYS
from db_backup.operators.base import Job, WorkspaceOperator, names, text, whole_number, yes_or_no


class ArchiveOperator(WorkspaceOperator):
    """Move old backups to a colder class, by the rules of ``db-backup archive``. All arguments are templated.

    Without arguments, what ``archive:`` of each storage in backup.yaml says is done, and where none says anything the
    task is skipped. A copy that cannot be moved stops no other, and fails the task in the end. Returns ``archive``,
    ``failed`` and ``warnings``, and ``kept``: how many are old enough and stay.

    :param database: an entry, or several; not given: every one.
    :param storage: only copies in this storage, or in these.
    :param older_than_days: instead of the storage's own.
    :param storage_class: instead of the storage's own.
    :param plan_only: ``true``: only log what would be moved.
    """

    template_fields: Sequence[str] = ("database", "storage", "older_than_days", "storage_class", "plan_only")

    def __init__(
        self,
        *,
        database: str | Sequence[str] | None = None,
        storage: str | Sequence[str] | None = None,
        older_than_days: int | str | None = None,
        storage_class: str | None = None,
        plan_only: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.storage = storage
        self.older_than_days = older_than_days
        self.storage_class = storage_class
        self.plan_only = plan_only

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.archive import ArchiveRequest, archive_backups, has_policy, plan_archive

        request = ArchiveRequest(
            entries=names(self.database),
            storages=names(self.storage),
            older_than_days=whole_number(self.older_than_days, "older_than_days", most=MOST_DAYS),
            storage_class=text(self.storage_class),
        )
        if request.storage_class is None and not has_policy(job.workspace):
            raise AirflowSkipException("No storage of backup.yaml has archive: nothing is moved to a colder class.")
        dry_run = yes_or_no(self.plan_only, "plan_only", default=False)
        if dry_run:
            report = plan_archive(job.workspace, request)
        else:
            report = archive_backups(
                job.workspace, request, run=job.run, progress=job.progress, cancellation=job.cancellation
            )
        for kept in report.keep:
            self.log.info("%s in '%s' stays: %s", kept.backup_id, kept.storage, kept.reason)
        for moved in report.archive:
            verb = "would move" if dry_run else "moved"
            remark = f" ({moved.remark})" if moved.remark else ""
            self.log.info("%s %s in '%s' to %s%s", verb, moved.backup_id, moved.storage, moved.storage_class, remark)
        for warning in report.warnings:
            self.log.warning("%s", warning)
        if report.failed:
            raise BackupError(
                f"{len(report.failed)} copies could not be moved. "
                + " ".join(f"{failed.backup_id}: {failed.error}" for failed in report.failed),
                hint=report.failed[0].hint,
            )
        document = report.model_dump(mode="json", include={"archive", "failed", "warnings"})
        return {**document, "kept": len(report.keep)}
