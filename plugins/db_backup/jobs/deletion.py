"""Remove one backup for good, so that a crash anywhere leaves neither an orphan nor a lie.

In this order: the catalogue marks it as being deleted, its state gets a tombstone in every storage that holds a copy,
its parts go, then the manifests, then the states, and last the catalogue forgets it. Until every copy has its
tombstone nothing has happened: what is refused for one copy is refused for all, and a tombstone in some of them is
none (``jobs/looks.py``). From then on nobody can lease, pin or prove it, it counts for nothing, and the next cleanup
finishes what a crash cut short.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from db_backup import naming
from db_backup.catalog.locks import DELETION
from db_backup.errors import BackupError, ObjectMissing, Refused, StorageError, UnknownBackup
from db_backup.jobs.copies import Copies, known_copies, record_newest
from db_backup.jobs.locking import refuse_if_locked
from db_backup.jobs.reach import Unanswered, silence
from db_backup.jobs.sidecars import Located, rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import State, Tombstone
from db_backup.progress import Cancellation
from db_backup.storage import Storage


def erase(workspace: Workspace, backup_id: str, tombstone: Tombstone, cancellation: Cancellation) -> None:
    """Delete the backup, or finish its deletion. The caller holds the lock of its entry.

    A stop that is asked for on the way leaves the rest to the next cleanup.

    :raises Refused: it is in use, pinned, locked or under legal hold; nothing was deleted.
    :raises StorageError: also where a storage that holds a copy does not answer; nothing was deleted.
    :raises ManifestError, CatalogError, Interrupted:
    """
    with workspace.catalog.deletion(backup_id, cancellation=cancellation):
        copies = known_copies(workspace, backup_id)
        if copies.unreadable:
            raise next(iter(copies.unreadable.values()))
        _refuse_out_of_reach(workspace, copies)
        refuse_if_locked(copies.found)
        if copies.found:
            _mark(workspace, copies, tombstone)
            _refuse_if_leased(workspace, backup_id)
        silent = {unanswered.storage.name for unanswered in copies.unasked}
        storages = [storage for name, storage in workspace.storages.items() if name not in silent]
        _remove_parts(copies, storages, cancellation)
        for storage in storages:
            storage.delete(naming.state_key(backup_id))
        workspace.catalog.forget(backup_id)


def _refuse_out_of_reach(workspace: Workspace, copies: Copies) -> None:
    """A copy that is left behind would come back as a backup that nobody deleted.

    :raises StorageError: a storage that holds one, as its states or the catalogue know, does not answer.
    """
    try:
        known = set(workspace.catalog.get(copies.backup_id).storages)
    except UnknownBackup:
        known = set()
    if copies.state is not None:
        known = {copy.storage for copy in copies.state.present}
    holding: list[Unanswered] = [silent for silent in copies.unasked if silent.storage.name in known]
    if holding:
        raise silence(holding, f"{copies.backup_id} was not deleted", backup_id=copies.backup_id)


def _mark(workspace: Workspace, copies: Copies, tombstone: Tombstone) -> None:
    """In the catalogue first: whoever lists backups meanwhile never takes for good what is about to go.

    :raises BackupError: one copy's state would not have it, or has it no more; none has a tombstone of ours.
    """

    def entomb(state: State) -> State:
        if state.pinned or state.legal_hold:
            raise Refused(
                f"{state.id} is {'pinned' if state.pinned else 'under legal hold'}.",
                hint=f"Run `db-backup unpin {state.id}` first." if state.pinned else "Ask whoever put it there.",
                backup_id=state.id,
            )
        return state if state.tombstone else state.model_copy(update={"tombstone": tombstone})

    first = copies.found[0]
    marked: list[Located] = []
    try:
        workspace.catalog.record(first.manifest, entomb(first.state))
        for copy in copies.found:
            rewrite_state(copy.storage, copy.manifest.id, entomb, lost=copies.state)
            marked.append(copy)
        # Who recorded an older state meanwhile must not have the last word.
        if record_newest(workspace, first).tombstone is None:
            raise Refused(
                f"The deletion of {copies.backup_id} was taken back while it began.",
                hint="The next cleanup decides anew.",
                backup_id=copies.backup_id,
            )
    except BackupError:
        _unmark(marked, tombstone)
        record_newest(workspace, first)  # it is good again
        raise


def _unmark(marked: Sequence[Located], tombstone: Tombstone) -> None:
    """A storage that does not answer any more keeps it, and the next cleanup decides again."""

    def raise_again(state: State) -> State:
        return state.model_copy(update={"tombstone": None}) if state.tombstone == tombstone else state

    for copy in marked:
        with suppress(StorageError):
            rewrite_state(copy.storage, copy.manifest.id, raise_again)


def _remove_parts(copies: Copies, storages: Sequence[Storage], cancellation: Cancellation) -> None:
    """One storage after the other, its manifest last; also what a copy that never was complete has left behind."""
    if not copies.found:
        return
    paths = dict.fromkeys(part.path for copy in copies.found for part in copy.manifest.parts)
    told = {copy.storage for copy in copies.state.copies} if copies.state else set()
    held = {copy.storage.name for copy in copies.found}
    for storage in sorted(storages, key=lambda storage: storage.name in held):  # litter first: manifests name the parts
        if storage.name not in told | held:
            continue
        for path in paths:
            cancellation.check()
            with suppress(ObjectMissing):
                storage.delete(naming.part_key(path))
        storage.delete(naming.manifest_key(copies.backup_id))


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
