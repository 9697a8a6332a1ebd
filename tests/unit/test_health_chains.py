"""Health of what has increments: what they are worth, and what puts them at risk."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db_backup.health import BackupRecord, ChainBreak, Control, ControlResult, EntryHealth, OpenWindow, assess
from db_backup.model import BackupStatus, BackupType
from support.health_records import NOW, backup, control, expectations, health_of, points_of

pytestmark = pytest.mark.unit

PASS, WARNING, FAIL, NOT_APPLICABLE = ControlResult
INCREMENTAL = BackupType.INCREMENTAL
LOG, CHAIN = "slot/binlog retention long enough", "chain unbroken"


def chain(*hours: float, **more: Any) -> list[BackupRecord]:
    """A full and its increments, of these ages in hours, newest first; ``more`` holds for all of them."""
    found: list[BackupRecord] = []
    for age in hours:
        parent = found[-1].id if found else None
        kind = INCREMENTAL if parent else BackupType.FULL
        base = found[0].id if found else None
        found.append(backup(age, **{"type": kind, "base_id": base, "parent_id": parent, **more}))
    return found[::-1]


def but(backups: list[BackupRecord], hours: float, **more: Any) -> list[BackupRecord]:
    """The same, but for the one of that age."""
    return [replace(one, **more) if one.created_at == NOW - timedelta(hours=hours) else one for one in backups]


def assessed(backups: list[BackupRecord], *, wanted: dict[str, Any] | None = None, **more: Any) -> EntryHealth:
    return assess("shop", backups, (), expectations(**(wanted or {})), now=NOW, **more)


def rpo(backups: list[BackupRecord], **wanted: Any) -> Control:
    return control("RPO met", health_of(backups, **wanted))


# What increments are worth.


def test_the_newest_increment_is_as_recent_as_a_full() -> None:
    assert points_of(health_of(chain(80, 60, 2)))["recent backup age"] == 30
    assert rpo(chain(80, 60, 2)).result is PASS
    assert "incremental-2h" in rpo(chain(80, 60, 2)).evidence


@pytest.mark.parametrize("lost", [80, 60])
@pytest.mark.parametrize(
    "fault",
    [
        {"status": BackupStatus.FAILED_VERIFICATION},
        {"status": BackupStatus.SUSPECT},
        {"status": BackupStatus.DELETING},
        {"storages": ()},
        {"safety": True},
    ],
)
def test_an_increment_counts_only_with_its_whole_chain(lost: float, fault: dict[str, Any]) -> None:
    history = but(chain(80, 60, 2), lost, **fault)
    assert points_of(health_of(history))["recent backup age"] == 0
    assert rpo(history).result is FAIL
    assert points_of(health_of([backup(1), *history]))["diversity"] == 5


def test_unverified_links_hold_a_chain_together() -> None:
    history = chain(80, 60, 2, status=BackupStatus.UNVERIFIED)
    assert rpo(history).result is PASS


def test_an_increment_after_a_clock_was_set_back_counts_with_its_chain() -> None:
    """The full is dated in the future: it counts for nothing by itself, and what follows it can be restored."""
    assert rpo(chain(-48, 3, 2)).result is PASS
    assert rpo(chain(-48)).result is FAIL


def test_full_and_increments_are_two_types() -> None:
    assert points_of(health_of(chain(5, 2)))["diversity"] == 10


def test_a_replay_is_predicted_from_all_that_it_reads() -> None:
    """A full of 40 MB and an increment of 10 took 100 s; the chain has another 50 by now."""
    history = chain(30, 20, 10, plain_bytes=10)
    history = but(but(history, 30, plain_bytes=40), 10, plain_bytes=50)
    history = but(history, 20, restored_at=NOW, restore_seconds=100)
    (time,) = health_of(history).recovery_times
    assert (time.type, time.predicted_seconds, time.bytes_per_second) == (INCREMENTAL, 200, 0.5)


# Objectives.


@pytest.mark.parametrize(
    ("age_minutes", "result"),
    [(70, PASS), (71, FAIL), (60 * 14, FAIL)],
)
def test_within_a_window_its_target_holds(age_minutes: float, result: ControlResult) -> None:
    began = (NOW - timedelta(hours=3)).astimezone(ZoneInfo("Asia/Tokyo"))
    window = OpenWindow(timedelta(hours=1), began, "Mon-Fri 09:00-18:00")
    found = rpo([backup(age_minutes / 60)], window=window)
    assert found.result is result
    assert "since Mon-Fri 09:00-18:00 began, at 2026-01-31 09:00:00 UTC" in found.evidence


def test_what_was_changed_before_the_window_opened_is_no_loss_of_its_hours() -> None:
    window = OpenWindow(timedelta(hours=1), NOW - timedelta(minutes=20), "Mon-Fri 09:00-18:00")
    assert rpo([backup(15)], window=window).result is PASS
    assert rpo([backup(25)], window=window).result is FAIL  # that is more than a day, whatever the hour


def test_a_database_is_as_well_protected_as_its_server() -> None:
    own, server = [backup(80)], chain(30, 2, of_server=True)
    assert control("RPO met", assessed(own)).result is FAIL
    found = control("RPO met", assessed(own, of_server=server))
    assert (found.result, "incremental-2h" in found.evidence) == (PASS, True)
    torn = but(server, 30, status=BackupStatus.FAILED_VERIFICATION)
    assert control("RPO met", assessed(own, of_server=torn)).result is FAIL
    # Only for what may be lost: it has no backup of its own that is young.
    assert points_of(assessed(own, of_server=server))["recent backup age"] == 0


# Controls of chains.


def test_a_chain_that_stands_is_told_from_end_to_end() -> None:
    found = control(CHAIN, health_of(chain(5, 4, 3)))
    assert found.result is PASS
    assert "from full-5h to incremental-3h" in found.evidence


def test_a_gap_in_the_newest_chain_fails_and_says_what_to_do() -> None:
    found = control(CHAIN, health_of(but(chain(5, 4, 3), 4, status=BackupStatus.SUSPECT)))
    assert found.result is FAIL
    assert "incremental-3h cannot be restored, for incremental-4h stands as suspect" in found.evidence
    assert "db-backup create shop --type full" in found.evidence


def test_a_new_chain_after_one_with_a_gap_is_worth_a_warning() -> None:
    history = [backup(1), *but(chain(5, 4, 3), 4, status=BackupStatus.SUSPECT)]
    found = control(CHAIN, health_of(history))
    assert found.result is WARNING
    assert "full-1h has begun a new chain" in found.evidence


def test_an_increment_that_closes_a_broken_chain_after_a_new_full_is_worth_a_warning() -> None:
    history = [backup(3.5), *but(chain(5, 4, 3), 4, status=BackupStatus.SUSPECT)]
    assert control(CHAIN, health_of(history)).result is WARNING


def test_history_that_was_lost_is_told_for_a_week() -> None:
    breaks = [ChainBreak(NOW - timedelta(days=age), f"The binlog of {age} days ago was purged.") for age in (5, 2)]
    found = control(CHAIN, assessed(chain(5, 4), breaks=breaks))
    assert found.result is WARNING
    assert "The binlog of 2 days ago was purged." in found.evidence


def test_without_increments_there_is_no_chain() -> None:
    assert control(CHAIN, health_of([backup()])).result is NOT_APPLICABLE
    found = control(CHAIN, health_of([backup()], increments=True))
    assert (found.result, found.evidence) == (NOT_APPLICABLE, "No increment was taken yet.")


@pytest.mark.parametrize(
    ("kept_hours", "result"),
    [(24 + 16, PASS), (24 + 15.9, FAIL), (None, PASS)],
)
def test_the_servers_history_outlasts_the_longest_wait_and_a_day(
    kept_hours: float | None, result: ControlResult
) -> None:
    seconds = None if kept_hours is None else int(kept_hours * 3600)
    history = chain(30, 14, 2, of_server=True, log_kept_seconds=seconds)
    assert control(LOG, health_of(history)).result is result


def test_history_that_is_given_up_by_its_size_is_a_warning() -> None:
    warnings = ("Something else.", "The replication slot db_backup_shop holds 3 GB of WAL, and the server gives it up.")
    found = control(LOG, health_of(chain(3, 2, of_server=True, warnings=warnings)))
    assert (found.result, found.evidence) == (WARNING, warnings[1])
    assert control(LOG, health_of(chain(3, 2, of_server=True, warnings=warnings[:1]))).result is PASS


def test_sqlite_has_no_log_and_no_increments_need_none() -> None:
    assert control(LOG, health_of(chain(3, 2))).result is NOT_APPLICABLE
    assert control(LOG, health_of([backup(of_server=True)])).result is NOT_APPLICABLE
    assert control(LOG, health_of([backup(of_server=True)], increments=True)).result is PASS


def test_a_servers_plain_backups_are_worth_a_recommendation() -> None:
    found = control("encrypted", health_of(chain(3, 2, of_server=True)))
    assert found.result is FAIL
    assert "password hashes included" in found.evidence
    assert "password hashes" not in control("encrypted", health_of(chain(3, 2))).evidence


def test_increments_that_were_not_replayed_lately_are_told_of() -> None:
    assert control(CHAIN, health_of(chain(47, 46, 2))).result is PASS
    never = control(CHAIN, health_of(chain(60, 59, 2)))
    assert never.result is WARNING
    assert "no increment was ever replayed for proof. Run `db-backup verify incremental-2h" in never.evidence
    replayed = but(chain(300, 250, 2), 250, restored_at=NOW - timedelta(days=8))
    assert control(CHAIN, health_of(replayed)).result is PASS
    long_ago = control(CHAIN, health_of(but(replayed, 250, restored_at=NOW - timedelta(days=9))))
    assert long_ago.result is WARNING
    assert "were last replayed for proof up to incremental-250h, 9d 0h ago" in long_ago.evidence
