"""When the DAGs run: from the settings, in any time zone, on the nights when clocks change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from db_backup.model import ConnectionInfo, EngineName
from db_backup.schedules import (
    DEFAULT_CRITICAL,
    DEFAULT_DAILY,
    DEFAULT_DRILL,
    DEFAULT_HOURLY,
    DEFAULT_VERIFICATION,
    DEFAULT_WEEKLY,
    Schedule,
    all_schedules,
    critical_schedule,
    daily_schedule,
    drill_schedule,
    hourly_schedule,
    verification_schedule,
    weekly_schedule,
)
from db_backup.settings import Weekday, load_settings
from support.project import Project

pytestmark = pytest.mark.unit

BERLIN = ZoneInfo("Europe/Berlin")
ROOT = Path(__file__).resolve().parents[2]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def schedule(at: time = time(2, 30), zone: ZoneInfo = BERLIN) -> Schedule:
    return Schedule("backup_daily", f"{at.minute} {at.hour} * * *", zone)


def test_every_dag_file_with_a_schedule_is_listed(tmp_path: Path) -> None:
    settings = load_settings({"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path)
    without_schedule = {"backup_on_demand", "backup_restore"}
    files = {path.stem for path in (ROOT / "dags").glob("backup_*.py")}
    assert {item.dag_id for item in all_schedules(settings, critical=True)} == files - without_schedule


def test_the_daily_schedule_follows_the_settings(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_DAILY_TIME": "22:05", "BACKUP_TIMEZONE": "Asia/Kathmandu"}
    found = daily_schedule(load_settings(environment, root=tmp_path))
    assert (found.cron, str(found.zone), found.enabled) == ("5 22 * * *", "Asia/Kathmandu", True)
    assert found.next_runs(at("2026-01-31T00:00Z"), 1) == (at("2026-01-31T16:20Z"),)

    off = daily_schedule(load_settings({**environment, "BACKUP_DAILY_ENABLED": "false"}, root=tmp_path))
    assert (off.enabled, off.disabled_by) == (False, "BACKUP_DAILY_ENABLED=false")
    assert off.next_runs(at("2026-01-31T00:00Z"), 3) == ()


def test_the_weekly_schedule_follows_the_settings(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_WEEKLY_TIME": "05:15", "BACKUP_TIMEZONE": "Europe/Berlin"}
    found = weekly_schedule(load_settings({**environment, "BACKUP_WEEKLY_DAY": "wednesday"}, root=tmp_path))
    assert found.next_runs(at("2026-01-31T00:00Z"), 2) == (at("2026-02-04T04:15Z"), at("2026-02-11T04:15Z"))

    off = weekly_schedule(load_settings({**environment, "BACKUP_WEEKLY_ENABLED": "false"}, root=tmp_path))
    assert (off.enabled, off.disabled_by) == (False, "BACKUP_WEEKLY_ENABLED=false")


def test_the_hourly_schedule_follows_the_settings(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_TIMEZONE": "Europe/Berlin", "BACKUP_HOURLY_ENABLED": "true"}
    found = hourly_schedule(load_settings({**environment, "BACKUP_HOURLY_WINDOW": "16-17"}, root=tmp_path))
    assert (found.dag_id, found.cron, found.enabled) == ("backup_hourly", "0 16-17 * * 1-5", True)
    friday = at("2026-01-30T00:00Z")
    assert found.next_runs(friday, 3) == (
        at("2026-01-30T15:00Z"),
        at("2026-01-30T16:00Z"),
        at("2026-02-02T15:00Z"),
    )
    assert hourly_schedule(load_settings({**environment, "BACKUP_HOURLY_WINDOW": "12-12"}, root=tmp_path)).cron == (
        "0 12 * * 1-5"
    )

    off = hourly_schedule(load_settings({"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path))
    assert (off.cron, off.disabled_by) == ("0 9-18 * * 1-5", "BACKUP_HOURLY_ENABLED=false")


def test_the_critical_schedule_is_there_for_critical_entries_alone_and_no_setting_stops_it(tmp_path: Path) -> None:
    settings = load_settings({"AIRFLOW_HOME": str(tmp_path), "BACKUP_ENABLED": "false"}, root=tmp_path)
    found = critical_schedule(settings, wanted=True)
    assert found.next_runs(at("2026-01-31T23:52:30Z"), 3) == (
        at("2026-01-31T23:55Z"),
        at("2026-02-01T00:00Z"),
        at("2026-02-01T00:05Z"),
    )
    assert critical_schedule(settings, wanted=False).disabled_by == "no entry has tier: critical"


@pytest.mark.parametrize("day", Weekday)
def test_every_weekday_is_the_one_that_it_is_called(tmp_path: Path, day: Weekday) -> None:
    settings = load_settings({"AIRFLOW_HOME": str(tmp_path), "BACKUP_WEEKLY_DAY": day.value}, root=tmp_path)
    (run,) = weekly_schedule(settings).next_runs(at("2026-01-31T00:00Z"), 1)
    assert f"{run:%A}".lower() == day


def test_the_verification_schedule_follows_the_settings(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path), "BACKUP_VERIFICATION_TIME": "07:45"}
    assert verification_schedule(load_settings(environment, root=tmp_path)).cron == "45 7 * * *"
    for variable in ("BACKUP_VERIFICATION_DAILY_CHECK", "BACKUP_VERIFICATION_ENABLED"):
        off = verification_schedule(load_settings({**environment, variable: "false"}, root=tmp_path))
        assert (off.enabled, off.disabled_by) == (False, f"{variable}=false")


def test_the_drill_is_on_the_first_of_the_month_in_the_time_zone_and_no_setting_stops_it(tmp_path: Path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "BACKUP_TIMEZONE": "Europe/Berlin",
        "BACKUP_ENABLED": "false",
        "BACKUP_VERIFICATION_ENABLED": "false",
    }
    found = drill_schedule(load_settings(environment, root=tmp_path))
    assert found.next_runs(at("2026-01-31T00:00Z"), 3) == (
        at("2026-02-01T04:00Z"),
        at("2026-03-01T04:00Z"),
        at("2026-04-01T03:00Z"),
    )


def test_a_dag_whose_settings_are_wrong_keeps_to_the_defaults_of_the_settings(tmp_path: Path) -> None:
    settings = load_settings({"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path)
    daily, weekly, hourly, critical, verification, drill = all_schedules(settings, critical=True)
    assert (daily, weekly, critical) == (DEFAULT_DAILY, DEFAULT_WEEKLY, DEFAULT_CRITICAL)
    assert (verification, drill) == (DEFAULT_VERIFICATION, DEFAULT_DRILL)
    assert hourly == replace(DEFAULT_HOURLY, disabled_by="BACKUP_HOURLY_ENABLED=false")
    assert DEFAULT_HOURLY.enabled, "a wrong setting must not switch off what somebody has switched on"


def test_a_run_that_is_due_now_is_not_a_next_one() -> None:
    due = at("2026-01-31T01:30Z")
    assert schedule().next_runs(due - timedelta(seconds=1), 1) == (due,)
    assert schedule().next_runs(due, 1) == (due + timedelta(days=1),)


def test_the_hour_that_clocks_skip_is_made_up_for() -> None:
    runs = schedule().next_runs(at("2026-03-28T12:00Z"), 2)
    assert [run.isoformat() for run in runs] == ["2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"]


@pytest.mark.parametrize("now", ["2026-10-24T12:00Z", "2026-10-25T00:10Z", "2026-10-25T00:40Z", "2026-10-25T01:20Z"])
def test_of_the_hour_that_comes_twice_the_second_one_counts_whenever_it_is_asked(now: str) -> None:
    runs = schedule().next_runs(at(now), 2)
    assert [run.isoformat() for run in runs] == ["2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"]


@pytest.mark.parametrize("night", ["2026-03-29", "2026-10-25"])
def test_what_runs_every_five_minutes_goes_on_through_the_nights_when_clocks_change(night: str) -> None:
    every_five_minutes = replace(DEFAULT_CRITICAL, zone=BERLIN)
    start = at(f"{night}T00:00Z")
    runs = every_five_minutes.next_runs(start, 36)
    # In UTC: a wall time that comes twice equals no moment of another zone.
    assert [run.astimezone(UTC) - start for run in runs] == [timedelta(minutes=5 * number) for number in range(1, 37)]


def test_the_command_shows_both_clocks(tmp_path: Path) -> None:
    project = Project(tmp_path / "p", {"shop": ConnectionInfo("shop_db", EngineName.SQLITE)}, as_process=False)
    document = project.json("schedules", "--runs", "2", BACKUP_TIMEZONE="Europe/Berlin")
    daily = next(item for item in document["schedules"] if item["dag_id"] == "backup_daily")
    assert (daily["cron"], daily["timezone"], daily["enabled"]) == ("0 3 * * *", "Europe/Berlin", True)
    assert document["backups_enabled"] is True
    first, second = daily["next_runs"]
    assert first["local"][11:19] == second["local"][11:19] == "03:00:00"
    assert datetime.fromisoformat(first["utc"]) == datetime.fromisoformat(first["local"])

    table = project.run("schedules", BACKUP_TIMEZONE="Europe/Berlin", BACKUP_ENABLED="false")
    assert "NEXT (Europe/Berlin)" in table.stdout
    assert "no entry has tier: critical" in table.stdout
    assert "BACKUP_ENABLED=false" in table.stderr
    assert "BACKUP_DAILY_ENABLED=false" in project.run("schedules", BACKUP_DAILY_ENABLED="false").stdout
