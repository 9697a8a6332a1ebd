"""Controls about where backups lie: room for what is to come, copies that cannot be deleted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from db_backup.health import ControlResult, Growth, Room, StorageRecord
from support.health_records import NOW, backup, control, health_of

pytestmark = pytest.mark.unit

PASS, WARNING, FAIL, NOT_APPLICABLE = ControlResult
MONTH = timedelta(days=30)
ROOM, LOCK = "storage has room", "immutable copy"


def storage(name: str = "local", used: int = 50, a_day: float | None = 0.0, **fields: object) -> StorageRecord:
    """A disk of 100 bytes."""
    record = {"growth": Growth(a_day, MONTH, 31), "rooms": (Room("the disk", used, 100),), **fields}
    return StorageRecord(name, **record)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("used", "a_day", "result"),
    [
        (79, 0, PASS),
        (80, 0, WARNING),
        (94, 0, WARNING),
        (95, 0, FAIL),
        (100, -1, FAIL),
        (30, 5, PASS),  # full in 14 days
        (30, 5.01, WARNING),
        (70, 10, WARNING),  # in 3 days
        (70, 10.01, FAIL),
        (79, None, PASS),
        (80, None, WARNING),
    ],
)
def test_room_is_judged_by_the_share_and_by_the_time_that_are_left(
    used: int, a_day: float | None, result: ControlResult
) -> None:
    found = control(ROOM, health_of([backup()], storages=(storage(used=used, a_day=a_day),)))

    assert found.result is result
    assert found.event == ("" if result is PASS else "storage_nearly_full")


def test_the_fullest_storage_decides_and_is_named() -> None:
    well, full = storage("local"), storage("attic", 96)
    found = control(ROOM, health_of([backup()], storages=(well, full)))

    assert found.result is FAIL
    assert "'attic': 96 bytes of 100 bytes of the disk, 96%; it grows by 0 bytes a day" in found.evidence
    assert "'local'" not in found.evidence
    assert "`db-backup cleanup --dry-run`" in found.evidence


def test_of_several_limits_the_tightest_decides() -> None:
    both = storage(rooms=(Room("the disk", 10, 100), Room("its quota", 9, 10)))

    assert control(ROOM, health_of([backup()], storages=(both,))).result is WARNING


def test_a_storage_without_a_known_limit_is_neither_well_nor_full() -> None:
    found = control(ROOM, health_of([backup()], storages=(storage("s3", rooms=()),)))

    assert found.result is NOT_APPLICABLE
    assert found.evidence == "'s3' has no limit that is known: set quota_mb to have one."


def test_room_that_cannot_be_asked_for_is_a_warning_and_no_news_of_a_full_disk() -> None:
    lost = storage("attic", rooms=(), unknown="Storage 'attic' is not mounted.")
    found = control(ROOM, health_of([backup()], storages=(storage(), lost)))

    assert (found.result, found.event) == (WARNING, "")
    assert found.evidence == "How much room 'attic' has cannot be told: Storage 'attic' is not mounted."


def test_the_newest_backup_must_be_locked_where_a_storage_is_to_lock_it() -> None:
    locking = (storage(locks=True, name="vault"), storage())
    tomorrow, yesterday = NOW + timedelta(days=1), NOW - timedelta(days=1)
    locked = backup(2, locked_until={"vault": tomorrow})

    assert control(LOCK, health_of([locked], storages=(storage(),))).result is NOT_APPLICABLE
    assert control(LOCK, health_of(storages=locking)).result is FAIL
    assert control(LOCK, health_of([backup(1), locked], storages=locking)).result is FAIL
    assert control(LOCK, health_of([backup(1, locked_until={"vault": yesterday})], storages=locking)).result is FAIL
    found = control(LOCK, health_of([locked], storages=locking))
    assert found.result is PASS
    assert found.evidence == "full-2h cannot be deleted in 'vault' until 2026-02-01 12:00:00 UTC."
