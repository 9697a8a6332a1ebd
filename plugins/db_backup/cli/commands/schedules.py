"""db-backup schedules"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from db_backup.cli.output import moment, print_json, print_table
from db_backup.cli.runtime import json_option
from db_backup.config import load_config
from db_backup.model import BackupType, Tier, utc_now
from db_backup.schedules import Schedule, all_schedules
from db_backup.settings import load_settings


@click.command("schedules")
@click.option("--runs", type=click.IntRange(1, 100), default=3, show_default=True, help="How many next runs to show.")
@json_option
def command(runs: int, as_json: bool) -> None:
    """Show when the DAGs run by themselves: what the settings say, and the next times in UTC and BACKUP_TIMEZONE.

    Works without Airflow, and so does not know which DAGs are paused there.

    \b
    Examples:
      db-backup schedules
      db-backup schedules --runs 7 --json
    """
    settings = load_settings()
    critical = bool(load_config(settings).entries_taking(BackupType.INCREMENTAL, Tier.CRITICAL))
    now = utc_now()
    plans = [(schedule, schedule.next_runs(now, runs)) for schedule in all_schedules(settings, critical=critical)]
    if as_json:
        documents = [_document(schedule, due) for schedule, due in plans]
        print_json({"backups_enabled": settings.backup_enabled, "schedules": documents})
        return
    print_table(
        ("DAG", "SCHEDULE", "TIME ZONE", "ENABLED", "NEXT (UTC)", f"NEXT ({settings.backup_timezone})"),
        [row for schedule, due in plans for row in _rows(schedule, due)],
    )
    if not settings.backup_enabled:
        click.echo("BACKUP_ENABLED=false: scheduled runs start, and skip their backups.", err=True)


def _document(schedule: Schedule, due: tuple[datetime, ...]) -> dict[str, Any]:
    return {
        "dag_id": schedule.dag_id,
        "cron": schedule.cron,
        "timezone": str(schedule.zone),
        "enabled": schedule.enabled,
        "disabled_by": schedule.disabled_by,
        "next_runs": [
            {"utc": run.astimezone(UTC).isoformat().replace("+00:00", "Z"), "local": run.isoformat()} for run in due
        ],
    }


def _rows(schedule: Schedule, due: tuple[datetime, ...]) -> list[tuple[str, ...]]:
    first = (schedule.dag_id, schedule.cron, str(schedule.zone), "yes" if schedule.enabled else schedule.disabled_by)
    times = [(moment(run.astimezone(UTC)), run.strftime("%a %Y-%m-%d %H:%M:%S %Z")) for run in due] or [("-", "-")]
    return [(*(first if number == 0 else ("",) * 4), *shown) for number, shown in enumerate(times)]
