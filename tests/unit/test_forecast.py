"""When a storage is full: from what it held day by day, and from its limit."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from db_backup.health.forecast import Growth, Level, Room, forecast, growth
from support.health_records import NOW

pytestmark = pytest.mark.unit

GIGABYTE = 1_000_000_000
MONTH = timedelta(days=30)


def days(count: int, size_bytes: Callable[[int], float]) -> list[Level]:
    """One figure a day for so many days, up to now; by the number of the day."""
    return [Level(NOW - timedelta(days=count - 1 - day), round(size_bytes(day))) for day in range(count)]


def pace(bytes_per_day: float | None, over: timedelta = MONTH) -> Growth:
    return Growth(bytes_per_day, over, 31)


def test_what_grows_by_a_gigabyte_a_day_is_told_so() -> None:
    found = growth(days(31, lambda day: 5 * GIGABYTE + day * GIGABYTE), NOW)

    assert found.bytes_per_day == pytest.approx(GIGABYTE)
    assert str(found) == "it grows by 1.0 GB a day (over the last 30d 0h)"


def test_a_steady_state_does_not_grow_whatever_comes_and_goes() -> None:
    """A full of 7 GB on Sundays, kept for three weeks, and a GB of increments a day until the next."""
    found = growth(days(31, lambda day: (21 + day % 7) * GIGABYTE), NOW)

    assert found.bytes_per_day is not None
    assert abs(found.bytes_per_day) < 0.1 * GIGABYTE


def test_what_shrinks_is_told_so() -> None:
    assert str(growth(days(31, lambda day: (40 - day) * GIGABYTE), NOW)).startswith("it shrinks by 1.0 GB a day")


def test_only_the_last_thirty_days_count() -> None:
    """It doubled long ago."""
    figures = days(80, lambda day: 50 * GIGABYTE if day < 40 else 100 * GIGABYTE)

    assert growth(figures, NOW).bytes_per_day == pytest.approx(0)


def test_figures_may_come_in_any_order_and_miss_days() -> None:
    figures = days(31, lambda day: day * GIGABYTE)
    thinned = figures[::3]
    random.Random(7).shuffle(thinned)

    assert growth(thinned, NOW).bytes_per_day == pytest.approx(GIGABYTE)


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ([], "0 of 4 figures, over 0.00s"),
        (days(7, float), "7 of 4 figures, over 6d 0h"),
        ([Level(NOW - timedelta(days=20), 0), Level(NOW, 9)], "2 of 4 figures, over 20d 0h"),
    ],
    ids=["none", "six days", "two figures"],
)
def test_too_little_history_says_so_instead_of_a_number(figures: list[Level], told: str) -> None:
    found = growth(figures, NOW)

    assert found.bytes_per_day is None
    assert str(found) == f"how fast it grows cannot be told yet ({told} of 7d 0h)"


@pytest.mark.parametrize(
    ("used", "limit", "speed", "full_in"),
    [
        (40, 100, 2, timedelta(days=30)),
        (99, 100, 2, timedelta(hours=12)),
        (100, 100, 2, timedelta(0)),
        (120, 100, -5, timedelta(0)),
        (40, 100, 0, None),
        (40, 100, -1, None),
        (40, 100, None, None),
        (40, 100_000, 0.01, None),
    ],
)
def test_a_limit_is_reached_when_what_is_left_is_used_up(
    used: int, limit: int, speed: float | None, full_in: timedelta | None
) -> None:
    per_day = None if speed is None else speed * GIGABYTE
    room = Room("the disk", used * GIGABYTE, limit * GIGABYTE)

    assert room.full_in(pace(per_day)) == full_in


@pytest.mark.parametrize(
    ("room", "speed", "told"),
    [
        (
            Room("the disk", 40 * GIGABYTE, 100 * GIGABYTE),
            2 * GIGABYTE,
            "40.0 GB of 100.0 GB of the disk, 40%; it grows by 2.0 GB a day (over the last 30d 0h); at this pace it is "
            "full in 30 days",
        ),
        (Room("its quota", 99, 100), 2, "at this pace it is full in less than a day"),
        (Room("its quota", 98, 100), 2, "at this pace it is full in a day"),
        (Room("its quota", 98, 100), -2, "at this pace it does not fill up"),
        (Room("its quota", 101, 100), -2, "there is no room left"),
        (
            Room("its quota", 98, 100),
            None,
            "cannot be told yet (31 of 4 figures, over 30d 0h of 7d 0h)",
        ),
    ],
)
def test_a_forecast_says_what_it_goes_by(room: Room, speed: float | None, told: str) -> None:
    assert forecast(room, pace(speed)).endswith(told)


def test_a_limit_of_nothing_is_full() -> None:
    assert Room("its quota", 0, 0).share == 1
