"""Manifest and state as they lie in storage: found, read, and the state rewritten without losing another's change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from db_backup import naming
from db_backup.encryption import Keyring
from db_backup.errors import (
    ArtefactMissing,
    BackupError,
    ManifestError,
    ObjectMissing,
    Refused,
    StorageConflict,
    UnknownBackup,
)
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, Manifest, State
from db_backup.model import BackupType
from db_backup.storage import Storage

_REWRITE_TRIES = 20


@dataclass(frozen=True)
class Located:
    """A backup where it was found: one storage that holds it, its manifest and its state there, and what opens it."""

    storage: Storage
    manifest: Manifest
    state: State
    keyring: Keyring


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
            return Located(storage, manifest, known_state(storage, manifest), workspace.keyring)
    known = workspace.catalog.get(backup)  # raises UnknownBackup with the nearest name
    raise ArtefactMissing(
        f"The manifest of {known.id} is gone from {' and '.join(known.storages) or 'every storage'}.",
        hint="Check that the storage is the right one, then run `db-backup catalog reindex`.",
        database=known.database,
        backup_id=known.id,
    )


@contextmanager
def leased(workspace: Workspace, located: Located, purpose: str) -> Iterator[Located]:
    """The backup as it is now, and nobody deletes it while the block runs.

    :raises Refused: it is being deleted.
    :raises UnknownBackup: it was deleted since it was located.
    """
    with workspace.catalog.lease(located.manifest.id, purpose):
        yield _still_there(located)


@contextmanager
def leased_all(workspace: Workspace, chain: Sequence[Located], purpose: str) -> Iterator[tuple[Located, ...]]:
    """The same of several backups, such as a chain's, at once.

    :raises Refused, UnknownBackup: as :func:`leased`, of the first that is not to be had.
    """
    with workspace.catalog.lease_all([located.manifest.id for located in chain], purpose):
        yield tuple(_still_there(located) for located in chain)


def reserve(workspace: Workspace, backup: str, purpose: str, *, lasting: timedelta) -> str:
    """Nobody deletes the backup until the reservation is released or its time is up, whatever becomes of this process.

    :return: for ``Catalog.release``.
    :raises Refused: it is being deleted.
    :raises UnknownBackup, ManifestError, StorageError:
    """
    located = locate(workspace, backup)
    reservation = workspace.catalog.reserve(located.manifest.id, purpose, lasting=lasting)
    try:
        _still_there(located)
    except BackupError:
        workspace.catalog.release(reservation)
        raise
    return reservation


def _still_there(located: Located) -> Located:
    """The backup as it is now that nobody may delete it any more.

    :raises Refused, UnknownBackup: its deletion began before.
    """
    try:
        # In this order: a deletion takes the manifest first, and the tombstone with the state.
        state = known_state(located.storage, located.manifest)
        manifest = read_manifest(located.storage, located.manifest.id)
    except ObjectMissing as error:
        raise deleted_meanwhile(located.manifest.id) from error
    refuse_if_deleting(state)
    return Located(located.storage, manifest, state, located.keyring)


def refuse_if_deleting(state: State) -> None:
    """:raises Refused: the deletion of this backup has begun."""
    if state.tombstone is not None:
        raise Refused(
            f"{state.id} is being deleted, since {state.tombstone.marked_at:%Y-%m-%d %H:%M:%S} UTC.",
            hint="Choose another backup; `db-backup cleanup` finishes a deletion that was interrupted.",
            backup_id=state.id,
        )


def copies_of(workspace: Workspace, backup_id: str) -> tuple[Located, ...]:
    """The backup in every storage that has its manifest.

    :raises ManifestError, StorageError: a manifest cannot be read.
    """
    found = []
    for storage in workspace.storages.values():
        try:
            manifest = read_manifest(storage, backup_id)
        except ObjectMissing:
            continue
        found.append(Located(storage, manifest, known_state(storage, manifest), workspace.keyring))
    return tuple(found)


def newest_manifest(
    workspace: Workspace, entry: str, backup_type: BackupType, storages: Sequence[Storage]
) -> Manifest | None:
    """Of this entry and type; one that cannot be read is nothing to go by, and no error here."""
    newest = workspace.catalog.newest(entry, backup_type)
    if newest is None:
        return None
    for storage in storages:
        try:
            return read_manifest(storage, newest.id)
        except (ObjectMissing, ManifestError):
            continue  # `catalog check` tells of it
    return None


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


def known_state(storage: Storage, manifest: Manifest) -> State:
    """The state, or, where it was lost or cannot be read, one that knows of this copy alone.

    The manifest is enough to restore by. A deletion takes the manifest before the state: a manifest alone is a backup
    whose state was lost, never one half deleted.
    """
    try:
        return read_state(storage, manifest.id)
    except (ObjectMissing, ManifestError):
        copy = Copy(storage=storage.name, storage_id=storage.storage_id, created_at=manifest.finished_at)
        return State(id=manifest.id, copies=(copy,))


def rewrite_state(storage: Storage, backup_id: str, change: Callable[[State], State]) -> State:
    """Apply ``change`` to the newest state, again if somebody else was faster; returns what was written."""
    key = naming.state_key(backup_id)
    for _ in range(_REWRITE_TRIES):
        try:
            document = storage.read_document(key)
        except ObjectMissing:
            # Lost, or deleted with its backup: then there is no manifest either, and that is what is raised.
            version, before = None, known_state(storage, read_manifest(storage, backup_id))
        else:
            version, before = document.version, State.from_json(document.content, source=f"{storage.location}/{key}")
        state = change(before)
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


def update_state(workspace: Workspace, located: Located, change: Callable[[State], State]) -> State:
    """Rewrite the state and take it into the catalogue; returns the newest one.

    :raises UnknownBackup: it was deleted meanwhile.
    """
    try:
        rewrite_state(located.storage, located.manifest.id, change)
    except ObjectMissing as error:
        raise deleted_meanwhile(located.manifest.id) from error
    return record_newest(workspace, located)


def record_newest(workspace: Workspace, located: Located) -> State:
    """Take the newest state into the catalogue, whichever of several writers is the last to do so; returns it.

    Each writer reads the state again after it recorded one: whoever records last has recorded the newest.

    :raises UnknownBackup: it was deleted meanwhile.
    """
    recorded = None
    while True:
        try:
            newest = known_state(located.storage, located.manifest)
            read_manifest(located.storage, located.manifest.id)  # without one there is no backup
        except ObjectMissing as error:
            workspace.catalog.forget(located.manifest.id)
            raise deleted_meanwhile(located.manifest.id) from error
        if newest == recorded:
            return newest
        workspace.catalog.record(located.manifest, newest)
        recorded = newest


def deleted_meanwhile(backup_id: str) -> UnknownBackup:
    """What to raise when a backup that was found a moment ago is there no more."""
    return UnknownBackup(f"{backup_id} was deleted meanwhile.", hint="See `db-backup list`.", backup_id=backup_id)


def backup_ids(storage: Storage) -> Iterator[str]:
    """The ids of all published backups: those that have a manifest."""
    for item in storage.list(naming.METADATA_FOLDER):
        name = item.key.rpartition("/")[2]
        backup_id = naming.backup_id_of_file(name)
        if name == f"{backup_id}.json" and naming.is_backup_id(backup_id):
            yield backup_id
