"""Recovery objectives: what may be lost, at which hours of the week."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from db_backup.config import Entry, load_config
from db_backup.config.window import WeeklyWindow
from db_backup.jobs.objectives import recovery_point
from db_backup.settings import Settings, load_settings

pytestmark = pytest.mark.unit

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    """2026-03-27 is a Friday, and the clocks go forward on the Sunday after it."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("window", "moment", "opened"),
    [
        ("Mon-Fri 09:00-18:00", "2026-03-27T09:00", "2026-03-27T09:00"),
        ("Mon-Fri 09:00-18:00", "2026-03-27T17:59:59", "2026-03-27T09:00"),
        ("Mon-Fri 09:00-18:00", "2026-03-27T18:00", None),
        ("Mon-Fri 09:00-18:00", "2026-03-27T08:59:59", None),
        ("Mon-Fri 09:00-18:00", "2026-03-28T10:00", None),
        ("fri - mon 9:00 - 10:30", "2026-03-29T10:00", "2026-03-29T09:00"),
        ("Fri-Mon 09:00-10:30", "2026-03-31T10:00", None),
        ("Sat,Sunday 00:00-24:00", "2026-03-29T23:59", "2026-03-28T00:00"),
        ("Mon-Sun 00:00-24:00", "2026-03-29T01:00", "2026-03-22T00:00"),
        ("Fri 22:00-06:00", "2026-03-28T05:59", "2026-03-27T22:00"),
        ("Fri 22:00-06:00", "2026-03-28T06:00", None),
        ("Fri 22:00-06:00", "2026-03-27T05:00", None),
    ],
)
def test_a_window_is_open_on_its_days_from_its_first_moment_to_before_its_last(
    window: str, moment: str, opened: str | None
) -> None:
    found = WeeklyWindow.parse(window).opened(at(moment))
    assert found == (None if opened is None else at(opened))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mon-Fri",
        "09:00-18:00",
        "Mon-Fri 9-18",
        "Mon-Fry 09:00-18:00",
        "Mon 09:00-25:00",
        "Mon 09:61-10:00",
        "Mon 09:00-09:00",
        "Mon 24:00-10:00",
        "Mon,, 09:00-10:00",
        "- 09:00-10:00",
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        WeeklyWindow.parse(text)


def test_a_windows_hours_are_counted_in_real_time_when_the_clocks_change() -> None:
    opened = WeeklyWindow.parse("Sun 00:00-12:00").opened(at("2026-03-29T06:00"))
    assert opened is not None
    assert (at("2026-03-29T06:00").timestamp() - opened.timestamp()) == 5 * 3600


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., tuple[Entry, Settings]]:
    def read(keys: str, **variables: str) -> tuple[Entry, Settings]:
        (tmp_path / "backup.yaml").write_text(f"databases:\n  shop: {{conn_id: a, engine: sqlite, {keys}}}\n")
        environment = {"BACKUP_CONFIG": str(tmp_path / "backup.yaml"), "BACKUP_TIMEZONE": "Europe/Berlin", **variables}
        settings = load_settings(environment, root=tmp_path)
        return load_config(settings).entry("shop"), settings

    return read


def test_outside_of_its_window_another_target_holds(entry: Callable[..., tuple[Entry, Settings]]) -> None:
    shop = entry("objectives: {rpo_minutes: 60, window: 'Mon-Fri 09:00-18:00', otherwise: 720}")
    assert recovery_point(*shop, at("2026-03-28T10:00")) == (12 * HOUR, None)
    target, window = recovery_point(*shop, at("2026-03-27T10:00"))
    assert window is not None
    assert (target, window.recovery_point, window.since) == (12 * HOUR, HOUR, at("2026-03-27T09:00"))
    assert window.name == "Mon-Fri 09:00-18:00"


def test_a_windows_hours_are_those_of_the_backups_time_zone(entry: Callable[..., tuple[Entry, Settings]]) -> None:
    shop, settings = entry("objectives: {rpo_minutes: 60, window: 'Mon-Fri 09:00-18:00'}")
    utc = ZoneInfo("UTC")
    assert recovery_point(shop, settings, at("2026-03-27T08:00", utc))[1] is not None
    assert recovery_point(shop, settings, at("2026-03-27T07:59", utc)) == (DAY, None)


def test_what_was_changed_before_a_window_may_be_lost_as_in_it_at_least(
    entry: Callable[..., tuple[Entry, Settings]],
) -> None:
    shop = entry("objectives: {rpo_minutes: 120, window: 'Mon-Fri 09:00-18:00', otherwise: 15}")
    assert recovery_point(*shop, at("2026-03-27T09:30"))[0] == 2 * HOUR


@pytest.mark.parametrize(
    ("keys", "hourly", "expected"),
    [
        ("types: [full, incremental]", "true", HOUR),
        ("types: [full, incremental]", "false", None),
        ("types: [full]", "true", None),
        ("types: [full, incremental], objectives: {rpo_minutes: 300}", "true", None),
        ("types: [full, incremental], tier: critical", "true", None),
    ],
)
def test_hourly_increments_are_held_to_business_hours(
    entry: Callable[..., tuple[Entry, Settings]], keys: str, hourly: str, expected: timedelta | None
) -> None:
    shop = entry(keys, BACKUP_HOURLY_ENABLED=hourly, BACKUP_HOURLY_WINDOW="09-18")
    window = recovery_point(*shop, at("2026-03-27T17:59"))[1]
    assert (window and window.recovery_point) == expected
    assert recovery_point(*shop, at("2026-03-27T18:00"))[1] is None


@pytest.mark.parametrize(
    ("keys", "target"),
    [
        ("types: [full]", DAY),
        ("types: [full, incremental], tier: critical", timedelta(minutes=15)),
        ("objectives: {rpo_minutes: 5}", timedelta(minutes=5)),
    ],
)
def test_without_a_window_one_target_holds_always(
    entry: Callable[..., tuple[Entry, Settings]], keys: str, target: timedelta
) -> None:
    assert recovery_point(*entry(keys), at("2026-03-27T10:00")) == (target, None)
