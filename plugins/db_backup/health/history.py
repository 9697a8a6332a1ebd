"""What is judged: an entry's backups and attempts, sorted into those that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from db_backup import lineage
from db_backup.health.forecast import Growth, Room
from db_backup.model import BackupStatus, BackupType

TREND_WINDOW = timedelta(days=7)
"""Failures of the last window are held against those of the one before."""

_CLOCK_TOLERANCE = timedelta(minutes=5)  # between the clocks of two workers; beyond it a date lies in the future
_TRUSTED = frozenset({BackupStatus.GOOD, BackupStatus.UNVERIFIED})
_RESTORABLE_TYPES = frozenset({BackupType.FULL, BackupType.INCREMENTAL})


@dataclass(frozen=True)
class BackupRecord:
    """What health asks of a backup.

    :param parent_id: the backup that an incremental goes on from; ``base_id``: the full that their chain begins with.
    :param restored_at: when it was last restored for proof, and stood; with ``restore_seconds``, where it was timed, of
        which ``restore_setup_seconds`` went into the scratch server.
    :param storages: the storages that hold a copy; ``damaged``: those of them whose copy is not what was written.
    :param missing: the storages that should hold one too, as its states say.
    :param safety: of what a restore was about to replace.
    :param of_server: it holds a whole server.
    :param log_kept_seconds: how long the server keeps the history that increments are taken of; None: no time is set.
    :param locked_until: by storage, until when nobody can delete its copy there.
    """

    id: str
    type: BackupType
    status: BackupStatus
    created_at: datetime
    recovery_point: datetime
    duration_seconds: float
    size_bytes: int
    plain_bytes: int
    compressed: bool
    encrypted: bool
    storages: tuple[str, ...]
    base_id: str | None = None
    parent_id: str | None = None
    restored_at: datetime | None = None
    restore_seconds: float | None = None
    restore_setup_seconds: float = 0.0
    safety: bool = False
    of_server: bool = False
    log_kept_seconds: int | None = None
    warnings: tuple[str, ...] = ()
    locked_until: Mapping[str, datetime] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def whole(self) -> tuple[str, ...]:
        """The storages whose copy is not known to be damaged."""
        return tuple(storage for storage in self.storages if storage not in self.damaged)


@dataclass(frozen=True)
class ChainBreak:
    """Increments could not go on where the last one had ended: what changed until the next full is lost."""

    at: datetime
    reason: str


@dataclass(frozen=True)
class AttemptRecord:
    """A try that has ended. One that was interrupted has failed; one that was skipped is none."""

    started_at: datetime
    failed: bool


@dataclass(frozen=True)
class KitRecord:
    """The break-glass kit of this configuration.

    :param exported_at: when the newest was; None: never, as far as is known.
    :param outdated: backup.yaml is another since.
    """

    exported_at: datetime | None
    outdated: bool = False


@dataclass(frozen=True)
class StorageRecord:
    """A storage that the entry is backed up to.

    :param rooms: what limits it, as far as is known.
    :param unknown: why its room could not be asked for; empty: it could.
    :param locks: copies are to be locked there.
    """

    name: str
    growth: Growth
    rooms: tuple[Room, ...] = ()
    unknown: str = ""
    locks: bool = False


@dataclass(frozen=True)
class KeyRecord:
    """A key that data keys are wrapped for now.

    ``created_at``: None where only its keeper knows. ``missing``: why it is not to be had; empty: it is.
    """

    name: str
    created_at: datetime | None
    missing: str = ""


@dataclass(frozen=True)
class CanaryRecord:
    """The last time that a backup's data key was to be unwrapped.

    :param opened: None where it cannot be tried here, for the private key is kept elsewhere.
    """

    at: datetime
    backup_id: str
    opened: bool | None
    reason: str = ""


@dataclass(frozen=True)
class OpenWindow:
    """Hours in which less may be lost: of what was changed ``since`` they began, ``recovery_point`` at most."""

    recovery_point: timedelta
    since: datetime
    name: str


@dataclass(frozen=True)
class Expectations:
    """What is wanted of an entry.

    :param recovery_point: how much may be lost, whatever the hour (SPEC §9, RPO).
    :param window: what is wanted at this hour beyond that; None: nothing.
    :param increments: they are taken of it.
    :param recovery_time: how long a restore may take, by type (SPEC §9, RTO).
    :param max_size_bytes: of one backup as stored; None: no limit.
    :param off_site: the storages that lie elsewhere.
    :param kinds: what each storage is: "disk", "s3" …
    :param wanted: the storages that are to hold each of its backups in the end; ``unwanted``: those whose copy goes.
    :param kit: what there is of a break-glass kit; None: there is no configuration that one could hold.
    :param storages: where its backups are to lie.
    :param encrypted: it is to be.
    :param keys: the recipients of new backups' keys; ``canary``: None where none was unwrapped yet.
    """

    recovery_point: timedelta
    recovery_time: Mapping[BackupType, timedelta]
    max_size_bytes: int | None
    off_site: frozenset[str]
    kit: KitRecord | None = None
    window: OpenWindow | None = None
    increments: bool = False
    storages: tuple[StorageRecord, ...] = ()
    encrypted: bool = False
    keys: tuple[KeyRecord, ...] = ()
    canary: CanaryRecord | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    unwanted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class History:
    """An entry at one moment. Backups are newest first.

    ``stored``: every backup that is not being deleted, whatever its proofs say. ``live``: all of these but safety
    backups, for whatever made somebody restore may be in them. ``restorable``: of the latter, fulls, and incrementals
    whose chain to a full is whole, that have a copy and are good or unverified. Those dated in the future count as none
    of them: their age says nothing. ``broken``: why the others of ``live`` cannot be restored, by their ids.
    ``of_server``: what is restorable of the server that the entry names, and holds it too.
    """

    entry: str
    now: datetime
    stored: tuple[BackupRecord, ...]
    live: tuple[BackupRecord, ...]
    restorable: tuple[BackupRecord, ...]
    future: tuple[BackupRecord, ...]
    attempts: tuple[AttemptRecord, ...]
    broken: Mapping[str, str]
    breaks: tuple[ChainBreak, ...] = ()
    of_server: tuple[BackupRecord, ...] = ()

    @classmethod
    def of(
        cls,
        entry: str,
        backups: Iterable[BackupRecord],
        attempts: Iterable[AttemptRecord],
        now: datetime,
        *,
        breaks: Iterable[ChainBreak] = (),
        of_server: Iterable[BackupRecord] = (),
    ) -> Self:
        """:param of_server: all backups of the server that the entry names."""
        horizon = now + _CLOCK_TOLERANCE
        there = sorted(
            (backup for backup in backups if backup.status is not BackupStatus.DELETING),
            key=lambda backup: (backup.created_at, backup.id),
            reverse=True,
        )
        stored = tuple(backup for backup in there if backup.created_at <= horizon)
        live = tuple(backup for backup in stored if not backup.safety)
        broken = _broken(there)
        return cls(
            entry=entry,
            now=now,
            stored=stored,
            live=live,
            restorable=tuple(one for one in live if one.type in _RESTORABLE_TYPES and one.id not in broken),
            future=tuple(backup for backup in there if backup.created_at > horizon),
            attempts=tuple(attempt for attempt in attempts if attempt.started_at <= horizon),
            broken=broken,
            breaks=tuple(sorted(breaks, key=lambda one: one.at, reverse=True)),
            of_server=cls.of("", of_server, (), now).restorable if (of_server := tuple(of_server)) else (),
        )

    def age(self, moment: datetime) -> timedelta:
        """How long ago, never less than nothing."""
        return max(self.now - moment, timedelta(0))

    def bytes_to_restore(self, backup: BackupRecord) -> int:
        """Plain bytes of all that is read to restore it: of an increment its whole chain."""
        links = {one.id: one for one in self.live}
        needed = lineage.ancestors(backup, links) if backup.type is BackupType.INCREMENTAL else ()
        return backup.plain_bytes + sum(links[link].plain_bytes for link in needed)

    def of_type(self, backup_type: BackupType) -> tuple[BackupRecord, ...]:
        return tuple(backup for backup in self.live if backup.type is backup_type)


def _broken(backups: Iterable[BackupRecord]) -> Mapping[str, str]:
    """A link that is dated in the future holds its chain together all the same; no safety backup is one."""
    return lineage.broken({backup.id: backup for backup in backups if not backup.safety}, _fault)


def _fault(backup: BackupRecord) -> str | None:
    if backup.status not in _TRUSTED:
        return f"stands as {backup.status.replace('_', ' ')}"
    return None if backup.storages else "has no copy"
