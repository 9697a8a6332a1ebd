"""Manifest and state as they lie in storage: found, read, and the state rewritten without losing another's change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from db_backup import naming
from db_backup.errors import ArtefactMissing, ManifestError, ObjectMissing, StorageConflict
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, State
from db_backup.storage import Storage

_REWRITE_TRIES = 20


@dataclass(frozen=True)
class Located:
    """A backup where it was found: one storage that holds it, its manifest and its state there."""

    storage: Storage
    manifest: Manifest
    state: State


def locate(workspace: Workspace, backup: str) -> Located:
    """Find a backup by id or by an artefact's file name, in the storages themselves.

    :raises UnknownBackup: no storage holds it; the message names the nearest known one.
    :raises ManifestError, StorageError:
    """
    backup_id = naming.backup_id_of_file(backup.rpartition("/")[2])
    if naming.is_backup_id(backup_id):
        for storage in workspace.storages.values():
            try:
                manifest = read_manifest(storage, backup_id)
            except ObjectMissing:
                continue
            return Located(storage, manifest, read_state(storage, backup_id))
    known = workspace.catalog.get(backup)  # raises UnknownBackup with the nearest name
    raise ArtefactMissing(
        f"The manifest of {known.id} is gone from {' and '.join(known.storages) or 'every storage'}.",
        hint="Check that the storage is the right one, then run `db-backup catalog reindex`.",
        database=known.database,
        backup_id=known.id,
    )


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
    return State.from_json(storage.read_document(key).content, source=f"{storage.location}/{key}")


def rewrite_state(storage: Storage, backup_id: str, change: Callable[[State], State]) -> State:
    """Apply ``change`` to the newest state, again if somebody else was faster; returns what was written."""
    key = naming.state_key(backup_id)
    for _ in range(_REWRITE_TRIES):
        document = storage.read_document(key)
        state = change(State.from_json(document.content, source=f"{storage.location}/{key}"))
        try:
            storage.replace(key, state.to_json(), version=document.version)
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
