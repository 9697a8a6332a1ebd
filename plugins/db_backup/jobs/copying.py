"""One backup into one more storage, or what is damaged there made whole: read once, hashed on the way, manifest last.

Bytes go as they are stored: what is encrypted stays so, and no key is needed. What was written is read back before the
manifest says that there is a copy. A process that is killed leaves parts without a manifest, which is no copy; the next
one takes those that are whole for its own. Of a copy that is mended the manifest stays where it is: until it is whole,
its state says that it is damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from db_backup import naming
from db_backup.errors import ArtefactError, FeatureNotAvailable, ObjectMissing, StorageConflict
from db_backup.frozen import FrozenModel
from db_backup.jobs.contents import check_copy, checked_stored, stored_bytes
from db_backup.jobs.copies import Copies, known_copies, update_state
from db_backup.jobs.fallback import Fallback, PassedOver, read_back, with_proof
from db_backup.jobs.locking import lock_copies
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, Manifest, Part, Proof, State
from db_backup.model import utc_now
from db_backup.progress import Cancellation, Progress, Silent
from db_backup.storage import Storage
from db_backup.stream.reader import check_stored
from db_backup.units import human_bytes


class MadeCopy(FrozenModel):
    """A copy that was made; ``mended``: it was there, and damaged. ``size_bytes``: of all its parts."""

    backup_id: str
    storage: str
    read_from: str
    why: str
    mended: bool
    size_bytes: int
    passed_over: tuple[PassedOver, ...] = ()
    warnings: tuple[str, ...] = ()


def make_copy(
    workspace: Workspace,
    copies: Copies,
    target: Storage,
    why: str,
    *,
    progress: Progress,
    cancellation: Cancellation,
) -> MadeCopy:
    """See that the storage holds the backup, whole. The caller leases it, and has nobody else copy it meanwhile.

    :param why: in words, what is wrong now; it is written down before anything is done.
    :raises ManifestError: another backup lies there under this id.
    :raises FeatureNotAvailable: a part is larger than one object of that storage can be.
    :raises ArtefactError, StorageError: there is no copy to read from; or that storage cannot be written, and what it
        did not have before is gone from it again.
    """
    sources = [copy for copy in copies.found if copy.storage.name != target.name]
    if not sources:
        raise copies.absence() if not copies.found else _only_copy(copies.found[0])
    manifest = sources[0].manifest
    if target.name in copies.of_others:
        raise copies.unreadable[target.name]
    refuse_too_large(manifest, target)
    ready_storages(workspace, (target.name,))
    _announce(workspace, sources[0], target, why)
    reading = Fallback(workspace, sources[:1], cancellation, besides=[target.name])
    there = next((copy for copy in copies.found if copy.storage.name == target.name), None)
    progress.stage(f"copying {manifest.id} to '{target.name}'", manifest.size_bytes)
    with ExitStack() as undo:

        def write(chosen: Sequence[Located]) -> None:
            for part in manifest.parts:
                wrote = _write_part(chosen[0], target, part, progress, cancellation)
                if wrote and there is None:  # of a copy that is there, what is good stays
                    undo.callback(target.delete, naming.part_key(part.path))

        began = utc_now()
        reading.run(write)
        progress.stage(f"reading {manifest.id} back from '{target.name}'", manifest.size_bytes)
        made = Located(target, manifest, sources[0].state, sources[0].keyring)
        check_copy(made, progress, cancellation)
        proof = read_back(made, began)
        word = _word(target, there, proof)
        # Reading took its time: keys may have been rotated meanwhile, or a pin taken off.
        known = known_copies(workspace, manifest.id).state or sources[0].state
        _publish(copies, sources[0], target, _with_copy(known, word, proof))
        undo.pop_all()
    state = update_state(workspace, sources[0], lambda state: _with_copy(state, word, proof))
    made = replace(made, state=state)
    return MadeCopy(
        backup_id=manifest.id,
        storage=target.name,
        read_from=reading.copies[0].storage.name,
        why=why,
        mended=there is not None,
        size_bytes=manifest.size_bytes,
        passed_over=reading.passed_over,
        warnings=(*reading.warnings, *lock_copies(workspace, made, [target.name])),
    )


def refuse_too_large(manifest: Manifest, target: Storage) -> None:
    """:raises FeatureNotAvailable: one of the parts does not fit into an object of this storage."""
    most = target.max_object_bytes
    for part in manifest.parts:
        if most is not None and part.stored_bytes > most:
            raise FeatureNotAvailable(
                f"{part.path} has {human_bytes(part.stored_bytes)}, and one object of '{target.name}' holds "
                f"{human_bytes(most)} at most: parts are not split again when they are copied.",
                hint=f"Add '{target.name}' to the storages of '{manifest.entry}': backups that are made for it fit.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


def _only_copy(copy: Located) -> ArtefactError:
    return ArtefactError(
        f"The only copy of {copy.manifest.id} that can be reached is the one in '{copy.storage.name}' itself.",
        hint="There is nothing to mend it from: restore an older backup, or make a new one.",
        database=copy.manifest.entry,
        backup_id=copy.manifest.id,
    )


def _announce(workspace: Workspace, source: Located, target: Storage, why: str) -> None:
    """Whoever deletes the backup looks where its states tell of it, also for what a killed process has left there."""
    if any(copy.storage == target.name for copy in source.state.copies):
        return
    wanted = Copy(storage=target.name, storage_id=target.storage_id, created_at=utc_now(), missing=why)
    update_state(
        workspace,
        source,
        lambda state: (
            state
            if any(copy.storage == target.name for copy in state.copies)
            else state.model_copy(update={"copies": (*state.copies, wanted)})
        ),
    )


def _write_part(source: Located, target: Storage, part: Part, progress: Progress, cancellation: Cancellation) -> bool:
    """False: it lies there whole. One that lies there otherwise goes when the new bytes are whole, and not before."""
    key = naming.part_key(part.path)
    there = _lies_there(target, key)
    if there and _is_whole(source, target, part, cancellation):
        progress.advance(part.stored_bytes)
        return False
    sink = target.open_sink(key)
    try:
        for block in cancellation.watch(checked_stored(source, part, progress)):
            sink.write(block)
        if there:
            target.delete(key)
        sink.commit()
    finally:
        sink.abort()
    return True


def _lies_there(target: Storage, key: str) -> bool:
    try:
        target.stat(key)
    except ObjectMissing:
        return False
    return True


def _is_whole(source: Located, target: Storage, part: Part, cancellation: Cancellation) -> bool:
    there = Located(target, source.manifest, source.state, source.keyring)
    try:
        check_stored(cancellation.watch(stored_bytes(there, part)), part, progress=Silent())
    except ArtefactError:
        return False
    return True


def _word(target: Storage, there: Located | None, proof: Proof) -> Copy:
    """What the states are to say of the copy; of one that was there, as they did."""
    known = next((copy for copy in there.state.present if copy.storage == target.name), None) if there else None
    return known or Copy(storage=target.name, storage_id=target.storage_id, created_at=proof.checked_at)


def _with_copy(state: State, word: Copy, proof: Proof) -> State:
    """The state, and in it that the copy is there and was read back."""
    others = tuple(copy for copy in state.copies if copy.storage != word.storage)
    return with_proof(state.model_copy(update={"copies": (*others, word)}), proof)


def _publish(copies: Copies, source: Located, target: Storage, state: State) -> None:
    """The sidecars, the manifest last: until then there is no copy."""
    backup_id = source.manifest.id
    if target.name not in copies.own_states:
        _put(target, naming.state_key(backup_id), state.to_json())
    _put(target, naming.manifest_key(backup_id), source.manifest.to_json())


def _put(target: Storage, key: str, content: bytes) -> None:
    """A small object; in the place of one that a killed process left, or that cannot be read."""
    try:
        target.create(key, content)
    except StorageConflict:
        there = target.read_document(key)
        if there.content != content:
            target.replace(key, content, version=there.version)
