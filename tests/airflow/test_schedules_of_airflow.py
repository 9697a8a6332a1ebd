"""Our plan of the next runs against Airflow's own: the same moments, through years of clocks that change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db_backup.schedules import Schedule
from support.dag_runs import dag_named

pytestmark = pytest.mark.airflow

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["0 3 * * *", "30 2 * * *", "15 0 * * *", "0 4 * * 0", "0 9-18 * * 1-5"])
def test_the_next_runs_are_airflows(zone: str, cron: str) -> None:
    from airflow.timetables.trigger import CronTriggerTimetable
    from pendulum import instance

    timetable = CronTriggerTimetable(cron, timezone=zone)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ours = Schedule("x", cron, ZoneInfo(zone)).next_runs(start, 1000)

    theirs = [timetable._get_next(instance(start))]
    while len(theirs) < 1000:
        theirs.append(timetable._get_next(theirs[-1]))

    assert ours[-1] - start > timedelta(days=100)
    assert [run.astimezone(UTC) for run in ours] == [run.astimezone(UTC) for run in theirs]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("cron", "start"),
    [
        ("*/5 * * * *", datetime(2026, 3, 29, tzinfo=UTC)),
        ("*/5 * * * *", datetime(2026, 10, 24, 22, tzinfo=UTC)),
        ("0 0-23 * * 1-5", datetime(2026, 3, 27, tzinfo=UTC)),  # the clocks change between Friday and Monday
        ("0 0-23 * * 1-5", datetime(2026, 10, 23, tzinfo=UTC)),
    ],
)
def test_what_runs_in_every_hour_is_airflows_while_clocks_change(zone: str, cron: str, start: datetime) -> None:
    from airflow.timetables.trigger import CronTriggerTimetable
    from pendulum import instance

    timetable = CronTriggerTimetable(cron, timezone=zone)
    theirs = [timetable._get_next(instance(start))]
    while len(theirs) < 60:
        theirs.append(timetable._get_next(theirs[-1]))

    ours = Schedule("x", cron, ZoneInfo(zone)).next_runs(start, 60)
    assert [run.astimezone(UTC) for run in ours] == [run.astimezone(UTC) for run in theirs]


NIGHTS_OF_SPRING = ["2026-03-28T{0}+01:00", "2026-03-29T{1}+02:00", "2026-03-30T{0}+02:00"]
NIGHTS_OF_AUTUMN = ["2026-10-24T{0}+02:00", "2026-10-25T{1}+01:00", "2026-10-26T{0}+01:00"]


@pytest.mark.parametrize(
    ("at", "nights", "on_the_night"),
    [
        ("03:00", NIGHTS_OF_SPRING, "03:00"),  # the very moment at which 02:00 becomes 03:00
        ("02:30", NIGHTS_OF_SPRING, "03:30"),  # skipped by the clocks, made up for at once
        ("03:00", NIGHTS_OF_AUTUMN, "03:00"),
        ("02:30", NIGHTS_OF_AUTUMN, "02:30"),  # comes twice, and runs once, the second time
    ],
)
def test_the_daily_run_starts_once_a_night_while_clocks_change(
    project: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    nights: list[str],
    on_the_night: str,
) -> None:
    """As the scheduler asks the DAG's own timetable, run after run."""
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    project()
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("BACKUP_DAILY_TIME", at)
    timetable = coerce_to_core_timetable(dag_named("backup_daily").timetable)
    expected = [datetime.fromisoformat(night.format(at, on_the_night)).astimezone(UTC) for night in nights]

    # Catching up, so that these nights are asked for, whenever the test runs.
    since = TimeRestriction(earliest=expected[0] - timedelta(hours=3), latest=None, catchup=True)
    last, starts = None, []
    for _ in nights:
        following = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=since)
        assert following is not None
        last = following.data_interval
        starts.append(following.run_after.astimezone(UTC))

    assert starts == expected
