"""Remove one backup for good, so that a crash anywhere leaves neither an orphan nor a lie.

In this order: the catalogue marks it as being deleted, its state in storage gets a tombstone, its parts go, then the
manifest, then the state, and last the catalogue forgets it. Until the tombstone is there, nothing has happened. From
then on nobody can lease, pin or prove it, it counts for nothing, and the next cleanup finishes what a crash cut short.
"""

from __future__ import annotations

from db_backup import naming
from db_backup.catalog.locks import DELETION
from db_backup.errors import Refused
from db_backup.jobs.copies import copies_of, record_newest
from db_backup.jobs.sidecars import Located, rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import State, Tombstone
from db_backup.progress import Cancellation


def erase(workspace: Workspace, backup_id: str, tombstone: Tombstone, cancellation: Cancellation) -> None:
    """Delete the backup, or finish its deletion. The caller holds the lock of its entry.

    A stop that is asked for on the way leaves the rest to the next cleanup.

    :raises Refused: it is in use, pinned or under legal hold; it is whole.
    :raises StorageError, ManifestError, CatalogError, Interrupted:
    """
    with workspace.catalog.deletion(backup_id, cancellation=cancellation):
        copies = copies_of(workspace, backup_id)
        if copies:
            _mark(workspace, copies, tombstone)
            _refuse_if_leased(workspace, backup_id)
        for copy in copies:
            for part in copy.manifest.parts:
                cancellation.check()
                copy.storage.delete(naming.part_key(part.path))
            copy.storage.delete(naming.manifest_key(backup_id))
        for storage in workspace.storages.values():
            storage.delete(naming.state_key(backup_id))
        workspace.catalog.forget(backup_id)


def _mark(workspace: Workspace, copies: tuple[Located, ...], tombstone: Tombstone) -> None:
    """In the catalogue first: whoever lists backups meanwhile never takes for good what is about to go."""

    def entomb(state: State) -> State:
        if state.pinned or state.legal_hold:
            raise Refused(
                f"{state.id} is {'pinned' if state.pinned else 'under legal hold'}.",
                hint=f"Run `db-backup unpin {state.id}` first." if state.pinned else "Ask whoever put it there.",
                backup_id=state.id,
            )
        return state if state.tombstone else state.model_copy(update={"tombstone": tombstone})

    first = copies[0]
    try:
        workspace.catalog.record(first.manifest, entomb(first.state))
        for copy in copies:
            rewrite_state(copy.storage, copy.manifest.id, entomb)
    finally:
        # Refused: it is good again. Done: who recorded an older state meanwhile must not have the last word.
        record_newest(workspace, first)


def _refuse_if_leased(workspace: Workspace, backup_id: str) -> None:
    """A process that was held up for long may have lost its claim, and somebody else got a lease meanwhile.

    Whoever takes a lease looks for the tombstone afterwards; here it is the other way round: one sees the other.
    """
    for lease in workspace.catalog.leases(backup_id):
        if lease.purpose != DELETION:
            raise Refused(
                f"{backup_id} is in use: {lease}.",
                hint="The next cleanup finishes its deletion when that has ended.",
                backup_id=backup_id,
            )
