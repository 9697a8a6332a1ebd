"""``VerifyOperator``: prove one backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowSkipException

from db_backup.errors import ChainBroken, Refused, RestoreMismatch, StorageError, UnknownBackup, UsageError
from db_backup.model import ProofResult, VerificationLevel, utc_now
from db_backup.operators.base import Job, WorkspaceOperator, choice, given, yes_or_no

if TYPE_CHECKING:
    from db_backup.jobs.verify import Verification
    from db_backup.jobs.workspace import Workspace
    from db_backup.manifest import Manifest, Proof

VERIFIED_BACKUPS = AssetAlias("verified_backups")
"""Stands for the asset of whichever entry was proven: Airflow credits a declared asset to every mapped task."""


def backup_asset(entry: str) -> Asset:
    """The asset that is updated whenever a backup of this entry is proven; other DAGs can wait for it."""
    return Asset(uri=f"x-backup://{entry}")


class VerifyOperator(WorkspaceOperator):
    """Prove one backup. All arguments are templated.

    ``failed`` fails the task. ``inconclusive`` (no scratch server, no space …) says nothing against the backup: the
    task succeeds with a warning, and the backup does not count as verified. Only a proof that passed at the level that
    the backup requires updates the asset ``x-backup://<entry>``, with ``id``, ``size_bytes``, ``type``,
    ``proof_level`` and ``recovery_point`` in the event's extra; of an increment only when all that it follows is proven
    too; and only when no newer backup of this entry and type is verified: that an old one is still good is no news to
    those who wait for a proven backup.
    ``BACKUP_VERIFICATION_ENABLED=false`` skips the task in scheduled runs, not in those that a person started. Returns
    the proof as SPEC's ``verify`` names it.

    :param backup_id: the backup.
    :param level: checksum, archive or restore; not given: what the backup's type requires.
    :param database: the backup's entry, for names of mapped tasks.
    :param from_storage: the copy in this storage and no other; not given: the best as far as ``level``, and every byte
        of the others. One that is damaged while the backup stands by another is logged as an error.
    :param enabled: ``false``: the task is skipped, and the backup stays as it is.
    :param skip_deleted: that the backup was deleted since it was chosen skips the task, and does not fail it.
    """

    template_fields: Sequence[str] = ("backup_id", "level", "database", "from_storage", "enabled")

    def __init__(
        self,
        *,
        backup_id: str,
        level: str | None = None,
        database: str | None = None,
        from_storage: str | None = None,
        enabled: bool | str = True,
        skip_deleted: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", [VERIFIED_BACKUPS])
        super().__init__(**kwargs)
        self.backup_id = backup_id
        self.level = level
        self.database = database
        self.from_storage = from_storage
        self.enabled = enabled
        self.skip_deleted = skip_deleted

    def work(self, job: Job) -> dict[str, Any]:
        if not yes_or_no(self.enabled, "enabled", default=True):
            raise AirflowSkipException(f"This run was asked for without verification: {self.backup_id} stays as it is.")
        if job.scheduled and not job.workspace.settings.backup_verification_enabled:
            raise AirflowSkipException(
                "Verification of scheduled backups is switched off (BACKUP_VERIFICATION_ENABLED=false): "
                f"{self.backup_id} stays unproven."
            )
        if not given(self.backup_id):
            raise UsageError("VerifyOperator was given no backup id.", hint="See `db-backup list`.")
        try:
            manifest, verification = self._prove(job)
        except (UnknownBackup, Refused) as gone:  # deleted, or being deleted
            if not self.skip_deleted:
                raise
            raise AirflowSkipException(f"It was deleted since it was chosen: {gone.message}") from gone
        self._let_local_copy_go(job, manifest)
        proof = verification.leading
        for remark in verification.remarks:
            self.log.error("%s", remark)
        if proof.result is ProofResult.FAILED:
            raise RestoreMismatch(
                f"{manifest.id} did not pass verification at level {proof.level}: {proof.reason}",
                hint="Do not rely on it: make a new backup, and find out what changed this one.",
                database=manifest.entry,
                backup_id=manifest.id,
            )
        if proof.result is ProofResult.INCONCLUSIVE:
            proof = _proved_at_its_making(job.workspace, manifest) or proof
        verified = proof.result is ProofResult.PASSED and proof.level.rank >= manifest.required_proof.rank
        if verified and _is_newest(job.workspace, manifest) and _stands(job.workspace, manifest.id):
            self._announce(job, manifest, proof)
        self._log_result(manifest, proof)
        return {
            "backup_id": manifest.id,
            "database": manifest.entry,
            "level": proof.level,
            "reached": proof.reached,
            "result": proof.result,
            "reason": proof.reason,
            "verified": verified,
            "checked_at": proof.checked_at.isoformat(),
            "duration_seconds": proof.duration_seconds,
            "differences": [],
            "storage": proof.storage,
            "copies": [
                {"storage": copy.storage, "reached": copy.reached, "result": copy.result, "reason": copy.reason}
                for copy in verification.proofs
            ],
        }

    def _prove(self, job: Job) -> tuple[Manifest, Verification]:
        """:raises UnknownBackup, Refused: it was deleted, or is being deleted."""
        from db_backup.jobs.copies import locate
        from db_backup.jobs.verify import verify_copies

        verification = verify_copies(
            job.workspace,
            str(self.backup_id),
            choice(VerificationLevel, self.level, "level"),
            storage=str(self.from_storage) if given(self.from_storage) else None,
            run=job.run,
            progress=job.progress,
            cancellation=job.cancellation,
        )
        return locate(job.workspace, str(self.backup_id)).manifest, verification

    def _let_local_copy_go(self, job: Job, manifest: Manifest) -> None:
        from db_backup.jobs.local_copies import drop_proved_copy

        told = drop_proved_copy(
            job.workspace, manifest.id, run=job.run, progress=job.progress, cancellation=job.cancellation
        )
        for warning in told:
            self.log.warning("%s", warning)

    def _announce(self, job: Job, manifest: Manifest, proof: Proof) -> None:
        job.context["outlet_events"][VERIFIED_BACKUPS].add(
            backup_asset(manifest.entry),
            extra={
                "id": manifest.id,
                "size_bytes": manifest.size_bytes,
                "type": str(manifest.type),
                "proof_level": str(proof.level),
                "recovery_point": manifest.recovery_point.isoformat(),
            },
        )

    def _log_result(self, manifest: Manifest, proof: Proof) -> None:
        if proof.result is ProofResult.PASSED:
            self.log.info(
                "%s passed at level %s in %.1f s: %d rows in %d tables",
                manifest.id,
                proof.level,
                proof.duration_seconds,
                manifest.inventory.rows,
                len(manifest.inventory.tables),
            )
        else:
            self.log.warning(
                "%s is not proven: level %s was inconclusive (reached: %s). %s",
                manifest.id,
                proof.level,
                proof.reached or "nothing",
                proof.reason,
            )


def _proved_at_its_making(workspace: Workspace, manifest: Manifest) -> Proof | None:
    """The proof that stands of a backup that this worker cannot open; None where it can, or where none stands."""
    from db_backup import standing
    from db_backup.jobs.copies import locate

    state = locate(workspace, manifest.id).state
    if workspace.keyring.can_open(manifest, state) or not standing.is_verified(manifest, state):
        return None
    return next((proof for proof in reversed(state.proofs) if "encryption_key" in proof.evidence), None)


def _is_newest(workspace: Workspace, manifest: Manifest) -> bool:
    """Whether no newer backup of this entry and type is verified; one that is dated in the future does not count."""
    newest = workspace.catalog.newest(manifest.entry, manifest.type, verified_only=True)
    return newest is None or newest.created_at <= manifest.created_at or newest.created_at > utc_now()


def _stands(workspace: Workspace, backup_id: str) -> bool:
    """Whether all that it needs, its full and the increments between, is proven too."""
    from db_backup import standing
    from db_backup.jobs.chains import lineage_of
    from db_backup.jobs.copies import locate

    try:
        line = lineage_of(workspace, locate(workspace, backup_id))
    except (ChainBroken, StorageError):
        return False
    return all(standing.is_verified(link.manifest, link.state) for link in line)
