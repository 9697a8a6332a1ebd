"""How well an entry is protected: a score with its reasons, and controls with their evidence (SPEC §6). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from db_backup.health.controls import controls
from db_backup.health.forecast import Growth, Room
from db_backup.health.history import (
    TREND_WINDOW,
    AttemptRecord,
    BackupRecord,
    CanaryRecord,
    ChainBreak,
    Expectations,
    History,
    KeyRecord,
    KitRecord,
    OpenWindow,
    StorageRecord,
)
from db_backup.health.recovery import recovery_times
from db_backup.health.report import (
    Component,
    Control,
    ControlResult,
    EntryHealth,
    Health,
    HealthStatus,
    RecoveryTime,
    status_of,
)
from db_backup.health.score import components, rounded

__all__ = [
    "TREND_WINDOW",
    "AttemptRecord",
    "BackupRecord",
    "CanaryRecord",
    "ChainBreak",
    "Component",
    "Control",
    "ControlResult",
    "EntryHealth",
    "Expectations",
    "Growth",
    "Health",
    "HealthStatus",
    "KeyRecord",
    "KitRecord",
    "OpenWindow",
    "RecoveryTime",
    "Room",
    "StorageRecord",
    "assess",
    "overall",
    "status_of",
]


def assess(
    entry: str,
    backups: Iterable[BackupRecord],
    attempts: Iterable[AttemptRecord],
    expectations: Expectations,
    *,
    now: datetime,
    breaks: Iterable[ChainBreak] = (),
    of_server: Iterable[BackupRecord] = (),
) -> EntryHealth:
    """One entry, from all its backups and its ended attempts of the last two ``TREND_WINDOW``; an empty one too.

    :param breaks: of its chain, in the last ``TREND_WINDOW``.
    :param of_server: all backups of the server's entry from which this database can be recovered as well.
    """
    history = History.of(entry, backups, attempts, now, breaks=breaks, of_server=of_server)
    earned = components(history)
    recovery = recovery_times(history, expectations)
    score = rounded(sum(component.points for component in earned))
    return EntryHealth(
        database=entry,
        score=score,
        status=status_of(score),
        components=earned,
        controls=controls(history, expectations, recovery),
        recovery_times=recovery,
    )


def overall(entries: Iterable[EntryHealth], *, now: datetime) -> Health:
    """All entries together: as well as the worst of them; with none at all, nothing is protected."""
    assessed = tuple(entries)
    score = min((entry.score for entry in assessed), default=0)
    return Health(score=score, status=status_of(score), checked_at=now, databases=assessed)
