"""Manifest and state as they lie in one storage: read, and the state rewritten without losing another's change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from db_backup import naming
from db_backup.encryption import Keyring
from db_backup.errors import ManifestError, ObjectMissing, Refused, StorageConflict, UnknownBackup
from db_backup.manifest import Copy, Manifest, State
from db_backup.storage import Storage

_REWRITE_TRIES = 20


@dataclass(frozen=True)
class Located:
    """A backup where it was found: a storage that holds it, its manifest, its state, and what opens it.

    ``state``: what all of its copies know, merged.
    """

    storage: Storage
    manifest: Manifest
    state: State
    keyring: Keyring


def refuse_if_deleting(state: State) -> None:
    """:raises Refused: the deletion of this backup has begun."""
    if state.tombstone is not None:
        raise Refused(
            f"{state.id} is being deleted, since {state.tombstone.marked_at:%Y-%m-%d %H:%M:%S} UTC.",
            hint="Choose another backup; `db-backup cleanup` finishes a deletion that was interrupted.",
            backup_id=state.id,
        )


def deleted_meanwhile(backup_id: str) -> UnknownBackup:
    """What to raise when a backup that was found a moment ago is there no more."""
    return UnknownBackup(f"{backup_id} was deleted meanwhile.", hint="See `db-backup list`.", backup_id=backup_id)


def read_manifest(storage: Storage, backup_id: str) -> Manifest:
    """:raises ObjectMissing, ManifestError:"""
    key = naming.manifest_key(backup_id)
    manifest = Manifest.from_json(storage.read_document(key).content, source=f"{storage.location}/{key}")
    if manifest.id != backup_id:
        raise ManifestError(
            f"{storage.location}/{key} is the manifest of {manifest.id}.",
            hint="Files were renamed or swapped: restore them from another copy.",
            backup_id=backup_id,
        )
    return manifest


def read_state(storage: Storage, backup_id: str) -> State:
    """:raises ObjectMissing, ManifestError:"""
    key = naming.state_key(backup_id)
    state = State.from_json(storage.read_document(key).content, source=f"{storage.location}/{key}")
    if state.id != backup_id:
        raise ManifestError(
            f"{storage.location}/{key} is the state of {state.id}.",
            hint="Files were renamed or swapped: restore them from another copy.",
            backup_id=backup_id,
        )
    return state


def state_of_copy(storage: Storage, manifest: Manifest) -> State:
    """What the manifest alone tells: that there is this copy.

    The manifest is enough to restore by. A deletion takes the manifest before the state: a manifest alone is a backup
    whose state was lost, never one half deleted.
    """
    copy = Copy(storage=storage.name, storage_id=storage.storage_id, created_at=manifest.finished_at)
    return State(id=manifest.id, copies=(copy,))


def rewrite_state(
    storage: Storage, backup_id: str, change: Callable[[State], State], *, lost: State | None = None
) -> State:
    """Apply ``change`` to the newest state, again if somebody else was faster; returns what was written.

    What is so already is not written again.

    :param lost: what to go by where the state was lost; None: that there is this copy.
    :raises ObjectMissing: it was deleted with its backup.
    :raises ManifestError: it cannot be read, and may be a newer program's.
    """
    key = naming.state_key(backup_id)
    for _ in range(_REWRITE_TRIES):
        try:
            document = storage.read_document(key)
        except ObjectMissing:
            # Lost, or deleted with its backup: then there is no manifest either, and that is what is raised.
            manifest = read_manifest(storage, backup_id)
            version, before = None, lost or state_of_copy(storage, manifest)
        else:
            version, before = document.version, State.from_json(document.content, source=f"{storage.location}/{key}")
        state = change(before)
        if version is not None and state == before:
            return state
        try:
            storage.replace(key, state.to_json(), version=version)
        except StorageConflict:
            continue
        return state
    raise StorageConflict(
        f"The state of {backup_id} in {storage.location} was rewritten by others {_REWRITE_TRIES} times in a row.",
        hint="Run it again when fewer verifications of this backup are under way.",
        backup_id=backup_id,
    )


def backup_ids(storage: Storage) -> Iterator[str]:
    """The ids of all published backups: those that have a manifest."""
    for item in storage.list(naming.METADATA_FOLDER):
        name = item.key.rpartition("/")[2]
        backup_id = naming.backup_id_of_file(name)
        if name == f"{backup_id}.json" and naming.is_backup_id(backup_id):
            yield backup_id
