"""What the storages say of one backup, each by itself, and what is true of it then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from db_backup.errors import ManifestError, ObjectMissing
from db_backup.jobs.merging import first_tombstone, merged_state
from db_backup.jobs.reach import Unanswered, ask
from db_backup.jobs.sidecars import read_manifest, read_state, state_of_copy
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, State, Tombstone, WrappedKey
from db_backup.storage import Storage

T = TypeVar("T")

GONE = "it is gone"  # why a copy is missing that the states know of


@dataclass(frozen=True)
class Look:
    """What one storage has of a backup. Its state is read first, for a deletion takes it last.

    ``of_another``: what lies there under this id is another backup.
    """

    storage: Storage
    state: State | ManifestError | None
    manifest: Manifest | ManifestError | None
    of_another: bool = False


def look_at(workspace: Workspace, storage: Storage, backup_id: str) -> Look | Unanswered:
    """What this storage has of a backup."""
    return ask(workspace, storage, lambda asked: _look(asked, backup_id))


def _look(storage: Storage, backup_id: str) -> Look:
    state = _read(lambda: read_state(storage, backup_id))
    return Look(storage, state, _read(lambda: read_manifest(storage, backup_id)))


def _read(document: Callable[[], T]) -> T | ManifestError | None:
    """None: there is none."""
    try:
        return document()
    except ObjectMissing:
        return None
    except ManifestError as error:
        return error


def of_one_backup(looks: Sequence[Look]) -> list[Look]:
    """A manifest is the same in every storage: one that differs from the first is that of something else."""
    first = next((look for look in looks if isinstance(look.manifest, Manifest)), None)
    return [_another(look, first) if first is not None and _differs(look, first) else look for look in looks]


def _differs(look: Look, first: Look) -> bool:
    return isinstance(look.manifest, Manifest) and look.manifest != first.manifest


def _another(look: Look, first: Look) -> Look:
    """A copy that is none: its state is not this backup's either."""
    error = ManifestError(
        f"What lies in '{look.storage.name}' under this id is another backup than the one in '{first.storage.name}'.",
        hint="Look at both manifests, and take the storage with the wrong one out of the configuration.",
    )
    return Look(look.storage, error, error, of_another=True)


def seen(looks: Sequence[Look], configured: Collection[str]) -> State | None:
    """What the states know, and of the copies what was seen: a manifest is a copy, and where there is none, none is.

    Nor is there one in a storage that is not configured any more: nobody can read it, and a renamed one has another.
    Where what one state says could cost the other copies, it counts if those that are there agree.
    """
    states = [look.state for look in looks if isinstance(look.state, State)]
    there = {look.storage.name: look for look in looks if isinstance(look.manifest, Manifest)}
    states += [
        state_of_copy(look.storage, look.manifest)
        for name, look in there.items()
        if isinstance(look.manifest, Manifest)
        and not any(copy.storage == name for state in states for copy in state.copies)
    ]
    if not states:
        return None
    merged = merged_state(states)
    agreed = {"tombstone": _begun_deletion(looks), "wrapped_keys": _agreed_keys(list(there.values()), merged)}
    merged = merged.model_copy(update=agreed)
    if merged.tombstone is not None:
        return merged
    absent = {look.storage.name for look in looks if look.manifest is None or look.of_another}
    copies = tuple(
        copy.model_copy(update={"missing": ""})
        if copy.storage in there
        else copy.model_copy(update={"missing": copy.missing or GONE})
        if copy.storage in absent
        else copy
        for copy in merged.copies
        if copy.storage in configured
    )
    return merged.model_copy(update={"copies": copies})


def _begun_deletion(looks: Sequence[Look]) -> Tombstone | None:
    """A deletion entombs every copy before it removes any part: until all that are there are entombed, none has begun.

    Otherwise whoever can write into one storage could have the copies in all others deleted. A state that was lost, or
    cannot be read, has no tombstone. Where no manifest is left at all, what is there is the rest of a deletion.
    """
    there = [look for look in looks if look.manifest is not None and not look.of_another]
    entombed = [look.state for look in there or looks if isinstance(look.state, State) and look.state.tombstone]
    return first_tombstone(entombed) if not there or len(entombed) == len(there) else None


def _agreed_keys(there: Sequence[Look], merged: State) -> tuple[WrappedKey, ...]:
    """A backup in the clear has none, unless every copy says so: then its manifest is not what was written."""
    in_the_clear = any(
        isinstance(look.manifest, Manifest) and all(part.cipher is None for part in look.manifest.parts)
        for look in there
    )
    all_say_so = all(isinstance(look.state, State) and look.state.wrapped_keys for look in there)
    return () if in_the_clear and not all_say_so else merged.wrapped_keys
