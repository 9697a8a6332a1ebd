"""Copies that nobody may delete before their days are over, where a storage can see to that (S3 Object Lock)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from db_backup import naming, standing
from db_backup.errors import BackupError, ObjectMissing, Refused
from db_backup.jobs.copies import update_state
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, Manifest, State
from db_backup.model import utc_now
from db_backup.storage import Storage


@dataclass(frozen=True)
class Lock:
    """What came of locking one copy. ``until``: None where it is not locked; ``warning``: why not, though it should."""

    storage: str
    until: datetime | None = None
    warning: str = ""


def lock_copy(workspace: Workspace, storage: Storage, manifest: Manifest) -> Lock:
    """Lock the parts and the manifest until the backup's days are over, where this storage is to lock its objects.

    The state is rewritten whenever something becomes known of the backup. Of an encrypted one, whose wrapped data key
    is in it, the version that is there now is locked, and stays beneath those that follow. A lock that fails is no
    error, for the backup is there and whole: it is a warning.
    """
    return _lock(workspace, storage, manifest, (*_locked_keys(manifest), *_key_holder(manifest)))


def lock_wrapped_key(workspace: Workspace, storage: Storage, manifest: Manifest) -> Lock:
    """The same of the state alone, of which a rotation has just written a new version."""
    return _lock(workspace, storage, manifest, _key_holder(manifest))


def _lock(workspace: Workspace, storage: Storage, manifest: Manifest, keys: Iterable[str]) -> Lock:
    configured = workspace.config.storages.get(storage.name)
    until = standing.expires_at(manifest)
    if configured is None or configured.object_lock is None or until <= utc_now():
        return Lock(storage.name)
    try:
        for key in keys:
            storage.retain(key, until)
    except BackupError as error:
        return Lock(
            storage.name,
            warning=f"NOT LOCKED: the copy of {manifest.id} in '{storage.name}' can be deleted by whoever may delete "
            f"there. {error}",
        )
    return Lock(storage.name, until)


def lock_copies(workspace: Workspace, located: Located, storages: Collection[str] | None = None) -> tuple[str, ...]:
    """Lock a backup's copies, as far as their storages are to, and write down in its states until when.

    :param storages: only the copies in these; None: all that are there.
    :return: warnings, of copies that should be locked and are not.
    """
    present = {copy.storage for copy in located.state.present}
    wanted = present if storages is None else present & set(storages)
    locks = [
        lock_copy(workspace, storage, located.manifest)
        for name, storage in workspace.storages.items()
        if name in wanted
    ]
    until = {lock.storage: lock.until for lock in locks if lock.until is not None}
    warnings = [lock.warning for lock in locks if lock.warning]
    if until:
        try:
            update_state(workspace, located, lambda state: _with_locks(state, until))
        except BackupError as error:
            warnings.append(f"That {located.manifest.id} is locked could not be written down: {error.message}")
    return tuple(warnings)


def refuse_if_locked(copies: Iterable[Located]) -> None:
    """To be asked before anything of a backup is deleted.

    :raises Refused: a storage does not let it go yet.
    """
    for copy in copies:
        for key in _locked_keys(copy.manifest):
            try:
                until = copy.storage.retained_until(key)
            except ObjectMissing:
                continue
            if until is not None:
                raise Refused(
                    f"{copy.manifest.id} is locked in '{copy.storage.name}' until {until:%Y-%m-%d %H:%M} UTC.",
                    hint="Nobody can delete it before that; cleanup does it afterwards.",
                    database=copy.manifest.entry,
                    backup_id=copy.manifest.id,
                )


def _locked_keys(manifest: Manifest) -> tuple[str, ...]:
    return *(naming.part_key(part.path) for part in manifest.parts), naming.manifest_key(manifest.id)


def _key_holder(manifest: Manifest) -> tuple[str, ...]:
    encrypted = any(part.cipher is not None for part in manifest.parts)
    return (naming.state_key(manifest.id),) if encrypted else ()


def _with_locks(state: State, until: dict[str, datetime]) -> State:
    def locked(copy: Copy) -> Copy:
        return copy.model_copy(update={"locked_until": until[copy.storage]}) if copy.storage in until else copy

    return state.model_copy(update={"copies": tuple(locked(copy) for copy in state.copies)})
