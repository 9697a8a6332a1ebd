"""Pin a backup: cleanup never deletes it, and nobody else can, until it is unpinned."""

from __future__ import annotations

from db_backup.jobs.acts import audited
from db_backup.jobs.copies import copies_of, locate, update_state
from db_backup.jobs.sidecars import deleted_meanwhile, refuse_if_deleting
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, State
from db_backup.summary import BackupSummary, summarise


def set_pin(workspace: Workspace, backup: str, *, pinned: bool, run: RunInfo) -> BackupSummary:
    """Pin or unpin, in every copy's state; what is so already stays so.

    :param backup: an id or an artefact's file name.
    :raises Refused: it is being deleted.
    :raises UnknownBackup, StorageError, ManifestError:
    """

    def change(state: State) -> State:
        refuse_if_deleting(state)
        return state.model_copy(update={"pinned": pinned})

    manifest = locate(workspace, backup).manifest
    with audited(workspace, "pin" if pinned else "unpin", run, entry=manifest.entry, backup_id=manifest.id):
        states = [update_state(workspace, copy, change) for copy in copies_of(workspace, manifest.id)]
        if not states:
            raise deleted_meanwhile(manifest.id)
    return summarise(manifest, states[-1])
