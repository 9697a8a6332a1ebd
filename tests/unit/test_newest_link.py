"""Which backup the next increment follows: pure choices."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from db_backup import lineage
from db_backup.jobs.chains import end_of_chain, fulls_to_follow, increments_since
from db_backup.model import BackupStatus, BackupType
from db_backup.naming import BackupName
from db_backup.retention import Backup, Presence
from support.factories import MORNING

pytestmark = pytest.mark.unit

NOW = MORNING + timedelta(hours=12)


def name(backup_type: BackupType, hours: float) -> str:
    return str(BackupName("shop", backup_type, MORNING + timedelta(hours=hours)))


def link(
    backup_id: str, hours: float, parent: Backup | None = None, base: Backup | None = None, **fields: Any
) -> Backup:
    """An increment after ``parent``; a full, where there is none."""
    moment: datetime = MORNING + timedelta(hours=hours)
    return Backup(
        **{
            "id": backup_id,
            "entry": "shop",
            "type": BackupType.INCREMENTAL if parent else BackupType.FULL,
            "status": BackupStatus.GOOD,
            "created_at": moment,
            "finished_at": moment,
            "expires_at": moment + timedelta(days=7),
            "recovery_point": moment,
            "parent_id": parent.id if parent else None,
            "base_id": (base or parent).id if parent else None,
            **fields,
        }
    )


FULL = link("full", 0)
FIRST = link("first", 1, FULL)
SECOND = link("second", 2, FIRST, FULL)


def end(*links: Backup) -> str:
    backups = {one.id: one for one in links}
    return end_of_chain(FULL, backups, lineage.broken(backups, lambda backup: backup.fault))


def test_an_increment_follows_the_full_and_then_the_last_increment() -> None:
    assert end(FULL) == "full"
    assert end(FULL, FIRST) == "first"
    assert end(SECOND, FIRST, FULL) == "second"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": BackupStatus.FAILED_VERIFICATION},
        {"status": BackupStatus.SUSPECT},
        {"status": BackupStatus.DELETING},
        {"presence": Presence.DAMAGED},
        {"presence": Presence.ABSENT},
    ],
)
def test_what_leans_on_a_useless_increment_is_left_out(fault: dict[str, Any]) -> None:
    assert end(FULL, link("first", 1, FULL, **fault), SECOND) == "full"


def test_a_gap_ends_the_chain_before_it() -> None:
    assert end(FULL, SECOND) == "full"


def test_an_unverified_increment_is_followed() -> None:
    assert end(FULL, link("first", 1, FULL, status=BackupStatus.UNVERIFIED)) == "first"


def test_a_clock_that_was_set_back_changes_nothing_about_what_follows_what() -> None:
    assert end(FULL, link("first", 5, FULL), link("second", 1, FIRST, FULL)) == "second"


def test_of_two_branches_the_newer_one_is_followed() -> None:
    assert end(FULL, FIRST, SECOND, link("again", 3, FULL)) == "again"


def test_increments_of_another_chain_are_not_followed() -> None:
    other = link("other", 3)
    assert end(FULL, FIRST, other, link("others", 4, other)) == "first"


def test_the_newest_full_comes_first_and_one_from_the_future_last() -> None:
    old, new, future = (name(BackupType.FULL, hours) for hours in (0, 6, 48))
    others = [name(BackupType.INCREMENTAL, 7), name(BackupType.STRUCTURE, 8), "no backup"]
    assert fulls_to_follow([old, future, *others, new], now=NOW) == [new, old, future]


def test_only_increments_from_a_full_on_can_be_of_its_chain() -> None:
    full = name(BackupType.FULL, 6)
    before, after = name(BackupType.INCREMENTAL, 5), name(BackupType.INCREMENTAL, 6)
    assert increments_since([before, after, full, name(BackupType.DATA, 7)], full) == [after]
