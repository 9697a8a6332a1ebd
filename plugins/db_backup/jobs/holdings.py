"""What cleanup decides about: an entry's backups as the catalogue knows them, borne out by what lies in storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db_backup import naming
from db_backup.catalog import BackupQuery
from db_backup.errors import ManifestError, ObjectMissing
from db_backup.jobs.copies import copies_of
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import read_state
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus
from db_backup.retention import Backup, Presence
from db_backup.storage import Storage
from db_backup.summary import BackupSummary, summarise


@dataclass(frozen=True)
class _Listing:
    """The names in one storage, at one moment."""

    storage: Storage
    manifests: frozenset[str]
    states: frozenset[str]
    part_sizes: Mapping[str, int]


@dataclass(frozen=True)
class EntryHoldings:
    """One entry's backups by id. ``unreadable``: why they are not all known; empty when they are."""

    backups: Mapping[str, Backup]
    unreadable: str


class Holdings:
    """The storages, listed once; entries are then read one by one.

    :raises StorageNotMounted, StorageError: a storage that is not there never looks like lost backups.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        storages = ready_storages(workspace, tuple(workspace.storages))
        self._listings = tuple(_listed(storage) for storage in storages)

    def entries(self) -> tuple[str, ...]:
        """Every entry that is configured or has a backup, in order of name."""
        ids = {*self._workspace.catalog.ids()}.union(
            *(listing.manifests for listing in self._listings), *(listing.states for listing in self._listings)
        )
        named = (entry for entry in map(naming.entry_of, ids) if entry is not None)
        return tuple(sorted({*self._workspace.config.entries, *named}))

    def read(self, entry: str) -> EntryHoldings:
        """The entry's backups: those of the catalogue, those that it does not know yet, and what is left of others."""
        found: dict[str, Backup] = {}
        unreadable = ""
        known = self._workspace.catalog.newest_first(BackupQuery(database=entry))
        indexed = {summary.id: summary for summary in known}
        # The sidecars decide, not the catalogue: it may be older than the newest proof, and what is kept or deleted
        # leans on every other backup of the entry.
        for backup_id in sorted(indexed.keys() | self.stored_ids(entry)):
            backup = None
            try:
                backup = self.stored_backup(backup_id)
            except (ManifestError, ObjectMissing) as error:
                unreadable = (
                    f"the sidecars of {backup_id} cannot be read, so nobody can say what it needs: {error.message}"
                )
            if backup is None and backup_id in indexed:
                backup = _backup(indexed[backup_id], self._presence(indexed[backup_id]))
            if backup is not None:
                found[backup_id] = backup
        return EntryHoldings(found, unreadable.removesuffix("."))

    def stored_ids(self, entry: str) -> set[str]:
        """The entry's backups by name: those that have a sidecar."""
        ids = set[str]().union(*(listing.manifests | listing.states for listing in self._listings))
        return {backup_id for backup_id in ids if naming.entry_of(backup_id) == entry}

    def stored_backup(self, backup_id: str) -> Backup | None:
        """By its sidecars: the catalogue may not know it yet, and is marked for a deletion before the storage is.

        :return: None: it is on its way, or gone.
        :raises ManifestError, ObjectMissing: a sidecar cannot be read.
        """
        if copies := copies_of(self._workspace, backup_id):
            states = [read_state(copy.storage, backup_id) for copy in copies]  # a lost one may have been pinned
            state = next((state for state in states if state.tombstone), states[0])
            held = {
                "pinned": any(state.pinned for state in states),
                "legal_hold": any(state.legal_hold for state in states),
            }
            summary = summarise(copies[0].manifest, state.model_copy(update=held))
            return _backup(summary, self._presence(summary))
        for listing in self._listings:
            try:
                state = read_state(listing.storage, backup_id)
            except ObjectMissing:
                continue
            if state.tombstone is not None:
                return _remains(backup_id, state.tombstone.marked_at)
        return None  # a backup on its way: its state is written before its manifest

    def _presence(self, summary: BackupSummary) -> Presence:
        """By the listings; of a backup that was made after them, by looking at itself."""
        listings: Sequence[_Listing] = [listing for listing in self._listings if summary.id in listing.manifests]
        if not listings:
            listings = [_listed_alone(copy.storage, summary) for copy in copies_of(self._workspace, summary.id)]
        if not listings:
            return Presence.ABSENT
        wanted = {part.path: part.size_bytes for part in summary.parts}
        return (
            Presence.WHOLE if any(wanted.items() <= held.part_sizes.items() for held in listings) else Presence.DAMAGED
        )


def _listed(storage: Storage) -> _Listing:
    manifests, states = set(), set()
    for item in storage.list(naming.METADATA_FOLDER):
        name = item.key.rpartition("/")[2]
        backup_id = naming.backup_id_of_file(name)
        if name == f"{backup_id}.json":
            manifests.add(backup_id)
        elif name == f"{backup_id}.state.json":
            states.add(backup_id)
    sizes = {item.key.rpartition("/")[2]: item.size_bytes for item in storage.list(naming.DATABASE_FOLDER)}
    return _Listing(storage, frozenset(manifests), frozenset(states), sizes)


def _listed_alone(storage: Storage, summary: BackupSummary) -> _Listing:
    sizes = {}
    for part in summary.parts:
        try:
            sizes[part.path] = storage.stat(naming.part_key(part.path)).size_bytes
        except ObjectMissing:
            continue
    return _Listing(storage, frozenset({summary.id}), frozenset({summary.id}), sizes)


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
