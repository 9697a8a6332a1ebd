"""db-backup list"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from db_backup.catalog import AttemptFigures, BackupQuery, Catalog, Statistics, Tally
from db_backup.cli.completing import complete_entries
from db_backup.cli.copies import only_local, places
from db_backup.cli.kits import chosen_kit, opened_workspace
from db_backup.cli.output import age, moment, print_json, print_table, say
from db_backup.cli.proofs import last_proof
from db_backup.cli.recovering import list_recovery
from db_backup.cli.runtime import DAYS, json_option
from db_backup.errors import UsageError
from db_backup.jobs.catalogue import open_catalog
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.settings import Settings, load_settings
from db_backup.summary import BackupSummary, CopySummary
from db_backup.units import human_bytes, human_duration

if TYPE_CHECKING:
    from db_backup.config import Config

_SHORT = ("BACKUP", "AGE", "SIZE", "STATUS", "PROOF", "COPIES")
_DETAILED = ("BACKUP", "CREATED (UTC)", "TOOK", "SIZE", "OF", "CODEC", "ROWS", "STATUS", "PROOF", "EXPIRES", "COPIES")
_DAYS_SHOWN = 14
_RIGHT = ("AGE", "SIZE", "TOOK", "OF", "ROWS")


@click.command("list")
@click.option("--database", help="Only this entry's.", shell_complete=complete_entries)
@click.option("--type", "backup_type", type=click.Choice([item.value for item in BackupType]), help="Only this type.")
@click.option("--status", type=click.Choice([item.value for item in BackupStatus]), help="Only this status.")
@click.option("--days", type=DAYS, help="Only those of the last N days.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Backups on a page.")
@click.option("--cursor", help="Go on from here: the next_cursor of the page before.")
@click.option("--detailed", is_flag=True, help="More columns, and each backup's warnings.")
@click.option(
    "--stats", is_flag=True, help="Counts, bytes and success rate instead of the list; `storages` tells of growth."
)
@click.option("--recovery", is_flag=True, help="The moments that each database can be restored to, gaps included.")
@json_option
def command(
    database: str | None,
    backup_type: str | None,
    status: str | None,
    days: int | None,
    limit: int,
    cursor: str | None,
    detailed: bool,
    stats: bool,
    recovery: bool,
    as_json: bool,
) -> None:
    """List backups, newest first; with --recovery the moments that they lead to, read from the storages alone.

    \b
    Examples:
      db-backup list --database shop --days 7
      db-backup list --detailed
      db-backup list --status unverified --json
      db-backup list --stats
      db-backup list --recovery --database shop
    """
    if recovery:
        if backup_type or status or days or cursor or stats:
            raise UsageError("--recovery is about all backups of a database.", hint="Narrow it down with --database.")
        list_recovery(database, each_moment=detailed, as_json=as_json)
        return
    with _opened() as (catalog, configuration):
        if database is not None:
            _check_known(catalog, database, configuration)
        query = BackupQuery(
            database=database,
            type=BackupType(backup_type) if backup_type else None,
            status=BackupStatus(status) if status else None,
            since=utc_now() - timedelta(days=days) if days else None,
        )
        if stats:
            _statistics(catalog.statistics(query), as_json)
            return
        page = catalog.page(query, limit=limit, cursor=cursor)
    if as_json:
        backups = [backup.model_dump(mode="json") for backup in page.items]
        print_json({"backups": backups, "next_cursor": page.next_cursor})
        return
    if not page.items:
        click.echo("No backups." if cursor is None else "No more backups.")
        return
    rows = [_detailed(backup) if detailed else _short(backup) for backup in page.items]
    columns: tuple[str, ...] = _DETAILED if detailed else _SHORT
    if not detailed and only_local(page.items):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(columns, rows, right=_RIGHT, blocks=detailed)
    if detailed:
        _copies(page.items)
        _warnings(page.items)
    if page.next_cursor:
        click.echo(f"There are more: --cursor {page.next_cursor}", err=True)


@contextmanager
def _opened() -> Iterator[tuple[Catalog, Callable[[], Config]]]:
    """The catalogue, and the configuration if it is asked for: it is seldom needed, and slow to load."""
    if chosen_kit() is not None:
        with opened_workspace() as workspace:
            yield workspace.catalog, lambda: workspace.config
        return
    settings = load_settings()
    with open_catalog(settings) as catalog:
        yield catalog, lambda: _load_config(settings)


def _load_config(settings: Settings) -> Config:
    from db_backup.config import load_config

    return load_config(settings)


def _check_known(catalog: Catalog, database: str, configuration: Callable[[], Config]) -> None:
    """:raises UnknownDatabase: it has no backups, and is not configured either."""
    if not catalog.page(BackupQuery(database=database), limit=1).items:
        configuration().entry(database)


def _short(backup: BackupSummary) -> tuple[str, ...]:
    return (
        backup.id,
        age(backup.created_at),
        human_bytes(backup.size_bytes),
        _status(backup),
        last_proof(backup),
        places(backup),
    )


def _detailed(backup: BackupSummary) -> tuple[str, ...]:
    return (
        backup.id,
        moment(backup.created_at),
        human_duration(backup.duration_seconds),
        human_bytes(backup.size_bytes),
        human_bytes(backup.plain_bytes),
        f"{backup.compression}, encrypted" if backup.encrypted else backup.compression.value,
        f"{backup.rows:,}",
        _status(backup),
        last_proof(backup),
        moment(backup.expires_at)[:10],
        places(backup),
    )


def _status(backup: BackupSummary) -> str:
    return f"{backup.status} (safety)" if backup.safety else backup.status.value


def _copies(backups: tuple[BackupSummary, ...]) -> None:
    """Of each backup that has several, or whose only one is not as it should be."""
    for backup in backups:
        for copy in backup.copies:
            if len(backup.copies) > 1 or copy.missing or copy.damaged or copy.storage_class:
                say(f"{backup.id}: {copy.storage}: {_condition(copy)}")


def _condition(copy: CopySummary) -> str:
    if copy.missing:
        return f"missing: {copy.missing}"
    in_class = f", in the class {copy.storage_class}" if copy.storage_class else ""
    if copy.damaged:
        return f"damaged{in_class}: {copy.damaged}"
    read = f"read and found whole at {moment(copy.proven_at)}" if copy.proven_at else "not read since it was made"
    return f"{read}{in_class}"


def _warnings(backups: tuple[BackupSummary, ...]) -> None:
    for backup in backups:
        for warning in backup.warnings:
            say(f"{backup.id}: {warning}")


def _statistics(statistics: Statistics, as_json: bool) -> None:
    if as_json:
        print_json(statistics.model_dump(mode="json"))
        return
    _tallies("ALL", {"backups": statistics.total})
    _tallies("DATABASE", statistics.by_database)
    _tallies("TYPE", statistics.by_type)
    _tallies("STATUS", statistics.by_status)
    _tallies("STORAGE", statistics.by_storage)
    newest_days = sorted(statistics.by_day.items(), reverse=True)
    _tallies("DAY (UTC)", dict(newest_days[:_DAYS_SHOWN]))
    if len(newest_days) > _DAYS_SHOWN:
        click.echo(f"({len(newest_days) - _DAYS_SHOWN} earlier days are left out; --json has all.)\n")
    _attempts(statistics.attempts)


def _tallies(title: str, tallies: Mapping[Any, Tally]) -> None:
    rows = [
        (
            str(name),
            f"{tally.backups:,}",
            human_bytes(tally.size_bytes),
            human_bytes(tally.plain_bytes),
            f"{tally.size_bytes / tally.plain_bytes:.0%}" if tally.plain_bytes else "-",
        )
        for name, tally in tallies.items()
    ]
    if rows:
        print_table((title, "BACKUPS", "STORED", "PLAIN", "RATIO"), rows, right=("BACKUPS", "STORED", "PLAIN", "RATIO"))
        click.echo()


def _attempts(figures: AttemptFigures) -> None:
    outcomes = ("succeeded", "failed", "interrupted", "skipped", "running")
    rate = "-" if figures.success_rate is None else f"{figures.success_rate:.1%}"
    took = [figures.average_seconds, figures.longest_seconds]
    columns = (*(word.upper() for word in outcomes), "SUCCESS", "AVERAGE", "LONGEST")
    cells = [f"{getattr(figures, word):,}" for word in outcomes]
    durations = ["-" if seconds is None else human_duration(seconds) for seconds in took]
    click.echo("Attempts:")
    print_table(columns, [(*cells, rate, *durations)], right=columns)
