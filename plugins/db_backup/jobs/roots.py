"""Storage roots: made ready on first use, refused when they are not the ones that hold the backups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from db_backup.errors import BackupError, StorageNotMounted
from db_backup.jobs.placing import STORAGE_FAILS, missing_copy
from db_backup.jobs.reach import Unanswered, ask, refuse_second_name
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy
from db_backup.storage import Storage


def ready_storages(workspace: Workspace, names: Sequence[str]) -> tuple[Storage, ...]:
    """The storages of these names, each with its ``.storage-id`` in place.

    A root is initialised only while the catalogue knows of none under that name: later, a missing ``.storage-id``
    means that the disk is not mounted, and a different one that it is another host's folder (SPEC §10).

    :raises UnknownStorage, StorageNotMounted, StorageError:
    """
    return tuple(_ready(workspace, workspace.storage(name)) for name in names)


def reachable_storages(workspace: Workspace, names: Sequence[str]) -> tuple[tuple[Storage, ...], tuple[Copy, ...]]:
    """Of :func:`ready_storages` those that are, and the copies that will be missing in the others.

    :raises UnknownStorage:
    :raises StorageError, ConfigurationError: the first failure, where none is.
    """
    ready: list[Storage] = []
    missing: list[Copy] = []
    first_failure: BackupError | None = None
    for storage in [workspace.storage(name) for name in names]:
        failure: BackupError | None = None
        try:
            answered = ask(workspace, storage, partial(_ready, workspace))
            failure = answered.error if isinstance(answered, Unanswered) else None
        except STORAGE_FAILS as error:
            failure = error
        if failure is None:
            ready.append(storage)
        else:
            first_failure = first_failure or failure
            missing.append(missing_copy(storage.name, workspace.catalog.storage_id(storage.name) or "", failure))
    if first_failure is not None and not ready:
        raise first_failure
    return tuple(ready), tuple(missing)


def _ready(workspace: Workspace, storage: Storage) -> Storage:
    known = workspace.catalog.storage_id(storage.name)
    if known is None:
        storage.initialise()
    elif storage.storage_id != known:
        raise StorageNotMounted(
            f"{storage.location} is not the '{storage.name}' storage of this catalogue: its .storage-id differs.",
            hint="Mount the right disk, or give the new place another name: a name stands for one place.",
        )
    refuse_second_name(workspace, storage)
    if known is None:
        workspace.catalog.remember_storage(storage.name, storage.storage_id, storage.location)
    return storage
