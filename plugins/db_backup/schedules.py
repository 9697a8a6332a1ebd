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

    :param cron: five fields, by the wall clock of ``zone``; at fixed hours, never every hour.
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

        # From a day before: on the night when clocks go back, a moment can come both before and after a wall time.
        wall = after.astimezone(self.zone).replace(tzinfo=None) - timedelta(days=1)
        for due in croniter(self.cron, wall).all_next(datetime):
            yield _moment(due, self.zone)


#: What a DAG whose settings cannot be read keeps to: the defaults of the settings.
DEFAULT_DAILY = Schedule("backup_daily", "0 3 * * *", ZoneInfo("UTC"))
DEFAULT_WEEKLY = Schedule("backup_weekly", "0 4 * * 0", ZoneInfo("UTC"))
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


def all_schedules(settings: Settings) -> tuple[Schedule, ...]:
    """Every DAG that has a schedule."""
    return (
        daily_schedule(settings),
        weekly_schedule(settings),
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
