"""Pin a backup: cleanup never deletes it, and nobody else can, until it is unpinned."""

from __future__ import annotations

from db_backup.catalog import AuditAct
from db_backup.errors import StorageConflict
from db_backup.jobs.acts import audited
from db_backup.jobs.copies import known_copies, locate, update_state
from db_backup.jobs.reach import silence
from db_backup.jobs.sidecars import refuse_if_deleting
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, State
from db_backup.summary import BackupSummary, summarise

_TRIES = 5


def set_pin(workspace: Workspace, backup: str, *, pinned: bool, run: RunInfo) -> BackupSummary:
    """Pin or unpin, in every copy's state; what is so already stays so.

    A pin holds as soon as one state has it. So a storage that does not answer keeps nobody from pinning; and unpinning
    waits for it, or the pin would come back with it.

    :param backup: an id or an artefact's file name.
    :raises Refused: it is being deleted.
    :raises UnknownBackup, StorageError, ManifestError:
    """

    def change(state: State) -> State:
        refuse_if_deleting(state)
        return state.model_copy(update={"pinned": pinned})

    located = locate(workspace, backup)
    manifest = located.manifest
    with audited(
        workspace, AuditAct.PIN if pinned else AuditAct.UNPIN, run, entry=manifest.entry, backup_id=manifest.id
    ):
        refuse_if_deleting(located.state)
        holders = known_copies(workspace, manifest.id).unasked_holders
        if holders and not pinned:
            raise silence(holders, f"{manifest.id} was not unpinned", backup_id=manifest.id)
        for _ in range(_TRIES):
            state = update_state(workspace, located, change)
            if state.pinned is pinned:  # others brought the states in line meanwhile, with what we had just changed
                return summarise(manifest, state)
    raise StorageConflict(
        f"Others changed the states of {manifest.id} back {_TRIES} times in a row.",
        hint="Run it again when no replication is under way.",
        backup_id=manifest.id,
    )
