"""db-backup cleanup"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_entries
from db_backup.cli.failures import print_failure
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import DAYS, cli_run, json_option, stoppable
from db_backup.jobs.cleanup import CleanupReport, CleanupRequest, clean_up, plan_cleanup

_LOCK_WAIT_SECONDS = 10.0


@click.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted and what kept, and why; delete nothing.")
@click.option("--retention", "days", type=DAYS, help="Days to keep backups, this time, instead of their own.")
@click.option("--database", help="Only this entry's.", shell_complete=complete_entries)
@json_option
def command(dry_run: bool, days: int | None, database: str | None, as_json: bool) -> int:
    """Delete the backups whose days are over, and say of every other one why it is kept.

    Days count up to the newest good backup of an entry and type, so that an outage deletes nothing. Always kept are
    the last verified full, the newest three good fulls, what is pinned, in use, or needed by a backup that is kept,
    and what is not verified while no newer full is.

    Exit code 1 when a backup could not be deleted; the others are, and the next cleanup tries it again.

    \b
    Examples:
      db-backup cleanup --dry-run
      db-backup cleanup --database shop
      db-backup cleanup --dry-run --retention 14 --json
    """
    request = CleanupRequest(entries=(database,) if database else None, days=days, wait_seconds=_LOCK_WAIT_SECONDS)
    with opened_workspace() as workspace, stoppable() as cancellation:
        if dry_run:
            report = plan_cleanup(workspace, request, run=cli_run())
        else:
            with terminal_progress() as progress:
                report = clean_up(workspace, request, run=cli_run(), progress=progress, cancellation=cancellation)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report, dry_run)
    return 1 if report.failed else 0


def _print(report: CleanupReport, dry_run: bool) -> None:
    rows = [(kept.backup_id, "keep", "; ".join(kept.reasons)) for kept in report.keep] if dry_run else []
    gone = "delete" if dry_run else "deleted"
    rows += [(deleted.backup_id, gone, deleted.reason) for deleted in report.delete]
    if rows:
        print_table(("BACKUP", "", "WHY"), rows)
    click.echo(f"{len(report.keep)} kept, {len(report.delete)} {'to be deleted' if dry_run else 'deleted'}.")
    for warning in report.warnings:
        say(f"Warning: {warning}.", err=True)
    for failed in report.failed:
        print_failure(f"{failed.backup_id} could not be deleted: {failed.error}", failed.hint)
