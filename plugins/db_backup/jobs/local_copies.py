"""With BACKUP_KEEP_LOCAL_COPY=false the local copy goes once another storage has the backup and was read back.

A crash on the way leaves no lie: the manifest goes first, and with it the copy; what is left of it is removed by the
next call, because the other copies' states still tell of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from db_backup import naming, standing
from db_backup.catalog import AuditAct
from db_backup.errors import ArtefactError, BackupError, Interrupted, Refused, StorageError
from db_backup.jobs.acts import audited
from db_backup.jobs.contents import check_copy
from db_backup.jobs.copies import Copies, bring_states_in_line, known_copies, update_state
from db_backup.jobs.fallback import damaged, read_back, with_proof
from db_backup.jobs.merging import merged_state
from db_backup.jobs.placement import wanted_storages
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.model import LOCAL_STORAGE, BackupStatus, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Storage

_STANDING = frozenset({BackupStatus.GOOD, BackupStatus.UNVERIFIED})
_HOLDS_FOR = timedelta(days=1)  # what was read longer ago may have been damaged since: it is read once more


def drop_local_copy(
    workspace: Workspace, backup_id: str, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> bool:
    """Remove the backup's local copy, if it is not to stay and another one was read back whole; whether it is gone now.

    Another that was read back more than a day ago is read again. One that is in use, or under legal hold, stays for
    this time; one of an entry whose backups are to lie nowhere else stays.

    :raises StorageError, ManifestError, CatalogError, Interrupted:
    """
    entry = naming.entry_of(backup_id)
    if workspace.settings.backup_keep_local_copy or LOCAL_STORAGE in wanted_storages(workspace, str(entry)):
        return False
    copies = known_copies(workspace, backup_id)
    if not _is_to_go(copies) or not _stands_elsewhere(workspace, copies, progress, cancellation):
        return False
    try:
        with workspace.catalog.deletion(backup_id, cancellation=cancellation):
            bring_states_in_line(workspace, backup_id)
            copies = known_copies(workspace, backup_id)  # now that nobody reads it
            staying = [copy for copy in _read_back_copies(copies) if _knows_all(copies, copy.storage)]
            if not _is_to_go(copies) or not staying:
                return False
            with audited(workspace, AuditAct.REMOVE_COPY, run, entry=entry, backup_id=backup_id) as act:
                others = ", ".join(copy.storage.name for copy in staying)
                act.detail = f"the local copy, which is not to stay (BACKUP_KEEP_LOCAL_COPY); it lies in {others}"
                _remove(workspace.storage(LOCAL_STORAGE), copies.manifest)
                _tell_that_it_is_gone(workspace, copies, staying[0])
    except Refused:  # somebody reads it: the next replication
        return False
    return True


def drop_proved_copy(
    workspace: Workspace, backup_id: str, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> tuple[str, ...]:
    """:func:`drop_local_copy` for whoever has just proved the backup: what goes wrong is a warning, and returned.

    :raises Interrupted:
    """
    try:
        drop_local_copy(workspace, backup_id, run=run, progress=progress, cancellation=cancellation)
    except Interrupted:
        raise
    except BackupError as error:
        return (
            f"The local copy of {backup_id} was not removed, or not all were told of it: {error.message} {error.hint}",
        )
    return ()


def _is_to_go(copies: Copies) -> bool:
    """Whether there is a local copy, or what is left of one, of a backup that stands and is to lie elsewhere."""
    state = copies.state
    if state is None or state.legal_hold or not _others(copies):
        return False
    if standing.status(copies.manifest, state) not in _STANDING:  # whoever looks for what is wrong may want it
        return False
    if any(silent.storage.name == LOCAL_STORAGE for silent in copies.unasked):
        return False
    return any(copy.storage == LOCAL_STORAGE for copy in state.copies)


def _others(copies: Copies) -> Sequence[Located]:
    return [copy for copy in copies.found if copy.storage.name != LOCAL_STORAGE]


def _read_back_copies(copies: Copies) -> Sequence[Located]:
    """The other copies that are there, and whose bytes were as they should be when they were last read, lately."""
    since = utc_now() - _HOLDS_FOR
    proofs = {copy.storage.name: standing.proof_of_copy(copy.state, copy.storage.name) for copy in _others(copies)}
    return [
        copy
        for copy in _others(copies)
        if (proof := proofs[copy.storage.name]) is not None
        and proof.reached is not None
        and proof.checked_at >= since
        and _is_all_there(copy)
    ]


def _is_all_there(copy: Located) -> bool:
    """Whether each part has its size still: one that was removed since must not be the last one."""
    try:
        sizes = [copy.storage.stat(naming.part_key(part.path)).size_bytes for part in copy.manifest.parts]
    except StorageError:
        return False
    return sizes == [part.stored_bytes for part in copy.manifest.parts]


def _stands_elsewhere(workspace: Workspace, copies: Copies, progress: Progress, cancellation: Cancellation) -> bool:
    """Whether another copy was read back; where none was, one is now."""
    if _read_back_copies(copies):
        return True
    for copy in _others(copies):
        began = utc_now()
        progress.stage(f"reading {copy.manifest.id} back from '{copy.storage.name}'", copy.manifest.size_bytes)
        try:
            with workspace.catalog.lease(copy.manifest.id, "reading it back"):
                check_copy(copy, progress, cancellation)
                proof = read_back(copy, began)
        except ArtefactError as error:
            proof = damaged(copy, error)
        except StorageError:
            continue  # it does not answer any more
        update_state(workspace, copy, partial(with_proof, proof=proof))
        if proof.reached is not None:
            return True
    return False


def _knows_all(copies: Copies, storage: Storage) -> bool:
    """Whether its own state has what the others know: wrapped keys and pins that only the local one has must not go."""
    own = copies.own_states.get(storage.name)
    return own is not None and merged_state([own, *copies.own_states.values()]) == own


def _tell_that_it_is_gone(workspace: Workspace, copies: Copies, staying: Located) -> None:
    """:raises BackupError: no other state could be written: the catalogue knows it, and replication tells them."""
    try:
        update_state(workspace, staying, _without_local)
    except BackupError:
        workspace.catalog.record(copies.manifest, _without_local(staying.state))
        raise


def _remove(storage: Storage, manifest: Manifest) -> None:
    storage.delete(naming.manifest_key(manifest.id))
    for part in manifest.parts:
        storage.delete(naming.part_key(part.path))
    storage.delete(naming.state_key(manifest.id))


def _without_local(state: State) -> State:
    kept = tuple(copy for copy in state.copies if copy.storage != LOCAL_STORAGE)
    return state.model_copy(update={"copies": kept})
