"""The controls beside the score: where each passes, fails, or says that it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from db_backup.health import BackupRecord, ControlResult, KitRecord, overall
from db_backup.model import BackupStatus, BackupType
from support.health_records import MEGABYTE, NOW, backup, control, health_of

pytestmark = pytest.mark.unit

PASS, WARNING, FAIL, NOT_APPLICABLE = ControlResult


def test_every_control_is_there_whatever_the_history() -> None:
    names = [control.name for control in health_of().controls]

    assert names == [control.name for control in health_of([backup()]).controls]
    assert names == [
        "RPO met",
        "RTO met",
        "verified restore within 30 days",
        "no backup failed verification",
        "off-site copy exists",
        "3-2-1",
        "every wanted copy exists",
        "immutable copy",
        "encrypted",
        "key rotated within 365 days",
        "encryption key opens the newest backup",
        "storage has room",
        "size below the limit",
        "size within the usual range",
        "slot/binlog retention long enough",
        "chain unbroken",
        "no backup dated in the future",
        "break-glass kit",
    ]


@pytest.mark.parametrize(
    ("exposure", "duration_seconds", "result"),
    [
        (timedelta(hours=24), 60, PASS),
        (timedelta(hours=24, minutes=10), 60, PASS),
        (timedelta(hours=24, minutes=10, microseconds=1), 60, FAIL),
        (timedelta(hours=24, minutes=20), 600, PASS),
        (timedelta(hours=24, minutes=20, microseconds=1), 600, FAIL),
    ],
)
def test_the_rpo_is_missed_when_exposure_exceeds_target_and_grace(
    exposure: timedelta, duration_seconds: float, result: ControlResult
) -> None:
    health = health_of([backup(1, recovery_point=NOW - exposure, duration_seconds=duration_seconds)])

    assert control("RPO met", health).result is result


def test_grace_is_twice_the_95th_percentile_of_the_durations() -> None:
    """Of twenty, the second longest: 800 s, so 1600 s of grace; the longest, an outlier, does not count."""
    durations = [60.0] * 18 + [800.0, 9000.0]
    late = timedelta(hours=24, seconds=1600)

    def at(exposure: timedelta) -> ControlResult:
        newest = backup(2, recovery_point=NOW - exposure, duration_seconds=durations[0])
        older = [backup(100 + n, duration_seconds=seconds) for n, seconds in enumerate(durations[1:])]
        return control("RPO met", health_of([newest, *older])).result

    assert at(late) is PASS
    assert at(late + timedelta(microseconds=1)) is FAIL


def test_exposure_counts_from_the_newest_recovery_point_of_what_can_be_restored() -> None:
    unusable = backup(1, status=BackupStatus.FAILED_VERIFICATION)

    assert control("RPO met", health_of([unusable, backup(30)])).result is FAIL
    assert control("RPO met", health_of([unusable, backup(23)])).result is PASS
    assert control("RPO met", health_of()).result is FAIL


def test_a_stricter_target_is_missed_sooner() -> None:
    strict = {"recovery_point": timedelta(minutes=15)}

    assert control("RPO met", health_of([backup(0.4)], **strict)).result is PASS  # 24 minutes
    assert control("RPO met", health_of([backup(0.5)], **strict)).result is FAIL


@pytest.mark.parametrize(
    ("backup_type", "seconds", "result"),
    [
        (BackupType.FULL, 1800, PASS),
        (BackupType.FULL, 1800.1, FAIL),
        (BackupType.STRUCTURE, 300, PASS),
        (BackupType.STRUCTURE, 300.1, FAIL),
        (BackupType.DATA, 9999, NOT_APPLICABLE),
        (BackupType.FULL, None, NOT_APPLICABLE),
    ],
)
def test_the_rto_is_held_against_the_measured_restore(
    backup_type: BackupType, seconds: float | None, result: ControlResult
) -> None:
    health = health_of([backup(type=backup_type, restored_at=NOW, restore_seconds=seconds)])

    assert control("RTO met", health).result is result


def test_only_the_last_restore_of_a_type_counts_for_the_rto() -> None:
    slow = backup(1, restored_at=NOW - timedelta(days=9), restore_seconds=9999)
    quick = backup(2, restored_at=NOW, restore_seconds=5)

    assert control("RTO met", health_of([slow, quick])).result is PASS


def test_the_restore_time_is_predicted_for_the_newest_backups_size() -> None:
    measured = backup(48, id="small", plain_bytes=40 * MEGABYTE, restored_at=NOW, restore_seconds=600)
    health = health_of([backup(1, id="grown", plain_bytes=100 * MEGABYTE), measured])

    (time,) = health.recovery_times
    assert (time.type, time.target_seconds, time.measured_on, time.predicted_for) == ("full", 1800, "small", "grown")
    assert (time.measured_seconds, time.predicted_seconds) == (600, 1500)
    assert time.bytes_per_second == pytest.approx(40 * MEGABYTE / 600)
    found = control("RTO met", health)
    assert found.result is PASS
    assert "small was restored into a scratch server in 10m 00s" in found.evidence
    assert "at its rate of 69.9 kB/s uncompressed, grown would take 25m 00s" in found.evidence
    assert "the target of full backups is 30m 00s" in found.evidence


def test_a_database_that_has_grown_too_large_for_its_rto_misses_it_before_the_next_drill() -> None:
    measured = backup(48, plain_bytes=40 * MEGABYTE, restored_at=NOW, restore_seconds=600)
    health = health_of([backup(1, plain_bytes=121 * MEGABYTE), measured])

    assert control("RTO met", health).result is FAIL
    assert health.misses_objective


def test_a_small_restores_scratch_server_is_not_taken_for_a_slow_restore() -> None:
    small = backup(48, plain_bytes=MEGABYTE, restored_at=NOW, restore_seconds=4, restore_setup_seconds=3)
    health = health_of([backup(1, plain_bytes=600 * MEGABYTE), small])

    (time,) = health.recovery_times
    assert time.predicted_seconds == 603
    found = control("RTO met", health)
    assert found.result is PASS
    assert (
        "at its rate of 1.0 MB/s uncompressed, and 3.00s for the server, full-1h would take 10m 03s" in found.evidence
    )


def test_without_plain_bytes_nothing_is_predicted() -> None:
    empty = backup(48, type=BackupType.STRUCTURE, plain_bytes=0, restored_at=NOW, restore_seconds=2)
    health = health_of([backup(1, type=BackupType.STRUCTURE), empty])

    (time,) = health.recovery_times
    assert time.predicted_seconds is None
    assert control("RTO met", health).result is PASS


def test_an_rto_that_was_not_measured_says_so() -> None:
    assert "Not measured yet" in control("RTO met", health_of([backup()])).evidence


@pytest.mark.parametrize(
    ("ago", "result"), [(timedelta(days=30), PASS), (timedelta(days=30, microseconds=1), FAIL), (None, FAIL)]
)
def test_a_restore_proves_for_30_days(ago: timedelta | None, result: ControlResult) -> None:
    health = health_of([backup(restored_at=NOW - ago if ago is not None else None)])

    assert control("verified restore within 30 days", health).result is result


def test_a_restored_structure_proves_no_data() -> None:
    health = health_of([backup(), backup(2, type=BackupType.STRUCTURE, restored_at=NOW)])

    assert control("verified restore within 30 days", health).result is FAIL


def test_a_bad_backup_is_named() -> None:
    bad = [backup(1, id="one", status=BackupStatus.SUSPECT), backup(2, id="two", status=BackupStatus.UNVERIFIED)]
    found = control("no backup failed verification", health_of(bad))

    assert (found.result, "one" in found.evidence, "two" in found.evidence) == (FAIL, True, False)
    assert control("no backup failed verification", health_of(bad[1:])).result is PASS
    assert control("no backup failed verification", health_of()).result is NOT_APPLICABLE


def test_many_bad_backups_are_counted() -> None:
    bad = [backup(hours, id=f"b{hours}", status=BackupStatus.SUSPECT) for hours in range(5)]

    assert "b0, b1, b2 and 2 more" in control("no backup failed verification", health_of(bad)).evidence


@pytest.mark.parametrize(
    ("backups", "result"),
    [
        ([], FAIL),
        ([backup()], FAIL),
        ([backup(storages=("local", "s3"))], PASS),
        ([backup(1), backup(30, storages=("s3",))], PASS),
        ([backup(1), backup(30, storages=("s3",), status=BackupStatus.FAILED_VERIFICATION)], FAIL),
    ],
)
def test_a_restorable_copy_lies_off_site(backups: list[BackupRecord], result: ControlResult) -> None:
    assert control("off-site copy exists", health_of(backups)).result is result


def test_one_plain_backup_is_enough_to_leak() -> None:
    mixed = [backup(1, encrypted=True), backup(2)]

    assert control("encrypted", health_of(mixed)).result is FAIL
    assert control("encrypted", health_of(mixed[:1])).result is PASS
    assert control("encrypted", health_of()).result is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("size_bytes", "result"),
    [
        (800 * MEGABYTE - 1, PASS),
        (800 * MEGABYTE, WARNING),
        (1000 * MEGABYTE, WARNING),
        (1000 * MEGABYTE + 1, FAIL),
    ],
)
def test_size_warns_from_80_percent_of_the_limit(size_bytes: int, result: ControlResult) -> None:
    health = health_of([backup(size_bytes=size_bytes)], max_size_bytes=1000 * MEGABYTE)

    assert control("size below the limit", health).result is result


def test_size_is_that_of_the_newest_backup_of_any_type() -> None:
    limit = {"max_size_bytes": 100 * MEGABYTE}
    small, large = backup(1), backup(2, type=BackupType.DATA, size_bytes=90 * MEGABYTE)
    shrunk = backup(0.5, type=BackupType.DATA, size_bytes=MEGABYTE)

    assert control("size below the limit", health_of([small, large], **limit)).result is WARNING
    assert control("size below the limit", health_of([small, large, shrunk], **limit)).result is PASS


def test_without_a_limit_no_size_is_too_large() -> None:
    huge = health_of([backup(size_bytes=1 << 50)], max_size_bytes=None)

    assert control("size below the limit", huge).result is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("newest_mb", "result"), [(100, PASS), (50, PASS), (49, FAIL), (200, PASS), (201, FAIL), (0, FAIL)]
)
def test_size_is_usual_between_half_and_twice_the_median(newest_mb: int, result: ControlResult) -> None:
    earlier = [backup(24 * day, plain_bytes=size * MEGABYTE) for day, size in enumerate((99, 100, 5000), start=1)]
    newest = backup(0, plain_bytes=newest_mb * MEGABYTE)

    assert control("size within the usual range", health_of([newest, *earlier])).result is result


def test_what_is_usual_takes_some_backups_to_tell() -> None:
    few = [backup(0, plain_bytes=0), backup(1), backup(2), backup(3, type=BackupType.STRUCTURE)]

    assert control("size within the usual range", health_of(few)).result is NOT_APPLICABLE
    assert control("size within the usual range", health_of([*few, backup(4)])).result is FAIL


def test_a_backup_dated_in_the_future_is_reported() -> None:
    found = control("no backup dated in the future", health_of([backup(-24, id="tomorrow")]))

    assert (found.result, "tomorrow" in found.evidence) == (FAIL, True)
    assert control("no backup dated in the future", health_of([backup()])).result is PASS


def test_a_missed_objective_alarms_whatever_the_score() -> None:
    week = [backup(25 + 24 * day) for day in range(7)]
    missed, met = health_of(week), health_of([backup(1), *week])

    assert missed.score >= 60
    assert overall([missed], now=NOW).alarming
    assert not overall([met], now=NOW).alarming
    assert overall([met, missed], now=NOW).alarming


def test_other_failed_controls_do_not_alarm() -> None:
    health = health_of([backup()])

    assert control("encrypted", health).result is FAIL
    assert not overall([health], now=NOW).alarming


@pytest.mark.parametrize(
    ("kit", "result", "words"),
    [
        (None, NOT_APPLICABLE, "no backup.yaml"),
        (KitRecord(None), WARNING, "None was exported"),
        (KitRecord(NOW - timedelta(days=90)), PASS, "still the same"),
        (KitRecord(NOW - timedelta(days=90, seconds=1)), WARNING, "may have changed"),
        (KitRecord(NOW - timedelta(days=1), outdated=True), WARNING, "has changed since"),
    ],
)
def test_a_break_glass_kit_is_wanted_that_is_young_and_of_this_configuration(
    kit: KitRecord | None, result: ControlResult, words: str
) -> None:
    found = control("break-glass kit", health_of([backup()], kit=kit))
    assert (found.result, found.objective) == (result, False)
    assert words in found.evidence


def test_a_safety_backup_is_no_backup_to_restore_from_and_a_file_all_the_same() -> None:
    """It meets no objective; that it is bad, or plain text, or dated in the future is told of it too."""
    undo = backup(1, id="undo", safety=True, restored_at=NOW, restore_seconds=1.0, storages=("local", "s3"))
    alone = health_of([undo])
    for name in ("RPO met", "verified restore within 30 days", "off-site copy exists"):
        assert control(name, alone).result is FAIL
    for name in ("RTO met", "size below the limit", "size within the usual range"):
        assert control(name, alone).result is NOT_APPLICABLE
    assert "undo" in control("encrypted", alone).evidence

    bad = health_of([backup(2), replace(undo, status=BackupStatus.SUSPECT)])
    assert "undo" in control("no backup failed verification", bad).evidence
    later = health_of([backup(2), replace(undo, created_at=NOW + timedelta(hours=1))])
    assert "undo" in control("no backup dated in the future", later).evidence
