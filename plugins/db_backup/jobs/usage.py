"""What the storages hold, how fast that grows, and when they are full (SPEC §10)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TypeVar

from db_backup.catalog import Held, HeldByDay
from db_backup.errors import BackupError
from db_backup.frozen import FrozenModel
from db_backup.health import Growth, Room, StorageRecord
from db_backup.health.forecast import Level, forecast, growth
from db_backup.jobs.storage_checks import StorageCheck, check_storage
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType, utc_now
from db_backup.settings.addresses import StorageKind

_MEGABYTE = 1 << 20
_DAY = timedelta(days=1)
_DISK, _QUOTA = "the disk", "its quota"
K = TypeVar("K", bound=Hashable)


class EntryUsage(FrozenModel):
    """What one storage, or all of them, holds of an entry: every copy counts. ``by_type``: stored bytes.

    ``growth_bytes_per_day`` is None where there is too little history to tell.
    """

    database: str
    copies: int
    size_bytes: int
    by_type: dict[BackupType, int]
    growth_bytes_per_day: float | None


class StorageUsage(FrozenModel):
    """One storage.

    ``kind`` and ``location`` are empty where it is in no configuration any more. ``free_bytes`` and ``capacity_bytes``
    are of a disk, whoever uses it; ``unknown``: why they could not be asked for. ``full_in_days`` is None where it does
    not fill up, or nobody can tell; ``forecast`` says what it goes by. ``storage_id``: what its ``.storage-id`` holds,
    as far as the catalogue knows; else empty.
    """

    storage: str
    storage_id: str
    location: str
    kind: str
    off_site: bool
    copies: int
    size_bytes: int
    growth_bytes_per_day: float | None
    free_bytes: int | None
    capacity_bytes: int | None
    quota_bytes: int | None
    full_in_days: float | None
    forecast: str
    unknown: str
    databases: tuple[EntryUsage, ...]
    check: StorageCheck | None = None


class Usage(FrozenModel):
    """``databases``: over all storages, so that a backup with two copies counts twice."""

    storages: tuple[StorageUsage, ...]
    databases: tuple[EntryUsage, ...]


def usage(workspace: Workspace, *, check: bool = False) -> Usage:
    """Every storage that is configured, and every other one that the catalogue knows copies of.

    :param check: try each: write, read and delete. A check that fails is its result, not an error.
    """
    figures = _Figures.of(workspace)
    names = dict.fromkeys([*workspace.storages, *figures.storages])
    return Usage(
        storages=tuple(_storage(workspace, figures, name, check) for name in names),
        databases=figures.entries,
    )


def storage_records(workspace: Workspace) -> Mapping[str, StorageRecord]:
    """What health asks of each configured storage. No object storage is asked for anything."""
    figures = _Figures.of(workspace)
    return {name: _record(workspace, figures, name) for name in workspace.storages}


class _Figures:
    """What the catalogue counts now, and what it noted day by day."""

    def __init__(self, held: Iterable[Held], noted: Iterable[HeldByDay], now: datetime) -> None:
        self._now = now
        self._of_storage = _grouped(held, lambda line: line.storage)
        self._of_entry = _grouped(held, lambda line: line.entry)
        self._of_both = _grouped(held, lambda line: (line.storage, line.entry))
        self._days_of_storage = _by_day(noted, lambda line: line.storage)
        self._days_of_entry = _by_day(noted, lambda line: line.entry)
        self._days_of_both = _by_day(noted, lambda line: (line.storage, line.entry))

    @classmethod
    def of(cls, workspace: Workspace) -> _Figures:
        return cls(workspace.catalog.held(), workspace.catalog.usage_by_day(), utc_now())

    @property
    def storages(self) -> tuple[str, ...]:
        return tuple(self._of_storage)

    @property
    def entries(self) -> tuple[EntryUsage, ...]:
        """Each over all storages."""
        return tuple(
            self._entry(name, lines, self._days_of_entry.get(name, ()))
            for name, lines in sorted(self._of_entry.items())
        )

    def entries_in(self, storage: str) -> tuple[EntryUsage, ...]:
        return tuple(
            self._entry(entry, lines, self._days_of_both.get((name, entry), ()))
            for (name, entry), lines in self._of_both.items()
            if name == storage
        )

    def copies(self, storage: str) -> int:
        return sum(line.copies for line in self._of_storage.get(storage, ()))

    def size_bytes(self, storage: str) -> int:
        return sum(line.size_bytes for line in self._of_storage.get(storage, ()))

    def growth(self, storage: str) -> Growth:
        return self._growth(self._days_of_storage.get(storage, ()), self.size_bytes(storage))

    def _entry(self, name: str, lines: Sequence[Held], days: Sequence[Level]) -> EntryUsage:
        by_type: dict[BackupType, int] = defaultdict(int)
        for line in lines:
            by_type[line.type] += line.size_bytes
        size_bytes = sum(by_type.values())
        return EntryUsage(
            database=name,
            copies=sum(line.copies for line in lines),
            size_bytes=size_bytes,
            by_type=dict(by_type),
            growth_bytes_per_day=self._growth(days, size_bytes).bytes_per_day,
        )

    def _growth(self, days: Sequence[Level], size_bytes: int) -> Growth:
        return growth([*days, Level(self._now, size_bytes)], self._now)


def _grouped(held: Iterable[Held], key: Callable[[Held], K]) -> Mapping[K, list[Held]]:
    groups: dict[K, list[Held]] = defaultdict(list)
    for line in held:
        groups[key(line)].append(line)
    return groups


def _by_day(noted: Iterable[HeldByDay], key: Callable[[HeldByDay], K]) -> Mapping[K, tuple[Level, ...]]:
    """The sums of each day, from the first one that has any; a later day without any was an empty one."""
    sums: dict[K, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    moments: dict[date, datetime] = {}
    for line in noted:
        sums[key(line)][line.day] += line.size_bytes
        moments[line.day] = line.noted_at
    return {
        name: tuple(Level(moments[day], days.get(day, 0)) for day in moments if day >= min(days))
        for name, days in sums.items()
    }


def _storage(workspace: Workspace, figures: _Figures, name: str, check: bool) -> StorageUsage:
    config = workspace.config.storages.get(name)
    record = _record(workspace, figures, name)
    disk = next((room for room in record.rooms if room.what == _DISK), None)
    quota = next((room for room in record.rooms if room.what == _QUOTA), None)
    due = min((due for room in record.rooms if (due := room.full_in(record.growth)) is not None), default=None)
    return StorageUsage(
        storage=name,
        storage_id=workspace.catalog.storage_id(name) or "",
        location=workspace.storages[name].location if name in workspace.storages else "",
        kind=config.kind.value if config else "",
        off_site=config is not None and config.off_site,
        copies=figures.copies(name),
        size_bytes=figures.size_bytes(name),
        growth_bytes_per_day=record.growth.bytes_per_day,
        free_bytes=disk.left_bytes if disk else None,
        capacity_bytes=disk.limit_bytes if disk else None,
        quota_bytes=quota.limit_bytes if quota else None,
        full_in_days=None if due is None else round(due / _DAY, 1),
        forecast="; ".join(forecast(room, record.growth) for room in record.rooms) or f"{record.growth}",
        unknown=record.unknown,
        databases=figures.entries_in(name),
        check=check_storage(workspace, name) if check and name in workspace.storages else None,
    )


def _record(workspace: Workspace, figures: _Figures, name: str) -> StorageRecord:
    config = workspace.config.storages.get(name)
    if config is None:
        return StorageRecord(name, figures.growth(name))
    rooms: tuple[Room, ...] = ()
    unknown = ""
    if config.kind is StorageKind.DISK:
        try:
            rooms = _disk(workspace, name)
        except BackupError as error:
            unknown = error.message
    if config.quota_mb is not None:
        rooms = (*rooms, Room(_QUOTA, figures.size_bytes(name), config.quota_mb * _MEGABYTE))
    return StorageRecord(name, figures.growth(name), rooms, unknown, locks=config.object_lock is not None)


def _disk(workspace: Workspace, name: str) -> tuple[Room, ...]:
    """:raises StorageNotMounted, StorageError: not of a root that was never used: there is none yet."""
    if workspace.catalog.storage_id(name) is None:
        return ()
    storage = workspace.storages[name]
    free, capacity = storage.free_bytes(), storage.capacity_bytes()
    return () if free is None or capacity is None else (Room(_DISK, capacity - free, capacity),)
