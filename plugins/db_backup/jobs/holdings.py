"""What cleanup decides about: an entry's backups as the catalogue knows them, borne out by what lies in storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from db_backup import naming
from db_backup.catalog import BackupQuery
from db_backup.errors import BackupError, ObjectMissing
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.copies import Copies, known_copies
from db_backup.jobs.listing import Listing, Survey, listed, survey
from db_backup.jobs.reach import silence
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import read_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import State
from db_backup.model import BackupStatus
from db_backup.retention import Backup, Presence
from db_backup.storage import Storage
from db_backup.summary import BackupSummary, summarise


@dataclass(frozen=True)
class EntryHoldings:
    """One entry's backups by id. ``unreadable``: why they are not all known; empty when they are."""

    backups: Mapping[str, Backup]
    unreadable: str


class Holdings:
    """The storages, listed once; entries are then read one by one.

    A storage that does not answer never looks like lost backups: an entry that has, or should have, backups there is
    not all known.

    :raises StorageNotMounted, StorageError: none of the storages answers.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._survey = _ready_and_listed(workspace)
        self._storages = tuple(listing.storage for listing in self._survey.listings)
        self.unasked = self._survey.unasked

    def entries(self) -> tuple[str, ...]:
        """Every entry that is configured or has a backup, in order of name."""
        ids = {*self._workspace.catalog.ids()}.union(
            *(listing.manifests | listing.states for listing in self._survey.listings)
        )
        named = (entry for entry in map(naming.entry_of, ids) if entry is not None)
        return tuple(sorted({*self._workspace.config.entries, *named}))

    def read(self, entry: str) -> EntryHoldings:
        """The entry's backups: those of the catalogue, those that it does not know yet, and what is left of others."""
        found: dict[str, Backup] = {}
        known = self._workspace.catalog.newest_first(BackupQuery(database=entry))
        indexed = {summary.id: summary for summary in known}
        places = {*self._configured_places(entry)}.union(*(summary.storages for summary in indexed.values()))
        unreadable = ""
        # The sidecars decide, not the catalogue: it may be older than the newest proof, and what is kept or deleted
        # leans on every other backup of the entry.
        for backup_id, copies in self._copies(sorted(indexed.keys() | self.stored_ids(entry))):
            backup = None
            try:
                state, backup = self._known(copies())
                places |= {copy.storage for copy in state.present} if state else set()
            except BackupError as error:
                unreadable = (
                    f"the sidecars of {backup_id} cannot be read, so nobody can say what it needs: {error.message}"
                )
            if backup is None and backup_id in indexed:
                backup = _backup(indexed[backup_id], self._presence(indexed[backup_id]))
            if backup is not None:
                found[backup_id] = backup
        for silent in self.unasked:
            if silent.storage.name in places:
                unreadable = f"not all backups of '{entry}' are known: {silent}"
        return EntryHoldings(found, unreadable.removesuffix("."))

    def stored_ids(self, entry: str) -> set[str]:
        """The entry's backups by name: those that have a sidecar."""
        ids = set[str]().union(*(listing.manifests | listing.states for listing in self._survey.listings))
        return {backup_id for backup_id in ids if naming.entry_of(backup_id) == entry}

    def stored_backup(self, backup_id: str) -> Backup | None:
        """By its sidecars: the catalogue may not know it yet, and is marked for a deletion before the storage is.

        :return: None: it is on its way, or gone.
        :raises ManifestError, ObjectMissing, StorageError: a sidecar cannot be read.
        """
        return self._backup(partial(known_copies, self._workspace, backup_id, self._storages))

    def stored_backups(self, backup_ids: Iterable[str]) -> Iterator[tuple[str, Callable[[], Backup | None]]]:
        """Each id in order, and what returns or raises what :meth:`stored_backup` does of it."""
        for backup_id, copies in self._copies(backup_ids):
            yield backup_id, partial(self._backup, copies)

    def _backup(self, copies: Callable[[], Copies]) -> Backup | None:
        return self._known(copies())[1]

    def _copies(self, backup_ids: Iterable[str]) -> Iterator[tuple[str, Callable[[], Copies]]]:
        return copies_ahead(self._workspace, backup_ids, lambda _: self._storages)

    def _known(self, copies: Copies) -> tuple[State | None, Backup | None]:
        backup_id = copies.backup_id
        if copies.unreadable:
            raise next(iter(copies.unreadable.values()))
        if copies.unasked:  # it was listed a moment ago
            raise silence(copies.unasked, f"Not all that lies of {backup_id} is known", backup_id=backup_id)
        if copies.found:
            if not copies.own_states:  # a lost one may have been pinned
                read_state(copies.found[0].storage, backup_id)  # raises
            summary = summarise(copies.manifest, copies.found[0].state)
            return copies.state, _backup(summary, self._presence(summary))
        if copies.state is not None and copies.state.tombstone is not None:
            return copies.state, _remains(backup_id, copies.state.tombstone.marked_at)
        return copies.state, None  # a backup on its way: its state is written before its manifest

    def _configured_places(self, entry: str) -> Sequence[str]:
        configured = self._workspace.config.entries.get(entry)
        return configured.storages if configured else ()

    def _presence(self, summary: BackupSummary) -> Presence:
        """By the listings; of a backup that was made after them, by looking at itself.

        Whole where one copy is, of those that are not known to be damaged in spite of their size.
        """
        listings: Sequence[Listing] = self._survey.holding(summary.id)
        if not listings:
            copies = known_copies(self._workspace, summary.id, self._storages)
            listings = [_listed_alone(copy.storage, summary) for copy in copies.found]
        if not listings:
            return Presence.ABSENT
        wanted = {part.path: part.size_bytes for part in summary.parts}
        undamaged = [held for held in listings if held.storage.name not in summary.damaged_copies]
        whole = any(wanted.items() <= held.part_sizes.items() for held in undamaged)
        return Presence.WHOLE if whole else Presence.DAMAGED


def _ready_and_listed(workspace: Workspace) -> Survey:
    def ready_and_listed(storage: Storage) -> Listing:
        (ready,) = ready_storages(workspace, (storage.name,))
        return listed(ready)

    return survey(workspace, look=ready_and_listed)


def _listed_alone(storage: Storage, summary: BackupSummary) -> Listing:
    sizes = {}
    for part in summary.parts:
        try:
            sizes[part.path] = storage.stat(naming.part_key(part.path)).size_bytes
        except ObjectMissing:
            continue
    return Listing(storage, frozenset({summary.id}), frozenset({summary.id}), sizes)


def _backup(summary: BackupSummary, presence: Presence) -> Backup:
    return Backup(
        id=summary.id,
        entry=summary.database,
        type=summary.type,
        status=summary.status,
        created_at=summary.created_at,
        expires_at=summary.expires_at,
        finished_at=summary.created_at + timedelta(seconds=summary.duration_seconds),
        recovery_point=summary.recovery_point,
        presence=presence,
        pinned=summary.pinned,
        legal_hold=summary.legal_hold,
        base_id=summary.base_id,
        parent_id=summary.parent_id,
        safety=summary.safety,
        locked_until=summary.locked_until,
    )


def _remains(backup_id: str, marked_at: datetime) -> Backup:
    """A state whose manifest is gone already: all that its deletion still has to remove."""
    name = naming.parse_backup_id(backup_id)
    return Backup(
        id=backup_id,
        entry=name.entry,
        type=name.type,
        status=BackupStatus.DELETING,
        created_at=name.moment,
        expires_at=marked_at,
        finished_at=name.moment,
        recovery_point=name.moment,
        presence=Presence.ABSENT,
    )
