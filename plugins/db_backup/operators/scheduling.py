"""When a DAG runs and which entries it takes, from the settings. Read as the DAG file is parsed: kept light."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import CronTriggerTimetable
from airflow.sdk.exceptions import AirflowFailException

from db_backup.errors import BackupError, ConfigurationError
from db_backup.model import BackupType
from db_backup.schedules import DEFAULT_DAILY, Schedule, daily_schedule
from db_backup.settings import load_settings

_MARGIN = timedelta(minutes=5)
"""The suite's own limit stops the work first, cleanly; Airflow's is for work that does not stop."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A DAG's schedule (None: only when a person starts it) and the limit of each of its tasks."""

    schedule: CronTriggerTimetable | None
    execution_timeout: timedelta


def daily_plan() -> Plan:
    """When ``backup_daily`` runs.

    Wrong settings do not make the DAG vanish, which nobody would notice at night: it keeps the default time, and the
    first task of its run fails with the error.
    """
    try:
        settings = load_settings()
    except ConfigurationError as error:
        log.warning("backup_daily is scheduled by default, because the settings are wrong: %s", error)
        return Plan(_timetable(DEFAULT_DAILY), timedelta(hours=1) + _MARGIN)
    return Plan(_timetable(daily_schedule(settings)), timedelta(seconds=settings.backup_timeout_seconds) + _MARGIN)


def _timetable(schedule: Schedule) -> CronTriggerTimetable | None:
    if not schedule.enabled:
        return None
    # Airflow 3.3 takes run_immediately=False as "if the last time is less than a tenth of the period ago": a DAG that
    # is switched on at 05:00 would start at once.
    return CronTriggerTimetable(schedule.cron, timezone=str(schedule.zone), run_immediately=timedelta(0))


def entries_taking(backup_type: BackupType) -> list[str]:
    """The names of the entries whose ``types`` hold this one, for a DAG to map over.

    :raises AirflowFailException: the settings or backup.yaml are wrong, or no entry takes this type.
    """
    from db_backup.config import load_config

    try:
        config = load_config(load_settings())
    except BackupError as error:
        raise AirflowFailException(str(error)) from error
    entries = [name for name, entry in config.entries.items() if backup_type in entry.types]
    if not entries:
        raise AirflowFailException(
            f"No entry of backup.yaml takes {backup_type} backups, so there is nothing to back up. "
            f"Add {backup_type} to the types of an entry, or switch this schedule off."
        )
    return entries
