"""When the DAGs run: a pure plan over the settings, for the DAGs themselves and for `db-backup schedules`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from db_backup.settings import Settings, Weekday


@dataclass(frozen=True)
class Schedule:
    """One DAG's schedule.

    :param cron: five fields, by the wall clock of ``zone``.
    :param disabled_by: the setting that switches it off, with its value; empty when it runs.
    """

    dag_id: str
    cron: str
    zone: ZoneInfo
    disabled_by: str = ""

    @property
    def enabled(self) -> bool:
        """Whether Airflow starts it by itself (as far as the settings say: a DAG can also be paused in Airflow)."""
        return not self.disabled_by

    def next_runs(self, after: datetime, count: int) -> tuple[datetime, ...]:
        """The next moments at which it is due, in ``zone``; strictly after an aware ``after``."""
        if not self.enabled:
            return ()
        return tuple(islice((run for run in self._runs(after) if run > after), count))

    def _runs(self, after: datetime) -> Iterator[datetime]:
        from croniter import croniter  # seldom needed: not where only DAG files are read

        of_every_hour = croniter(self.cron).expanded[1] == ["*"]
        return self._runs_of_every_hour(after) if of_every_hour else self._runs_at_fixed_hours(after)

    def _runs_at_fixed_hours(self, after: datetime) -> Iterator[datetime]:
        from croniter import croniter

        # From a day before: on the night when clocks go back, a moment can come both before and after a wall time.
        wall = after.astimezone(self.zone).replace(tzinfo=None) - timedelta(days=1)
        for due in croniter(self.cron, wall).all_next(datetime):
            yield _moment(due, self.zone)

    def _runs_of_every_hour(self, after: datetime) -> Iterator[datetime]:
        """As much later as the wall clock says: the hour that comes twice has its runs twice (Airflow's rule)."""
        from croniter import croniter

        moment = after.astimezone(UTC)
        while True:
            wall = moment.astimezone(self.zone).replace(tzinfo=None)
            moment += croniter(self.cron, wall).get_next(datetime) - wall
            yield moment.astimezone(self.zone)


#: What a DAG whose settings cannot be read keeps to: the defaults of the settings. Only backup_hourly, which they
#: switch off, is on: where somebody has switched it on, its runs must not stay out without a word.
DEFAULT_DAILY = Schedule("backup_daily", "0 3 * * *", ZoneInfo("UTC"))
DEFAULT_WEEKLY = Schedule("backup_weekly", "0 4 * * 0", ZoneInfo("UTC"))
DEFAULT_HOURLY = Schedule("backup_hourly", "0 9-18 * * 1-5", ZoneInfo("UTC"))
DEFAULT_CRITICAL = Schedule("backup_critical", "*/5 * * * *", ZoneInfo("UTC"))
DEFAULT_VERIFICATION = Schedule("backup_verification", "0 6 * * *", ZoneInfo("UTC"))
DEFAULT_DRILL = Schedule("backup_restore_drill", "0 5 1 * *", ZoneInfo("UTC"))


def daily_schedule(settings: Settings) -> Schedule:
    return Schedule(
        DEFAULT_DAILY.dag_id,
        _cron(settings.backup_daily_time),
        settings.backup_timezone,
        "" if settings.backup_daily_enabled else "BACKUP_DAILY_ENABLED=false",
    )


def weekly_schedule(settings: Settings) -> Schedule:
    return Schedule(
        DEFAULT_WEEKLY.dag_id,
        _cron(settings.backup_weekly_time, settings.backup_weekly_day),
        settings.backup_timezone,
        "" if settings.backup_weekly_enabled else "BACKUP_WEEKLY_ENABLED=false",
    )


def hourly_schedule(settings: Settings) -> Schedule:
    """At every full hour of the window, Monday to Friday."""
    window = settings.backup_hourly_window
    hours = str(window.first) if window.first == window.last else f"{window.first}-{window.last}"
    return Schedule(
        DEFAULT_HOURLY.dag_id,
        f"0 {hours} * * 1-5",
        settings.backup_timezone,
        "" if settings.backup_hourly_enabled else "BACKUP_HOURLY_ENABLED=false",
    )


def critical_schedule(settings: Settings, *, wanted: bool) -> Schedule:
    """Every five minutes, where there is something to do; no setting stops it.

    :param wanted: whether backup.yaml has an entry with ``tier: critical``.
    """
    disabled_by = "" if wanted else "no entry has tier: critical"
    return replace(DEFAULT_CRITICAL, zone=settings.backup_timezone, disabled_by=disabled_by)


def verification_schedule(settings: Settings) -> Schedule:
    switched_off = {
        "BACKUP_VERIFICATION_ENABLED=false": not settings.backup_verification_enabled,
        "BACKUP_VERIFICATION_DAILY_CHECK=false": not settings.backup_verification_daily_check,
    }
    return Schedule(
        DEFAULT_VERIFICATION.dag_id,
        _cron(settings.backup_verification_time),
        settings.backup_timezone,
        next((text for text, off in switched_off.items() if off), ""),
    )


def drill_schedule(settings: Settings) -> Schedule:
    """On the first of the month. No setting stops it: whoever can do without knowing pauses the DAG in Airflow."""
    return replace(DEFAULT_DRILL, zone=settings.backup_timezone)


def all_schedules(settings: Settings, *, critical: bool) -> tuple[Schedule, ...]:
    """Every DAG that has a schedule.

    :param critical: whether backup.yaml has an entry with ``tier: critical``.
    """
    return (
        daily_schedule(settings),
        weekly_schedule(settings),
        hourly_schedule(settings),
        critical_schedule(settings, wanted=critical),
        verification_schedule(settings),
        drill_schedule(settings),
    )


def _cron(at: time, day: Weekday | None = None) -> str:
    """Every day at this time, or every week on this day."""
    days = "*" if day is None else str((list(Weekday).index(day) + 1) % 7)  # cron counts from Sunday, which is 0
    return f"{at.minute} {at.hour} * * {days}"


def _moment(wall: datetime, zone: tzinfo) -> datetime:
    """When the clocks of the zone show this, by Airflow's rules (``CronTriggerTimetable``).

    A time that comes twice as clocks go back is the second one; a time that clocks skip is as much later.
    """
    second = wall.replace(tzinfo=zone, fold=1)
    if second.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall:
        return second
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC).astimezone(zone)
