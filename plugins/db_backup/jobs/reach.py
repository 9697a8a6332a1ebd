"""Asking storages of which some may not answer: what one does not say never looks like "it has none"."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from db_backup.errors import (
    BackupError,
    ConfigurationError,
    ObjectLocked,
    ObjectMissing,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageNotMounted,
)
from db_backup.jobs.workspace import Workspace
from db_backup.storage import Storage

T = TypeVar("T")

_ANSWERS = (ObjectMissing, ObjectLocked, StorageConflict, StorageFull)
_LONG_SECONDS = 2.0  # after which a storage that did not answer is not asked again at once …
_PAUSE_SECONDS = 60.0  # … but after so long


@dataclass(frozen=True)
class Unanswered:
    """A storage that did not answer, and why."""

    storage: Storage
    error: BackupError

    def __str__(self) -> str:
        place = "" if self.storage.location in self.error.message else f" ({self.storage.location})"
        return f"The storage '{self.storage.name}'{place} did not answer: {self.error.message}"


def ask(workspace: Workspace, storage: Storage, question: Callable[[Storage], T]) -> T | Unanswered:
    """What the storage answers; or why it does not.

    That something is missing, locked, full or taken is an answer, and raised as what it is. That it is cold is none:
    nobody knows what stands in it (questions are about sidecars, which only a rule of the bucket's own moves). A
    storage whose silence took long is not asked again for a minute: a chain of a hundred backups waits for it once.
    What a second name of another storage answers is not heard: two copies in one place are one.
    """
    silent = workspace.silent_storages.get(storage.name)
    if silent is not None and time.monotonic() < silent[0]:
        return Unanswered(storage, silent[1])
    began = time.monotonic()
    try:
        answer = question(storage)
        refuse_second_name(workspace, storage)
    except _ANSWERS:
        raise
    except (StorageError, ConfigurationError) as error:
        now = time.monotonic()
        if now - began > _LONG_SECONDS:
            workspace.silent_storages[storage.name] = (now + _PAUSE_SECONDS, error)
        return Unanswered(storage, error)
    return answer


def refuse_second_name(workspace: Workspace, storage: Storage) -> None:
    """To be asked of a storage that is ready, before it is believed to hold copies of its own.

    :raises StorageNotMounted: it is the same place as another configured one. Of the two the one stays that the
        catalogue has known under its name, or that comes first.
    """
    if storage.name in workspace.storage_names.values():
        return
    found = storage.storage_id
    with workspace.naming_storages:
        if workspace.storage_names.get(found) != storage.name:  # as another thread may have found meanwhile
            _name(workspace, storage, found)


def _name(workspace: Workspace, storage: Storage, found: str) -> None:
    before = list(workspace.storages)
    if workspace.catalog.storage_id(storage.name) == found:
        before = before[: before.index(storage.name)]
    others = [name for name in before if name != storage.name and workspace.catalog.storage_id(name) == found]
    other = workspace.storage_names.get(found) or next(iter(others), None)
    if other is not None:
        raise StorageNotMounted(
            f"The storage '{storage.name}' ({storage.location}) is the same place as '{other}' "
            f"({workspace.storage(other).location}): both have the .storage-id {found}, and two copies in one place "
            "are one.",
            hint="Remove one of the two from the configuration, or give it another place. A folder that was copied "
            "with its .storage-id needs one of its own: write other characters into that file.",
        )
    workspace.storage_names[found] = storage.name


def silence(unanswered: Iterable[Unanswered], what: str, *, backup_id: str | None = None) -> BackupError:
    """What to raise where the storages that did answer are not enough.

    :param what: half a sentence that says what nobody can tell now ("where X lies").
    """
    silent = list(unanswered)
    if len(silent) == 1 and not what:
        return silent[0].error
    return StorageError(
        f"{what}: {' '.join(map(str, silent))}",
        hint=silent[0].error.hint or "Try again when it answers; `db-backup storages --check` tells more.",
        backup_id=backup_id,
    )


def tell(workspace: Workspace, unanswered: Iterable[Unanswered]) -> None:
    """Let the person hear of it, once for each storage."""
    for silent in unanswered:
        warning = f"{silent} It was passed over."
        if warning not in workspace.warnings:
            workspace.warnings.append(warning)
