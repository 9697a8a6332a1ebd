"""db-backup logs"""

from __future__ import annotations

import time

import click

from db_backup.cli.completing import complete_backups, complete_entries
from db_backup.cli.output import moment, print_json, say
from db_backup.cli.runtime import json_option
from db_backup.errors import UsageError
from db_backup.jobs.catalogue import open_catalog
from db_backup.jobs.logbook import Logbook, LogEvent
from db_backup.settings import load_settings

_LOOK_AGAIN_SECONDS = 1.0


@click.command("logs")
@click.argument("backup", required=False, shell_complete=complete_backups)
@click.option("--database", help="Only this entry's.", shell_complete=complete_entries)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many events.")
@click.option("--follow", is_flag=True, help="Go on showing what happens, until Ctrl-C.")
@json_option
def command(backup: str | None, database: str | None, limit: int, follow: bool, as_json: bool) -> None:
    """Show what happened to BACKUP, to a database, or at all: attempts with their errors, and every audited act.

    These are the catalogue's records, oldest first. Each names the terminal or the Airflow task that did it (DAG, run,
    task, try), under which Airflow keeps that task's own log.

    \b
    Examples:
      db-backup logs
      db-backup logs backup_shop_full_2026-01-31_03-00-00
      db-backup logs --database shop --follow
    """
    if backup and database:
        raise UsageError("Either a backup or a database, not both.", hint="A backup's id names its database.")
    if follow and as_json:
        raise UsageError("--follow never ends, and --json is one document.", hint="Leave one of them out.")
    with open_catalog(load_settings()) as catalog:
        logbook = Logbook(catalog, database=database, backup=backup)
        events = logbook.read(limit=limit)
        if backup and not events:
            catalog.get(backup)  # raises UnknownBackup, with the nearest name
        if as_json:
            print_json({"events": [event.model_dump(mode="json", exclude={"key"}) for event in events]})
            return
        _print(events)
        if not follow:
            if not events:
                click.echo("Nothing is written down.")
            return
        for news in logbook.follow(events, limit=limit):
            _print(news)
            time.sleep(_LOOK_AGAIN_SECONDS)


def _print(events: list[LogEvent]) -> None:
    for event in events:
        subject = event.backup_id or event.database or ""
        click.echo(f"{moment(event.at)}  {event.outcome:<11}  {event.event}  {subject}".rstrip())
        say(f"    {event.run}")
        for line in event.detail.splitlines():
            say(f"    {line}")
