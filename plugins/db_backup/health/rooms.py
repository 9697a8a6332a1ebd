"""Whether the storages of an entry have room for what is to come."""

from __future__ import annotations

from datetime import timedelta

from db_backup.health.forecast import Room, forecast
from db_backup.health.history import Expectations, StorageRecord
from db_backup.health.report import Control, ControlResult

NEARLY_FULL, FULL = 0.80, 0.95
"""Shares of a disk or quota from which it is worth a warning, and a failure."""

SOON, VERY_SOON = timedelta(days=14), timedelta(days=3)
"""The same of the time until it is full."""

EVENT = "storage_nearly_full"
_PASS, _WARNING, _FAIL, _NOT_APPLICABLE = ControlResult
_WORST_FIRST = (_FAIL, _WARNING, _PASS, _NOT_APPLICABLE)


def storage_has_room(expectations: Expectations) -> Control:
    """As well as the fullest of them; those that are well are told of only where all are."""
    name = "storage has room"
    answers = [(judge(storage), storage) for storage in expectations.storages]
    if not answers:
        return Control(name=name, result=_NOT_APPLICABLE, evidence="No storage was looked at.")
    worst = min((result for result, _ in answers), key=_WORST_FIRST.index)
    evidence = " ".join(_told(storage) for result, storage in answers if result is worst)
    if worst in (_PASS, _NOT_APPLICABLE):
        return Control(name=name, result=worst, evidence=evidence)
    if all(storage.unknown for result, storage in answers if result is worst):
        return Control(name=name, result=worst, evidence=evidence)
    evidence += " Make room: `db-backup cleanup --dry-run` shows what may go, `db-backup storages` what takes it."
    return Control(name=name, result=worst, evidence=evidence, event=EVENT)


def judge(storage: StorageRecord) -> ControlResult:
    """What one storage is worth, by its tightest limit."""
    if storage.unknown:
        return _WARNING
    return min((_of_room(storage, room) for room in storage.rooms), key=_WORST_FIRST.index, default=_NOT_APPLICABLE)


def _of_room(storage: StorageRecord, room: Room) -> ControlResult:
    due = room.full_in(storage.growth)
    if room.share >= FULL or (due is not None and due < VERY_SOON):
        return _FAIL
    return _WARNING if room.share >= NEARLY_FULL or (due is not None and due < SOON) else _PASS


def _told(storage: StorageRecord) -> str:
    if storage.unknown:
        return f"How much room '{storage.name}' has cannot be told: {storage.unknown}"
    if not storage.rooms:
        return f"'{storage.name}' has no limit that is known: set quota_mb to have one."
    return " ".join(f"'{storage.name}': {forecast(room, storage.growth)}." for room in storage.rooms)
