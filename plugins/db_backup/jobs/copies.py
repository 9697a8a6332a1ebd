"""A backup over all the storages that hold it: found, leased, and its state changed in each of them.

A storage that does not answer never hides a backup that another one holds, and never makes one look lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from db_backup import naming, standing
from db_backup.errors import (
    ArtefactMissing,
    BackupError,
    ManifestError,
    ObjectMissing,
    StorageError,
    UnknownBackup,
)
from db_backup.jobs.looks import Look, look_at, of_one_backup, seen
from db_backup.jobs.merging import merged_state
from db_backup.jobs.reach import Unanswered, ask, silence, tell
from db_backup.jobs.sidecars import (
    Located,
    deleted_meanwhile,
    read_manifest,
    refuse_if_deleting,
    rewrite_state,
)
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, State
from db_backup.model import BackupType
from db_backup.storage import Storage
from db_backup.storage_classes import needs_thaw


@dataclass(frozen=True)
class Copies:
    """A backup in the storages that answer.

    :param found: the copies, the best to read first: undamaged, readable at once, on this site, in configured order.
    :param state: what all states know, merged, also where the manifest is gone; None: nobody has one.
    :param own_states: as each storage has it; one that is lost or cannot be read is not among them.
    :param unreadable: why a copy's manifest, or its state, cannot be read, by storage.
    :param of_others: of these the storages in which another backup lies under this id: nothing of it is ours.
    :param unasked: the storages that did not answer.
    """

    backup_id: str
    found: tuple[Located, ...]
    state: State | None
    own_states: Mapping[str, State]
    unreadable: Mapping[str, ManifestError]
    of_others: frozenset[str]
    unasked: tuple[Unanswered, ...]

    @property
    def manifest(self) -> Manifest:
        """:raises UnknownBackup, ManifestError, StorageError: no storage that answers holds it."""
        if not self.found:
            raise self.absence()
        return self.found[0].manifest

    def absence(self) -> BackupError:
        """What to raise where none was found: never that it is gone while somebody did not answer."""
        if self.unreadable:
            return next(iter(self.unreadable.values()))
        if self.unasked:
            return silence(self.unasked, f"Nobody can tell where {self.backup_id} lies", backup_id=self.backup_id)
        return deleted_meanwhile(self.backup_id)

    @property
    def disagreements(self) -> tuple[str, ...]:
        """Where another backup lies under this id: which of them is the right one only a person can tell."""
        found = (self.unreadable[name] for name in sorted(self.of_others))
        return tuple(f"{self.backup_id}: {error.message} {error.hint}" for error in found)

    @property
    def unasked_holders(self) -> tuple[Unanswered, ...]:
        """Of the storages that did not answer those that hold a copy, as far as the states know."""
        present = {copy.storage for copy in self.state.present} if self.state else set()
        return tuple(silent for silent in self.unasked if silent.storage.name in present)


def known_copies(
    workspace: Workspace,
    backup_id: str,
    storages: Sequence[Storage] | None = None,
    *,
    told: Mapping[str, Look | Unanswered] | None = None,
) -> Copies:
    """Look for a backup in these storages; None: in all of them.

    :param told: what some of them, by name, have said already (``jobs/ahead.py``, for many backups).
    """
    told, looks, unasked = told or {}, [], []
    for storage in workspace.storages.values() if storages is None else storages:
        answer = told[storage.name] if storage.name in told else look_at(workspace, storage, backup_id)
        if isinstance(answer, Unanswered):
            unasked.append(answer)
        else:
            looks.append(answer)
    looks = of_one_backup(looks)
    held = {look.storage.name: look.manifest for look in looks if isinstance(look.manifest, Manifest)}
    state = seen(looks, workspace.storages)
    found = [
        Located(look.storage, held[look.storage.name], state, workspace.keyring)
        for look in looks
        if state is not None and look.storage.name in held
    ]
    return Copies(
        backup_id=backup_id,
        found=tuple(_best_first(workspace, found)),
        state=state,
        own_states={look.storage.name: look.state for look in looks if isinstance(look.state, State)},
        unreadable={
            look.storage.name: document
            for look in looks
            for document in (look.state, look.manifest)
            if isinstance(document, ManifestError)
        },
        of_others=frozenset(look.storage.name for look in looks if look.of_another),
        unasked=tuple(unasked),
    )


def copies_of(workspace: Workspace, backup_id: str) -> tuple[Located, ...]:
    """The copies that can be reached and whose manifest can be read, the best to read first."""
    return known_copies(workspace, backup_id).found


def locate(workspace: Workspace, backup: str, *, storage: str | None = None) -> Located:
    """Find a backup by id or by an artefact's file name, in the storages themselves.

    :param storage: its copy in this storage is wanted, whatever is said against it.
    :raises UnknownBackup: no storage holds it; the message names the nearest known one. Or that storage has no copy.
    :raises UnknownStorage, ManifestError, StorageError: also where a storage that may hold it does not answer.
    """
    backup_id = naming.backup_id_of_file(backup.rpartition("/")[2])
    wanted = workspace.storage(storage) if storage is not None else None
    if naming.is_backup_id(backup_id):
        copies = known_copies(workspace, backup_id)
        if wanted is not None and (copies.found or copies.unasked):
            return _copy_in(copies, wanted)
        if copies.found:
            tell(workspace, copies.unasked_holders)
            return copies.found[0]
        if copies.unreadable or copies.unasked:
            raise _unfound(workspace, copies)
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
        yield _still_there(workspace, located)


@contextmanager
def leased_all(workspace: Workspace, chain: Sequence[Located], purpose: str) -> Iterator[tuple[Located, ...]]:
    """The same of several backups, such as a chain's, at once.

    :raises Refused, UnknownBackup: as :func:`leased`, of the first that is not to be had.
    """
    with workspace.catalog.lease_all([located.manifest.id for located in chain], purpose):
        yield tuple(_still_there(workspace, located) for located in chain)


def reserve(workspace: Workspace, backup: str, purpose: str, *, lasting: timedelta) -> str:
    """Nobody deletes the backup until the reservation is released or its time is up, whatever becomes of this process.

    :return: for ``Catalog.release``.
    :raises Refused: it is being deleted.
    :raises UnknownBackup, ManifestError, StorageError:
    """
    located = locate(workspace, backup)
    reservation = workspace.catalog.reserve(located.manifest.id, purpose, lasting=lasting)
    try:
        _still_there(workspace, located)
    except BackupError:
        workspace.catalog.release(reservation)
        raise
    return reservation


def update_state(workspace: Workspace, located: Located, change: Callable[[State], State]) -> State:
    """Rewrite the state in every copy that can be reached and take it into the catalogue; returns the merged one.

    A copy whose state was lost gets it back from the others. One that cannot be written now is brought in line later,
    by :func:`bring_states_in_line`; what was changed is lost in none.

    :raises UnknownBackup: it was deleted meanwhile.
    :raises ManifestError, StorageError: no copy's state could be written.
    """
    copies = known_copies(workspace, located.manifest.id)
    _rewrite_all(workspace, copies, change)
    return record_newest(workspace, located)


def bring_states_in_line(workspace: Workspace, backup_id: str) -> State:
    """Let the state of every copy that can be reached know all that the others know; returns it, merged.

    A tombstone that not every copy has goes. So the caller leases the backup, or has the lock of its entry: nobody may
    be about to set the others.

    :raises UnknownBackup: it was deleted meanwhile.
    :raises ManifestError, StorageError: no copy's state could be written.
    """
    copies = known_copies(workspace, backup_id)
    if not copies.found or copies.state is None:
        raise copies.absence()
    everything = copies.state
    if {copy.storage.name for copy in copies.found} != copies.own_states.keys() or any(
        merged_state([own, everything]) != own for own in copies.own_states.values()
    ):
        _rewrite_all(workspace, copies, lambda own: merged_state([own, everything]))
    return record_newest(workspace, copies.found[0])


def record_newest(workspace: Workspace, located: Located) -> State:
    """Take the newest state into the catalogue, whichever of several writers is the last to do so; returns it.

    Each writer reads the state again after it recorded one: whoever records last has recorded the newest.

    :raises UnknownBackup: it was deleted meanwhile.
    :raises ManifestError, StorageError: nobody can tell.
    """
    recorded = None
    while True:
        copies = known_copies(workspace, located.manifest.id)
        if not copies.found or copies.state is None:
            absence = copies.absence()
            if isinstance(absence, UnknownBackup):
                workspace.catalog.forget(located.manifest.id)
            raise absence
        if copies.state == recorded:
            return recorded
        workspace.catalog.record(copies.manifest, copies.state)
        recorded = copies.state


def newest_manifest(
    workspace: Workspace, entry: str, backup_type: BackupType, storages: Sequence[Storage]
) -> Manifest | None:
    """Of this entry and type; one that cannot be read is nothing to go by, and no error here."""
    newest = workspace.catalog.newest(entry, backup_type)
    if newest is None:
        return None
    for storage in storages:
        try:
            answer = ask(workspace, storage, lambda asked: read_manifest(asked, newest.id))
        except (ObjectMissing, ManifestError):
            continue  # `catalog check` tells of it
        if not isinstance(answer, Unanswered):
            return answer
    return None


def _best_first(workspace: Workspace, found: Sequence[Located]) -> list[Located]:
    order = list(workspace.storages)

    def rank(located: Located) -> tuple[bool, bool, bool, int]:
        name = located.storage.name
        configured = workspace.config.storages.get(name)
        classes = (copy.storage_class for copy in located.state.copies if copy.storage == name)
        return (
            name in standing.damaged_copies(located.state),
            any(map(needs_thaw, classes)),
            configured is not None and configured.off_site,
            order.index(name) if name in order else len(order),
        )

    return sorted(found, key=rank)


def _copy_in(copies: Copies, wanted: Storage) -> Located:
    """:raises UnknownBackup, ManifestError, StorageError: that storage has no copy, or does not say."""
    for located in copies.found:
        if located.storage.name == wanted.name:
            return located
    if wanted.name in copies.unreadable:
        raise copies.unreadable[wanted.name]
    for silent in copies.unasked:
        if silent.storage.name == wanted.name:
            raise silent.error
    places = ", ".join(f"'{located.storage.name}'" for located in copies.found)
    raise UnknownBackup(
        f"There is no copy of {copies.backup_id} in the storage '{wanted.name}'.",
        hint=f"It lies in {places}; `db-backup replicate` makes missing copies." if places else "See `db-backup list`.",
        backup_id=copies.backup_id,
    )


def _unfound(workspace: Workspace, copies: Copies) -> BackupError:
    if not copies.unreadable and len(workspace.storages) == 1:
        return copies.unasked[0].error  # which says it all
    return copies.absence()


def _still_there(workspace: Workspace, located: Located) -> Located:
    """The backup as it is now that nobody may delete it any more: the same copy, unless that is gone.

    :raises Refused, UnknownBackup: its deletion began before.
    """
    copies = known_copies(workspace, located.manifest.id)
    silent = {unanswered.storage.name for unanswered in copies.unasked}
    if copies.state is None or not (copies.found or silent):
        raise copies.absence()
    refuse_if_deleting(copies.state)
    same = next((copy for copy in copies.found if copy.storage.name == located.storage.name), None)
    if same is not None:
        return same
    if located.storage.name in silent:  # whoever reads it will see
        return replace(located, state=copies.state)
    return copies.found[0] if copies.found else replace(located, state=copies.state)


def _rewrite_all(workspace: Workspace, copies: Copies, change: Callable[[State], State]) -> None:
    """:raises BackupError: it could be written nowhere."""
    problems: list[BackupError] = []
    silent: list[Unanswered] = []
    written = False
    for copy in copies.found:
        try:
            answer = ask(
                workspace, copy.storage, lambda asked: rewrite_state(asked, copies.backup_id, change, lost=copies.state)
            )
        except ObjectMissing:
            continue  # deleted there meanwhile
        except (ManifestError, StorageError) as error:
            problems.append(error)
            continue
        if isinstance(answer, Unanswered):
            silent.append(answer)
        else:
            written = True
    if not written:
        raise next(iter([*problems, *(answer.error for answer in silent)]), copies.absence())
    tell(workspace, silent)
