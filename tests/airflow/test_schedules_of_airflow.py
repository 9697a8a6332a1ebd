"""Our plan of the next runs against Airflow's own: the same moments, through years of clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from db_backup.schedules import Schedule

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
