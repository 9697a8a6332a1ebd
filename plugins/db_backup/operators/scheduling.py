"""When a DAG runs and which entries it takes, from the settings. Read as the DAG file is parsed: kept light."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, conf
from airflow.sdk.exceptions import AirflowFailException

from db_backup.errors import BackupError, ConfigurationError
from db_backup.model import BackupType, Tier
from db_backup.schedules import (
    DEFAULT_CRITICAL,
    DEFAULT_DAILY,
    DEFAULT_DRILL,
    DEFAULT_HOURLY,
    DEFAULT_VERIFICATION,
    DEFAULT_WEEKLY,
    Schedule,
    critical_schedule,
    daily_schedule,
    drill_schedule,
    hourly_schedule,
    verification_schedule,
    weekly_schedule,
)
from db_backup.settings import Settings, load_settings

_MARGIN = timedelta(minutes=15)
"""The suite's own limit stops the work first, cleanly; Airflow's is for work that does not stop.

It counts from the task's start, and the suite's from when the entry is free: ten minutes later at most, in
``backup_daily``.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A DAG's schedule (None: only when a person starts it) and the limit of each of its tasks.

    ``retries`` of its tasks: None: as Airflow's configuration says, at least one.
    """

    dag_id: str
    schedule: CronTriggerTimetable | None
    execution_timeout: timedelta
    max_active_runs: int = 1
    retries: int | None = None

    @property
    def dag_arguments(self) -> dict[str, Any]:
        """What every DAG of the suite passes to ``@dag``, but for its text and its params.

        No start_date: the timetable has the time zone, and with a date in the past unpausing the DAG would start the
        run of the last time that went by ("run immediately has no effect if there is restriction on earliest",
        Airflow 3.3).
        """
        return {
            "dag_id": self.dag_id,
            "schedule": self.schedule,
            "catchup": False,
            "max_active_runs": self.max_active_runs,
            "tags": ["backup"],
            "default_args": {
                "execution_timeout": self.execution_timeout,
                "retries": max(1, conf.getint("core", "default_task_retries"))
                if self.retries is None
                else self.retries,
            },
        }


def daily_plan() -> Plan:
    """When ``backup_daily`` runs."""
    return _plan(DEFAULT_DAILY, daily_schedule)


def weekly_plan() -> Plan:
    """When ``backup_weekly`` runs."""
    return _plan(DEFAULT_WEEKLY, weekly_schedule)


def hourly_plan() -> Plan:
    """When ``backup_hourly`` runs."""
    return _plan(DEFAULT_HOURLY, hourly_schedule)


def critical_plan() -> Plan:
    """When ``backup_critical`` runs: only where there are such entries, for 288 runs a day are not for nothing.

    A retry would hold back the other entries' next increments, and the next run comes as soon.
    """
    return replace(_plan(DEFAULT_CRITICAL, _critical_schedule), retries=0)


def _critical_schedule(settings: Settings) -> Schedule:
    """:raises ConfigurationError: backup.yaml is wrong."""
    from db_backup.config import load_config

    config = load_config(settings)
    return critical_schedule(settings, wanted=bool(config.entries_taking(BackupType.INCREMENTAL, Tier.CRITICAL)))


def verification_plan() -> Plan:
    """When ``backup_verification`` runs."""
    return _plan(DEFAULT_VERIFICATION, verification_schedule)


def on_demand_plan() -> Plan:
    """``backup_on_demand`` runs when somebody asks for it."""
    return _plan(Schedule("backup_on_demand", "", DEFAULT_DAILY.zone, "it has no schedule"))


def restore_plan() -> Plan:
    """``backup_restore`` runs when somebody asks for it; one run that waits for approval holds back no other."""
    plan = _plan(Schedule("backup_restore", "", DEFAULT_DAILY.zone, "it has no schedule"))
    return replace(plan, max_active_runs=16)


def drill_plan() -> Plan:
    """When ``backup_restore_drill`` runs."""
    return _plan(DEFAULT_DRILL, drill_schedule)


def _plan(default: Schedule, by_settings: Callable[[Settings], Schedule] | None = None) -> Plan:
    """Wrong settings do not make the DAG vanish, which nobody would notice at night.

    It keeps the default time, and the first task of its run fails with the error.
    """
    try:
        settings = load_settings()
        schedule = by_settings(settings) if by_settings else default
    except ConfigurationError as error:
        log.warning("%s is planned by default, because the configuration is wrong: %s", default.dag_id, error)
        return Plan(default.dag_id, _timetable(default), timedelta(hours=1) + _MARGIN)
    limit = timedelta(seconds=settings.backup_timeout_seconds) + _MARGIN
    return Plan(default.dag_id, _timetable(schedule), limit)


def _timetable(schedule: Schedule) -> CronTriggerTimetable | None:
    if not schedule.enabled:
        return None
    # Airflow 3.3 takes run_immediately=False as "if the last time is less than a tenth of the period ago": a DAG that
    # is switched on at 05:00 would start at once.
    return CronTriggerTimetable(schedule.cron, timezone=str(schedule.zone), run_immediately=timedelta(0))


def entries_taking(backup_type: BackupType, tier: Tier | None = None) -> list[str]:
    """The names of the entries whose ``types`` hold this one, for a DAG to map over; only of this tier, if given.

    :raises AirflowFailException: the settings or backup.yaml are wrong.
    """
    from db_backup.config import load_config

    try:
        return load_config(load_settings()).entries_taking(backup_type, tier)
    except BackupError as error:
        raise AirflowFailException(str(error)) from error
