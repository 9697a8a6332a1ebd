"""db-backup audit"""

from __future__ import annotations

from datetime import timedelta

import click

from db_backup.catalog import AuditRecord
from db_backup.cli.output import moment, print_json, print_table
from db_backup.cli.runtime import DAYS, json_option
from db_backup.jobs.catalogue import open_catalog
from db_backup.model import utc_now
from db_backup.settings import load_settings


@click.command("audit")
@click.option("--days", type=DAYS, help="Only acts of the last N days.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many acts.")
@json_option
def command(days: int | None, limit: int, as_json: bool) -> None:
    """Show who did what, when, from where, and what came of it; newest first.

    The whole trail also lies beside the backups, as JSON lines: audit/YEAR-MONTH.jsonl.

    \b
    Examples:
      db-backup audit --days 7
      db-backup audit --limit 1000 --json
    """
    since = utc_now() - timedelta(days=days) if days else None
    with open_catalog(load_settings()) as catalog:
        acts = catalog.audit_trail(since=since, limit=limit)
    if as_json:
        print_json({"acts": [act.model_dump(mode="json") for act in acts]})
    elif not acts:
        click.echo("Nothing is written down.")
    else:
        columns = ("TIME (UTC)", "ACT", "OUTCOME", "WHO", "FROM", "DATABASE", "BACKUP", "DETAIL")
        print_table(columns, [_row(act) for act in acts])


def _row(act: AuditRecord) -> tuple[str, ...]:
    return (
        moment(act.at),
        act.act.value,
        act.outcome.value,
        act.actor or "-",
        f"{act.origin.value} on {act.host}",
        act.entry or "-",
        act.backup_id or "-",
        act.detail,
    )
