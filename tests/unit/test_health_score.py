"""The health score: SPEC §6's table, by hand-computed cases and by what must hold for every history."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup.health import AttemptRecord, BackupRecord, HealthStatus, assess, overall, status_of
from db_backup.health.score import rounded
from db_backup.model import BackupStatus, BackupType
from support.health_records import NOW, attempt, backup, expectations, health_of, points_of

pytestmark = pytest.mark.unit

GOOD, UNVERIFIED, FAILED, SUSPECT, DELETING = BackupStatus
FULL, INCREMENTAL, STRUCTURE, DATA = BackupType

HOUR = 1.0
MICROSECOND = 1 / 3_600_000_000


def week(**overrides: object) -> list[BackupRecord]:
    """A good full of each of the last seven days, the newest an hour old."""
    return [backup(1 + 24 * day, **overrides) for day in range(7)]


# Histories, with their components (age, verification, diversity, coverage, compression, trend) and score
# computed by hand from the table of SPEC §6.
HAND_COMPUTED = {
    "nothing at all": ([], [], (0, 0, 0, 0, 0, 20), 20),
    "one fresh verified full": ([backup()], [], (30, 25, 5, 10 / 7, 5, 20), 86),
    "one fresh unverified full": ([backup(status=UNVERIFIED)], [], (30, 0, 5, 10 / 7, 5, 20), 61),
    "one that failed verification": ([backup(status=FAILED)], [], (0, 0, 5, 10 / 7, 5, 20), 31),
    "one that is suspect": ([backup(status=SUSPECT)], [], (0, 0, 5, 10 / 7, 5, 20), 31),
    "one that is being deleted": ([backup(status=DELETING)], [], (0, 0, 0, 0, 0, 20), 20),
    "a week of fulls": (week(), [], (30, 25, 5, 10, 5, 20), 95),
    "a week of fulls and a structure": ([*week(), backup(30, type=STRUCTURE)], [], (30, 25, 10, 10, 5, 20), 100),
    "six fulls": (week()[:6], [], (30, 25, 5, 60 / 7, 5, 20), 94),
    "exactly 24 hours old": ([backup(24)], [], (30, 25, 5, 10 / 7, 5, 20), 86),
    "36 hours old": ([backup(36)], [], (22.5, 25, 5, 10 / 7, 5, 20), 79),
    "48 hours old": ([backup(48)], [], (15, 25, 5, 10 / 7, 5, 20), 71),
    "60 hours old": ([backup(60)], [], (7.5, 25, 5, 10 / 7, 5, 20), 64),
    "exactly 72 hours old": ([backup(72)], [], (0, 25, 5, 10 / 7, 5, 20), 56),
    "a year old": ([backup(365 * 24)], [], (0, 25, 5, 10 / 7, 5, 20), 56),
    "half of four verified, none compressed": (
        [backup(h, status=GOOD if h < 3 else UNVERIFIED, compressed=False) for h in (1, 2, 3, 4)],
        [],
        (30, 12.5, 5, 40 / 7, 0, 20),
        73,
    ),
    "only structures": ([backup(type=STRUCTURE)], [], (0, 25, 5, 10 / 7, 5, 20), 56),
    "failures where there were none": (
        week(),
        [attempt(1, failed=True), attempt(2), attempt(3), attempt(4), attempt(8)],
        (30, 25, 5, 10, 5, 15),
        90,
    ),
    "everything fails now": (week(), [attempt(1, failed=True), attempt(8)], (30, 25, 5, 10, 5, 0), 75),
    "failing less than before": (
        week(),
        [attempt(1, failed=True), attempt(2), attempt(8, failed=True)],
        (30, 25, 5, 10, 5, 20),
        95,
    ),
    "a half point is rounded up": (
        [backup(h, status=GOOD if h < 4 else FAILED) for h in range(8)],
        [],
        (30, 12.5, 5, 10, 5, 20),
        83,
    ),
}


@pytest.mark.parametrize("name", HAND_COMPUTED)
def test_the_table_of_the_specification(name: str) -> None:
    backups, attempts, points, score = HAND_COMPUTED[name]

    health = health_of(backups, attempts)

    assert tuple(points_of(health).values()) == pytest.approx(points)
    assert health.score == score


def test_the_components_are_those_of_the_specification() -> None:
    assert {component.name: component.max_points for component in health_of().components} == {
        "recent backup age": 30,
        "verification": 25,
        "diversity": 10,
        "retention coverage": 10,
        "compression": 5,
        "error trend": 20,
    }


@pytest.mark.parametrize(
    ("hours", "points"),
    [
        (0, 30.0),
        (24 - MICROSECOND, 30.0),
        (24, 30.0),
        (24 + 1.6, 29.0),
        (48, 15.0),
        (72 - 1.6, 1.0),
        (72, 0.0),
        (72 + MICROSECOND, 0.0),
    ],
)
def test_age_loses_its_points_between_one_day_and_three(hours: float, points: float) -> None:
    assert points_of(health_of([backup(hours)]))["recent backup age"] == pytest.approx(points)


def test_a_microsecond_after_a_day_the_first_of_the_points_is_lost() -> None:
    just_over = backup(24, created_at=NOW - timedelta(days=1, microseconds=1))

    assert 29.9999999 < points_of(health_of([just_over]))["recent backup age"] < 30


@pytest.mark.parametrize(
    ("kept", "points"), [(0, 0), (1, 10 / 7), (6, 60 / 7), (7, 10), (8, 10)], ids=lambda value: f"{value:.3g}"
)
def test_seven_backups_cover_retention(kept: int, points: float) -> None:
    assert points_of(health_of([backup(hours) for hours in range(kept)]))["retention coverage"] == pytest.approx(points)


@pytest.mark.parametrize(
    ("types", "points"), [((), 0), ((FULL,), 5), ((FULL, FULL), 5), ((FULL, DATA), 10), ((FULL, DATA, STRUCTURE), 10)]
)
def test_two_types_are_diverse(types: tuple[BackupType, ...], points: int) -> None:
    backups = [backup(hours, type=backup_type) for hours, backup_type in enumerate(types)]

    assert points_of(health_of(backups))["diversity"] == points


@pytest.mark.parametrize(
    ("age_days", "counted_as"),
    [(0, "last"), (7, "last"), (7.001, "before"), (14, "before"), (14.001, "neither")],
)
def test_the_trend_compares_two_weeks(age_days: float, counted_as: str) -> None:
    """Beside one success in each week, a failure costs 10 in the last one, excuses one in the week before."""
    both = [attempt(1), attempt(8)]

    alone = points_of(health_of([], [*both, attempt(age_days, failed=True)]))["error trend"]
    excused = points_of(health_of([], [*both, attempt(2, failed=True), attempt(age_days, failed=True)]))["error trend"]

    assert (alone, round(excused, 3)) == {
        "last": (10, 6.667),
        "before": (20, 20),
        "neither": (20, 10),
    }[counted_as]


def test_no_attempts_are_no_failures() -> None:
    assert points_of(health_of([], []))["error trend"] == 20
    assert points_of(health_of([], [attempt(1, failed=True)]))["error trend"] == 0
    assert points_of(health_of([], [attempt(8, failed=True)]))["error trend"] == 20


def test_increments_count_for_age_while_their_chain_is_whole() -> None:
    chain = [
        backup(100, id="base"),
        backup(50, id="first", type=INCREMENTAL, parent_id="base"),
        backup(12, id="second", type=INCREMENTAL, parent_id="first", status=UNVERIFIED),
    ]

    assert points_of(health_of(chain))["recent backup age"] == 30
    assert points_of(health_of([chain[0], chain[2]]))["recent backup age"] == 0  # "first" is gone
    assert points_of(health_of(chain[1:]))["recent backup age"] == 0  # the base is
    broken = dataclasses.replace(chain[1], status=FAILED)
    assert points_of(health_of([chain[0], broken, chain[2]]))["recent backup age"] == 0


def test_a_chain_that_leads_in_a_circle_is_broken() -> None:
    circle = [backup(1, id="a", type=INCREMENTAL, parent_id="b"), backup(2, id="b", type=INCREMENTAL, parent_id="a")]

    assert points_of(health_of(circle))["recent backup age"] == 0


@pytest.mark.parametrize(
    "newer",
    [
        backup(1, type=STRUCTURE),
        backup(1, type=DATA),
        backup(1, status=FAILED),
        backup(1, status=SUSPECT),
        backup(1, status=DELETING),
        backup(1, storages=()),
        backup(-1),
    ],
    ids=["structure", "data", "failed", "suspect", "deleting", "without a copy", "dated in the future"],
)
def test_what_cannot_be_restored_makes_nothing_younger(newer: BackupRecord) -> None:
    assert points_of(health_of([newer, backup(48)]))["recent backup age"] == 15


def test_a_backup_from_a_host_whose_clock_is_a_little_ahead_counts() -> None:
    assert points_of(health_of([backup(-1 / 60)]))["recent backup age"] == 30


def test_a_backup_dated_in_the_future_counts_for_nothing() -> None:
    assert points_of(health_of([backup(-24)])) == points_of(health_of([]))


@pytest.mark.parametrize(
    ("score", "status"),
    [(100, "excellent"), (95, "excellent"), (94, "good"), (80, "good"), (79, "warning"), (60, "warning"),
     (59, "critical"), (0, "critical")],
)  # fmt: skip
def test_a_status_begins_at_its_score(score: int, status: str) -> None:
    assert status_of(score) == status


@pytest.mark.parametrize(("points", "score"), [("59.5", 60), ("94.5", 95), ("94.49", 94), ("0.5", 1), ("86", 86)])
def test_a_half_is_rounded_up(points: str, score: int) -> None:
    assert rounded(Fraction(points)) == score


def test_the_overall_score_is_the_lowest() -> None:
    health = overall([health_of(week()), health_of([backup(status=UNVERIFIED)]), health_of([backup()])], now=NOW)

    assert (health.score, health.status) == (61, HealthStatus.WARNING)


def test_nothing_configured_is_nothing_protected() -> None:
    assert (overall([], now=NOW).score, overall([], now=NOW).status) == (0, HealthStatus.CRITICAL)


def test_the_document_has_the_promised_shape() -> None:
    document = json.loads(overall([health_of([backup(60)])], now=NOW).model_dump_json())

    assert {"score", "status", "databases"} <= document.keys()
    (entry,) = document["databases"]
    assert {"database", "score", "status", "components", "controls"} <= entry.keys()
    assert entry["components"][0] == {
        "name": "recent backup age",
        "points": 7.5,
        "max_points": 30,
        "reason": "The newest restorable backup, full-60h, is 2d 12h old; from 24 hours on points are lost, "
        "at 72 hours all are.",
        "improvement": "Make a full backup: `db-backup create shop`.",
    }
    assert {"name", "result", "evidence"} <= entry["controls"][0].keys()


ages = st.integers(min_value=-(10**10), max_value=10**13).map(lambda us: NOW - timedelta(microseconds=us))


@st.composite
def records(draw: st.DrawFn) -> BackupRecord:
    moment: datetime = draw(ages)
    return backup(
        id=draw(st.sampled_from("abcdefgh")),
        type=draw(st.sampled_from(BackupType)),
        status=draw(st.sampled_from(BackupStatus)),
        created_at=moment,
        recovery_point=moment,
        compressed=draw(st.booleans()),
        encrypted=draw(st.booleans()),
        size_bytes=draw(st.integers(0, 1 << 41)),
        plain_bytes=draw(st.integers(0, 1 << 41)),
        duration_seconds=draw(st.floats(0, 1e6)),
        storages=draw(st.sampled_from([(), ("local",), ("local", "s3")])),
        parent_id=draw(st.sampled_from([None, *"abcdefgh"])),
        restored_at=draw(st.none() | ages),
        restore_seconds=draw(st.none() | st.floats(0, 1e6)),
    )


histories = st.lists(records(), max_size=12, unique_by=lambda record: record.id)
tries = st.lists(st.builds(AttemptRecord, ages, st.booleans()), max_size=12)


@given(histories, tries)
def test_every_score_is_explained_and_within_its_bounds(
    backups: list[BackupRecord], attempts: list[AttemptRecord]
) -> None:
    health = health_of(backups, attempts)

    assert 0 <= health.score <= 100
    assert health.score == rounded(sum(component.points for component in health.components))
    for component in health.components:
        assert 0 <= component.points <= component.max_points
        assert component.reason.endswith(".")
        assert bool(component.improvement) is (component.points < component.max_points)
    assert all(control.evidence.endswith(".") for control in health.controls)


@given(histories, tries, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_age_points_never_grow_while_nothing_happens(
    backups: list[BackupRecord], attempts: list[AttemptRecord], passed: timedelta
) -> None:
    past = [record for record in backups if record.created_at <= NOW]

    later = assess("shop", past, attempts, expectations(), now=NOW + passed)

    assert points_of(later)["recent backup age"] <= points_of(health_of(past, attempts))["recent backup age"]


@given(histories, tries)
def test_a_new_verified_full_never_costs_points(backups: list[BackupRecord], attempts: list[AttemptRecord]) -> None:
    more = [backup(0, id="newest"), *backups]

    before, after = points_of(health_of(backups, attempts)), points_of(health_of(more, attempts))

    assert all(after[name] >= before[name] for name in before)


@given(histories.filter(bool), tries)
def test_proving_a_backup_never_costs_points(backups: list[BackupRecord], attempts: list[AttemptRecord]) -> None:
    first, *others = backups
    unproven = dataclasses.replace(first, status=UNVERIFIED)
    proven = dataclasses.replace(first, status=GOOD)

    assert health_of([proven, *others], attempts).score >= health_of([unproven, *others], attempts).score


@given(tries, st.floats(0, 7))
def test_a_new_failure_never_raises_the_score(attempts: list[AttemptRecord], days: float) -> None:
    more = [*attempts, attempt(days, failed=True)]

    assert health_of([backup()], more).score <= health_of([backup()], attempts).score


@given(histories, tries, st.randoms())
def test_the_order_of_what_is_given_does_not_matter(
    backups: list[BackupRecord], attempts: list[AttemptRecord], random: object
) -> None:
    shuffled = [*backups]
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert points_of(health_of(shuffled, attempts[::-1])) == points_of(health_of(backups, attempts))


def test_safety_backups_neither_raise_nor_lower_the_score() -> None:
    undo = [
        backup(0.5, id="undo", safety=True, restored_at=NOW, restore_seconds=1.0, compressed=False, plain_bytes=1),
        backup(0.2, id="doubtful", safety=True, status=UNVERIFIED),
        backup(0.1, id="spoilt", safety=True, status=SUSPECT),
    ]
    for history in ([], [backup(60, restored_at=NOW, restore_seconds=5.0)], week()[:3]):
        with_them, without = health_of([*undo, *history]), health_of(history)
        assert with_them.components == without.components
        assert with_them.recovery_times == without.recovery_times
