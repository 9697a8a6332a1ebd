"""Which backups may go to a colder class: cases, without a storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db_backup import retention
from db_backup.jobs.archiving import old_enough, reasons_to_stay
from db_backup.model import BackupStatus, BackupType
from db_backup.retention import Backup, Policy, Presence

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
OLDER_THAN = timedelta(days=10)


def backup(name: str, *, age: float, **more: Any) -> Backup:
    """A good full backup, kept for a hundred days."""
    created_at = NOW - timedelta(days=age)
    fields: dict[str, Any] = {
        "id": name,
        "entry": "shop",
        "type": BackupType.FULL,
        "status": BackupStatus.GOOD,
        "created_at": created_at,
        "expires_at": created_at + timedelta(days=100),
        "finished_at": created_at,
        "recovery_point": created_at,
    }
    return Backup(**{**fields, **more})


def increment(name: str, *, age: float, after: str, base: str = "base") -> Backup:
    return backup(name, age=age, type=BackupType.INCREMENTAL, base_id=base, parent_id=after)


def staying(*backups: Backup, policy: Policy | None = None, leases: Mapping[str, Sequence[str]] | None = None) -> Any:
    """Why those that are old enough stay, by id; and which go."""
    known = {one.id: one for one in backups}
    plan = retention.plan(backups, policies={"shop": policy or Policy()}, leases=leases or {}, locks={}, now=NOW)
    reasons = reasons_to_stay(known, plan, older_than=OLDER_THAN, now=NOW)
    old = old_enough(known, older_than=OLDER_THAN, now=NOW)
    return reasons, [one.id for one in old if one.id not in reasons]


FRESH = backup("fresh", age=1)


def test_what_is_old_and_verified_goes_the_oldest_first() -> None:
    reasons, going = staying(FRESH, backup("b", age=20), backup("a", age=30), backup("young", age=9.9))

    assert (reasons, going) == ({}, ["a", "b"])


def test_the_newest_verified_one_of_a_type_stays_however_old() -> None:
    structure = {"type": BackupType.STRUCTURE}
    reasons, going = staying(
        backup("full", age=40),
        backup("older", age=41),
        backup("s1", age=20, **structure),
        backup("s2", age=30, **structure),
    )

    assert set(reasons) == {"full", "s1"}
    assert going == ["older", "s2"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"status": BackupStatus.UNVERIFIED}, "unverified"),
        ({"status": BackupStatus.FAILED_VERIFICATION}, "failed verification"),
        ({"status": BackupStatus.SUSPECT}, "suspect"),
        ({"status": BackupStatus.DELETING}, "cleanup deletes it"),
        ({"presence": Presence.DAMAGED}, "not whole"),
        ({"expires_at": NOW - timedelta(days=1), "age": 200}, "cleanup deletes it"),
    ],
)
def test_what_nobody_may_lean_on_or_what_goes_anyway_stays(wrong: dict[str, Any], told: str) -> None:
    newer = [backup(f"newer-{number}", age=11 + number / 10) for number in range(4)]  # beyond the floor
    reasons, _ = staying(FRESH, *newer, backup("old", **{"age": 30, **wrong}))

    assert told in reasons["old"]


def test_a_pin_and_a_hold_say_how_long_and_not_how_soon() -> None:
    _, going = staying(FRESH, backup("pinned", age=30, pinned=True), backup("held", age=31, legal_hold=True))

    assert going == ["held", "pinned"]


def test_what_is_in_use_stays_and_so_does_what_it_needs() -> None:
    chain = [backup("base", age=40), increment("one", age=39, after="base"), increment("two", age=38, after="one")]
    newest = increment("newest", age=0.5, after="fresh", base="fresh")
    reasons, going = staying(FRESH, newest, *chain, leases={"one": ["a restore"]})

    assert "in use" in reasons["one"]
    assert reasons["base"] == "needed by one, which stays"
    assert going == ["two"]


def test_moments_that_can_be_restored_at_once_stay_so() -> None:
    chain = [backup("base", age=12), increment("one", age=11, after="base"), increment("two", age=2, after="one")]
    reasons, going = staying(backup("older", age=30), FRESH, *chain, policy=Policy(window_days=7))

    assert going == ["older"]
    assert set(reasons) == {"base", "one"}


def test_an_increment_that_is_too_young_keeps_its_chain_where_it_is() -> None:
    chain = [backup("base", age=12), increment("one", age=11, after="base"), increment("two", age=9, after="one")]
    reasons, going = staying(FRESH, increment("newest", age=0.5, after="fresh", base="fresh"), *chain)

    assert going == []
    assert reasons["base"].startswith("needed by")
