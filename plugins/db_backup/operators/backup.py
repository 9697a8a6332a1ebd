"""``BackupOperator``: back up one entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from db_backup.errors import RestoreMismatch, UsageError
from db_backup.model import MOST_DAYS, MOST_JOBS, BackupStatus, BackupType, Compression, ProofResult, utc_now
from db_backup.operators.base import Job, WorkspaceOperator, choice, given, names, whole_number, yes_or_no
from db_backup.units import human_bytes

if TYPE_CHECKING:
    from db_backup.summary import BackupSummary

BACKUP_ID_KEY = "backup_id"

_OVERTAKING = {BackupType.FULL, BackupType.INCREMENTAL}
_STANDING = {BackupStatus.GOOD, BackupStatus.UNVERIFIED}

_RETURNED = {
    "id",
    "database",
    "engine",
    "type",
    "status",
    "created_at",
    "recovery_point",
    "base_id",
    "parent_id",
    "duration_seconds",
    "size_bytes",
    "plain_bytes",
    "compression",
    "storages",
    "rows",
    "tables",
    "warnings",
}


class BackupOperator(WorkspaceOperator):
    """Back up one entry of ``backup.yaml``. All arguments are templated; those not given come from the configuration.

    Where it is encrypted for keys of which none is here to open it, it is verified in this very task, while its data
    key is at hand; a task that verifies it later finds that proof.

    Returns the backup as SPEC's listing names it: ``id``, ``database``, ``size_bytes``, ``rows`` and so on; the id is
    also in the XCom ``backup_id``. Where a full was made instead of an increment, ``instead_of`` is ``incremental``,
    and the first of the ``warnings`` says why.

    :param database: the entry's name.
    :param type: full, structure, data or incremental.
    :param compression: gzip, bzip2, zstd, lz4, xz or none.
    :param level: the compression's level.
    :param jobs: how many streams are dumped at the same time.
    :param retention_days: how long to keep this backup.
    :param storage: a storage's name, or several.
    :param encrypt: whether it is encrypted.
    :param wait_seconds: how long to wait while another backup of this entry is at work; then the task is skipped.
    :param skip_when_overtaken: in a run that the schedule started, which had to wait, the task is skipped when a backup
        of this entry has begun since the run was due: it holds all that this one was to hold.
    """

    template_fields: Sequence[str] = (
        "database",
        "type",
        "compression",
        "level",
        "jobs",
        "retention_days",
        "storage",
        "encrypt",
        "wait_seconds",
    )

    def __init__(
        self,
        *,
        database: str,
        type: str = "full",
        compression: str | None = None,
        level: int | str | None = None,
        jobs: int | str | None = None,
        retention_days: int | str | None = None,
        storage: str | Sequence[str] | None = None,
        encrypt: bool | str | None = None,
        wait_seconds: int | str = 60,
        skip_when_overtaken: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.type = type
        self.compression = compression
        self.level = level
        self.jobs = jobs
        self.retention_days = retention_days
        self.storage = storage
        self.encrypt = encrypt
        self.wait_seconds = wait_seconds
        self.skip_when_overtaken = skip_when_overtaken

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.create import CreateRequest, create_backup

        if job.scheduled and not job.workspace.settings.backup_enabled:
            raise AirflowSkipException(
                f"Scheduled backups are switched off (BACKUP_ENABLED=false): '{self.database}' was not backed up."
            )
        if not given(self.database):
            raise UsageError("BackupOperator was given no database.", hint="Name an entry of backup.yaml.")
        if self.skip_when_overtaken and job.scheduled:
            self._skip_when_overtaken(job)
        request = CreateRequest(
            entry=str(self.database),
            type=choice(BackupType, self.type, "type") or BackupType.FULL,
            compression=choice(Compression, self.compression, "compression"),
            level=whole_number(self.level, "level"),
            jobs=whole_number(self.jobs, "jobs", most=MOST_JOBS),
            retention_days=whole_number(self.retention_days, "retention_days", most=MOST_DAYS),
            storages=names(self.storage),
            encrypt=yes_or_no(self.encrypt, "encrypt", default=False) if given(self.encrypt) else None,
            wait_seconds=whole_number(self.wait_seconds, "wait_seconds", least=0) or 0,
        )
        made = create_backup(job.workspace, request, run=job.run, progress=job.progress, cancellation=job.cancellation)
        for warning in made.warnings:
            self.log.warning("%s: %s", made.database, warning)
        self.log.info(
            "Backed up %s as %s: %s stored, %s plain, %d rows in %d tables, %.1f s",
            made.database,
            made.id,
            human_bytes(made.size_bytes),
            human_bytes(made.plain_bytes),
            made.rows,
            made.tables,
            made.duration_seconds,
        )
        job.context["ti"].xcom_push(BACKUP_ID_KEY, made.id)
        if job.workspace.settings.backup_verification_enabled or not job.scheduled:
            self._prove_what_stays_shut(job, made)
        asked = {"instead_of": str(request.type)} if made.type is not request.type else {}
        return made.model_dump(mode="json", include=_RETURNED) | asked

    def _prove_what_stays_shut(self, job: Job, made: BackupSummary) -> None:
        """Another task, which verifies what can be opened, would come too late: the data key is only at hand here.

        :raises RestoreMismatch: it did not pass.
        """
        from db_backup.jobs.prove import prove_while_open

        proofs = prove_while_open(
            job.workspace, made, run=job.run, progress=job.progress, cancellation=job.cancellation
        )
        for proof in proofs:
            self.log.info(
                "No key of this worker opens %s, so it was verified while its data key was at hand: %s at level %s. %s",
                made.database,
                proof.result,
                proof.level,
                proof.reason,
            )
            if proof.result is ProofResult.FAILED:
                raise RestoreMismatch(
                    f"{made.id} did not pass verification at level {proof.level}: {proof.reason}",
                    hint="Do not rely on it: make a new backup, and find out what changed this one.",
                    database=made.database,
                    backup_id=made.id,
                )

    def _skip_when_overtaken(self, job: Job) -> None:
        """By our own clock alone: recovery points are by the source's, which may be another.

        :raises AirflowSkipException: a backup of all that this one was to hold has begun since this run was due.
        """
        from db_backup.catalog import BackupQuery

        due = job.context["dag_run"].run_after
        for made in job.workspace.catalog.newest_first(BackupQuery(database=str(self.database), since=due)):
            if (
                made.type in _OVERTAKING
                and made.status in _STANDING
                and not made.safety
                and made.created_at <= utc_now()
            ):
                raise AirflowSkipException(
                    f"This run was due at {due:%Y-%m-%d %H:%M:%S} UTC and had to wait. '{made.database}' has been "
                    f"backed up since ({made.id}), and that holds all that this run was to hold."
                )
