"""Make a backup and prove it at once."""

from __future__ import annotations

from dataclasses import dataclass

from db_backup.catalog import BackupQuery
from db_backup.jobs.copies import locate
from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.local_copies import drop_proved_copy
from db_backup.jobs.verify import verify_backup, verify_copies
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof, RunInfo
from db_backup.model import BackupStatus, BackupType, ProofResult, Scope
from db_backup.progress import Cancellation, Progress
from db_backup.summary import BackupSummary, summarise


@dataclass(frozen=True)
class Made:
    """A backup that was published, and its proof; or why none could be made, which takes nothing from the backup."""

    backup: BackupSummary
    proof: Proof | None = None
    unproven: Exception | None = None


def create_and_prove(
    workspace: Workspace, request: CreateRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> Made:
    """Back up one entry and prove the backup as far as its type requires; and, after a full of a server, the increment
    that closes the chain before it.

    :raises BackupError: no backup was made, as :func:`create_backup` says.
    """
    backup = create_backup(workspace, request, run=run, progress=progress, cancellation=cancellation)
    try:
        proven = verify_copies(workspace, backup.id, None, run=run, progress=progress, cancellation=cancellation)
        told = (*backup.warnings, *proven.remarks)
        closing = _closing(workspace, backup)
        for increment in closing:
            closed = verify_backup(workspace, increment, None, run=run, progress=progress, cancellation=cancellation)
            if closed.result is ProofResult.FAILED:
                told += (
                    f"{increment}, which closes the chain before this full, has failed verification: {closed.reason}",
                )
        for proved in (backup.id, *closing):
            told += drop_proved_copy(workspace, proved, run=run, progress=progress, cancellation=cancellation)
        located = locate(workspace, backup.id)
    except Exception as error:  # noqa: BLE001 - whatever happened to the proof, the backup is there
        return Made(backup, unproven=error)
    newest = summarise(located.manifest, located.state)
    return Made(newest.model_copy(update={"warnings": told}), proven.leading)  # one may be of the making alone


def prove_while_open(
    workspace: Workspace, backup: BackupSummary, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> tuple[Proof, ...]:
    """Prove what this process has just made, if its data key is at hand and no key of this worker opens it.

    Elsewhere, later, it is proved like any other; here it is now or never. So is the increment that closes a chain.

    :return: a proof for each; none where this worker can open it, or where it is not encrypted.
    :raises BackupError: no proof was made; what was made is there all the same.
    """
    proofs = []
    for made in (backup.id, *_closing(workspace, backup)):
        located = locate(workspace, made)
        keyring, manifest = workspace.keyring, located.manifest
        if keyring.is_made_here(manifest) and not keyring.can_open(manifest, located.state):
            proofs.append(verify_backup(workspace, made, None, run=run, progress=progress, cancellation=cancellation))
    return tuple(proofs)


def _closing(workspace: Workspace, backup: BackupSummary) -> list[str]:
    if backup.type is not BackupType.FULL or backup.scope is not Scope.SERVER:
        return []
    query = BackupQuery(
        database=backup.database,
        type=BackupType.INCREMENTAL,
        status=BackupStatus.UNVERIFIED,
        since=backup.created_at,
    )
    return [increment.id for increment in workspace.catalog.newest_first(query)]
