"""``ReplicateOperator``: make the copies that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from db_backup.errors import StorageError
from db_backup.operators.base import Job, WorkspaceOperator, text


class ReplicateOperator(WorkspaceOperator):
    """Make the copies that are wanted and missing, and mend damaged ones, as ``db-backup replicate`` does.

    A copy that cannot be made stops no other, and fails the task in the end; the next run tries it again. Where there
    is one storage alone there is nothing to do. Returns ``made``, ``failed``, ``local_removed`` and ``warnings``. All
    arguments are templated.

    :param database: only this entry's backups; not given: those of all.
    :param to: into this storage, whatever is configured.
    """

    template_fields: Sequence[str] = ("database", "to")

    def __init__(self, *, database: str | None = None, to: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.to = to

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.replicate import ReplicateRequest, replicate

        request = ReplicateRequest(database=text(self.database), to=text(self.to))
        report = replicate(job.workspace, request, run=job.run, progress=job.progress, cancellation=job.cancellation)
        for made in report.made:
            self.log.info(
                "%s %s in %s, from %s",
                "mended" if made.mended else "copied",
                made.backup_id,
                made.storage,
                made.read_from,
            )
        if report.complete and not report.made:
            self.log.info("Every wanted copy is there.")
        for warning in report.warnings:
            self.log.warning("%s", warning)
        if not report.complete:
            told = [f"{failed.backup_id} in {failed.storage}: {failed.error}" for failed in report.failed]
            told += [f"'{storage}' does not answer, and copies are wanted there." for storage in report.unreachable]
            told += [f"{left.backup_id} was left alone: {left.reason.removesuffix('.')}." for left in report.left_alone]
            told += [f"{backup_id} was not looked at to its end." for backup_id in report.unfinished]
            raise StorageError(
                f"Not every copy could be made. {' '.join(told)}",
                hint=next((failed.hint for failed in report.failed), "The next run makes up what is missing."),
            )
        return report.model_dump(mode="json", include={"made", "failed", "local_removed", "warnings"})
