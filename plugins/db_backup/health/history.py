"""What is judged: an entry's backups and attempts, sorted into those that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from db_backup.model import BackupStatus, BackupType

TREND_WINDOW = timedelta(days=7)
"""Failures of the last window are held against those of the one before."""

_CLOCK_TOLERANCE = timedelta(minutes=5)  # between the clocks of two workers; beyond it a date lies in the future
_TRUSTED = frozenset({BackupStatus.GOOD, BackupStatus.UNVERIFIED})


@dataclass(frozen=True)
class BackupRecord:
    """What health asks of a backup.

    :param parent_id: the backup that an incremental goes on from.
    :param restored_at: when it was last restored for proof, and stood; with ``restore_seconds``, where it was timed, of
        which ``restore_setup_seconds`` went into the scratch server.
    :param storages: the storages that hold a copy.
    :param safety: of what a restore was about to replace.
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
    parent_id: str | None = None
    restored_at: datetime | None = None
    restore_seconds: float | None = None
    restore_setup_seconds: float = 0.0
    safety: bool = False


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
class Expectations:
    """What is wanted of an entry.

    :param recovery_point: how much may be lost (SPEC §9, RPO).
    :param recovery_time: how long a restore may take, by type (SPEC §9, RTO).
    :param max_size_bytes: of one backup as stored; None: no limit.
    :param off_site: the storages that lie elsewhere.
    :param kit: what there is of a break-glass kit; None: there is no configuration that one could hold.
    """

    recovery_point: timedelta
    recovery_time: Mapping[BackupType, timedelta]
    max_size_bytes: int | None
    off_site: frozenset[str]
    kit: KitRecord | None = None


@dataclass(frozen=True)
class History:
    """An entry at one moment. Backups are newest first.

    ``stored``: every backup that is not being deleted, whatever its proofs say. ``live``: all of these but safety
    backups, for whatever made somebody restore may be in them. ``restorable``: of the latter, fulls, and incrementals
    whose chain to a full is whole, that have a copy and are good or unverified. Those dated in the future count as none
    of them: their age says nothing.
    """

    entry: str
    now: datetime
    stored: tuple[BackupRecord, ...]
    live: tuple[BackupRecord, ...]
    restorable: tuple[BackupRecord, ...]
    future: tuple[BackupRecord, ...]
    attempts: tuple[AttemptRecord, ...]

    @classmethod
    def of(cls, entry: str, backups: Iterable[BackupRecord], attempts: Iterable[AttemptRecord], now: datetime) -> Self:
        horizon = now + _CLOCK_TOLERANCE
        there = sorted(
            (backup for backup in backups if backup.status is not BackupStatus.DELETING),
            key=lambda backup: (backup.created_at, backup.id),
            reverse=True,
        )
        stored = tuple(backup for backup in there if backup.created_at <= horizon)
        live = tuple(backup for backup in stored if not backup.safety)
        return cls(
            entry=entry,
            now=now,
            stored=stored,
            live=live,
            restorable=_restorable(live),
            future=tuple(backup for backup in there if backup.created_at > horizon),
            attempts=tuple(attempt for attempt in attempts if attempt.started_at <= horizon),
        )

    def age(self, moment: datetime) -> timedelta:
        """How long ago, never less than nothing."""
        return max(self.now - moment, timedelta(0))

    def of_type(self, backup_type: BackupType) -> tuple[BackupRecord, ...]:
        return tuple(backup for backup in self.live if backup.type is backup_type)


def _restorable(live: tuple[BackupRecord, ...]) -> tuple[BackupRecord, ...]:
    whole: dict[str, BackupRecord] = {}
    for backup in reversed(live):  # oldest first: a parent comes before what goes on from it
        trusted = backup.status in _TRUSTED and bool(backup.storages)
        anchored = backup.type is BackupType.FULL or (
            backup.type is BackupType.INCREMENTAL and backup.parent_id in whole
        )
        if trusted and anchored:
            whole[backup.id] = backup
    return tuple(reversed(whole.values()))
