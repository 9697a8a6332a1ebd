"""db-backup replicate"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_backups, complete_entries, complete_storages
from db_backup.cli.failures import print_failure
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.errors import UsageError
from db_backup.jobs.replicate import ReplicateReport, ReplicateRequest, plan_replication, replicate
from db_backup.units import human_bytes


@click.command("replicate")
@click.argument("backups", nargs=-1, metavar="[BACKUP]...", shell_complete=complete_backups)
@click.option("--database", help="Only this entry's backups.", shell_complete=complete_entries)
@click.option(
    "--to", metavar="STORAGE", help="Into this storage, whatever is configured.", shell_complete=complete_storages
)
@click.option("--dry-run", is_flag=True, help="Show which copies would be made, and why; make none.")
@json_option
def command(backups: tuple[str, ...], database: str | None, to: str | None, dry_run: bool, as_json: bool) -> int:
    """Make the copies that are wanted and missing, and mend those that are damaged; of BACKUP alone, where it is named.

    Wanted is a copy in every storage of the entry, and wherever one could not be written when the backup was made. Each
    is read once from the best other copy, hashed on the way and read back; encrypted backups need no key. With an
    increment go its full and all between. Where a copy turns out to be damaged, the next one is read. Run it again
    after an interruption: it goes on. `backup_daily` does the same every night.

    With BACKUP_KEEP_LOCAL_COPY=false it also removes local copies of what lies in another storage and was read back.

    Exit code 1 when a copy could not be made; the others are.

    \b
    Examples:
      db-backup replicate --dry-run
      db-backup replicate --database shop
      db-backup replicate backup_shop_full_2026-01-31_03-00-00 --to usb
    """
    if backups and database is not None:
        raise UsageError("Both backups and --database are named.", hint="Leave one of them out.")
    request = ReplicateRequest(backups, database, to)
    with opened_workspace() as workspace, stoppable() as cancellation:
        if dry_run:
            report = plan_replication(workspace, request)
        else:
            with terminal_progress() as progress:
                report = replicate(workspace, request, run=cli_run(), progress=progress, cancellation=cancellation)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report, dry_run)
    return 0 if dry_run or report.complete else 1


def _print(report: ReplicateReport, dry_run: bool) -> None:
    if dry_run:
        rows = [(copy.backup_id, copy.storage, "wanted", "-", copy.why) for copy in report.wanted]
    else:
        rows = [
            (copy.backup_id, copy.storage, "mended" if copy.mended else "made", human_bytes(copy.size_bytes), copy.why)
            for copy in report.made
        ]
    if rows:
        print_table(("BACKUP", "STORAGE", "COPY", "SIZE", "WHY"), rows, right=("SIZE",))
    missing = len(report.wanted) - len(report.made)
    silent = ", ".join(report.unreachable)
    unknown = f"; what is missing in {silent} cannot be told now" if silent else ""
    if dry_run:
        click.echo(f"{len(report.wanted)} to be made{unknown}.")
    else:
        removed = f", {len(report.local_removed)} local ones removed" if report.local_removed else ""
        elsewhere = " elsewhere" if silent else ""
        click.echo(f"{len(report.made)} made, {missing} missing{elsewhere}{removed}{unknown}.")
    for left in report.left_alone:
        say(f"{left.backup_id} was left alone: {left.reason}", err=True)
    for warning in report.warnings:
        say(f"Warning: {warning}", err=True)
    for failed in report.failed:
        print_failure(f"{failed.backup_id} was not copied to '{failed.storage}': {failed.error}", failed.hint)
