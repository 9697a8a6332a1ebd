"""Whether a storage works: by doing what a backup does to it, with a small object of our own."""

from __future__ import annotations

import secrets

from db_backup.errors import BackupError, ObjectLocked, StorageConflict, StorageError
from db_backup.frozen import FrozenModel
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.workspace import Workspace
from db_backup.storage import Storage

_FOLDER = "check"


class StorageCheck(FrozenModel):
    """What trying a storage showed: what it is like, or the error and what to do about it.

    ``object_lock``: it can keep objects from being deleted; ``versioned``: what is deleted still takes room there.
    """

    works: bool
    storage_id: str = ""
    object_lock: bool = False
    versioned: bool = False
    warnings: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


def check_storage(workspace: Workspace, name: str) -> StorageCheck:
    """Its identity, then write, read, list and delete.

    One that was never used becomes ready by it, as by a first backup.
    """
    try:
        (storage,) = ready_storages(workspace, (name,))
        warnings = _tried(storage)
        protection = storage.protection()
    except BackupError as error:
        return StorageCheck(works=False, error=error.message, hint=error.hint)
    config = workspace.config.storages.get(name)
    if config is not None and config.object_lock is not None and not protection.object_lock:
        warnings += ("object_lock is set, and the bucket was made without Object Lock: nothing can be locked in it.",)
    if protection.versioned and not protection.object_lock:
        warnings += ("It keeps versions: what is deleted takes room until a lifecycle rule removes old versions.",)
    return StorageCheck(
        works=True,
        storage_id=storage.storage_id,
        object_lock=protection.object_lock,
        versioned=protection.versioned,
        warnings=warnings,
    )


def _tried(storage: Storage) -> tuple[str, ...]:
    """:raises StorageError: one of the steps failed, or what was read is not what was written."""
    token = secrets.token_hex(8)
    key, content = f"{_FOLDER}/{token}", f"db-backup wrote this to try the storage: {token}\n".encode()
    storage.create(key, content)
    try:
        _refuse_overwriting(storage, key)
        found = storage.read_document(key).content
        listed = key in {one.key for one in storage.list(_FOLDER)}
    finally:
        try:
            storage.delete(key)
            kept: tuple[str, ...] = ()
        except ObjectLocked as locked:
            kept = (f"What was written to try it stays: {locked.message}",)
    if not listed:
        raise StorageError(
            f"Storage '{storage.name}' ({storage.location}) does not list '{key}', which was written to it and read.",
            hint="Do not rely on it: what it does not list, no cleanup and no `catalog reindex` finds.",
        )
    if found != content:
        raise StorageError(
            f"Storage '{storage.name}' ({storage.location}) gave other bytes back than were written to '{key}'.",
            hint="Do not rely on it: look into its logs, and into those of what lies between.",
        )
    return kept


def _refuse_overwriting(storage: Storage, key: str) -> None:
    """:raises StorageError: a second object of this name was taken."""
    try:
        storage.create(key, b"Whoever reads this has read what was never to be written.\n")
    except StorageConflict:
        return
    raise StorageError(
        f"Storage '{storage.name}' ({storage.location}) overwrites what is there: it does not heed If-None-Match.",
        hint="Use a provider that has conditional writes (docs/object-storage.md, Limits): here, two writers of one"
        " name would not see each other.",
    )
