"""db-backup archive"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_entries, complete_storages
from db_backup.cli.failures import print_failure
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import DAYS, cli_run, json_option, stoppable
from db_backup.jobs.archive import ArchiveReport, ArchiveRequest, archive_backups, plan_archive
from db_backup.storage_classes import STORAGE_CLASSES
from db_backup.units import human_bytes


@click.command("archive")
@click.option("--older-than", "days", type=DAYS, help="Backups made before so many days. Default: the storage's own.")
@click.option("--database", help="Only this entry's.", shell_complete=complete_entries)
@click.option("--storage", metavar="NAME", help="Only copies in this storage.", shell_complete=complete_storages)
@click.option(
    "--storage-class",
    type=click.Choice(list(STORAGE_CLASSES)),
    metavar="CLASS",
    help=f"One of: {', '.join(STORAGE_CLASSES)}. Default: the storage's own.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be moved, and why the rest stays; move nothing.")
@json_option
def command(
    days: int | None,
    database: str | None,
    storage: str | None,
    storage_class: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Move old backups to a colder, cheaper class of their storage.

    What backup.yaml says with `archive:` of a storage is done, unless the options say otherwise. Only verified backups
    are moved; never the newest verified one of a type, one that is in use or locked, or one that is needed for moments
    that are to be recoverable at once. Pinned backups are moved: a pin keeps them, and no longer.

    `db-backup restore` asks for what must be thawed, and waits for it: with GLACIER and DEEP_ARCHIVE of S3, and the
    tier Archive of Azure, that takes hours.

    Exit code 1 when a copy could not be moved; the next call goes on with it.

    \b
    Examples:
      db-backup archive --dry-run
      db-backup archive --older-than 60 --storage s3 --storage-class DEEP_ARCHIVE
      db-backup archive --database shop --json
    """
    request = ArchiveRequest(
        entries=(database,) if database else None,
        storages=(storage,) if storage else None,
        older_than_days=days,
        storage_class=storage_class,
    )
    with opened_workspace() as workspace, stoppable() as cancellation:
        if dry_run:
            report = plan_archive(workspace, request)
        else:
            with terminal_progress() as progress:
                report = archive_backups(
                    workspace, request, run=cli_run(), progress=progress, cancellation=cancellation
                )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report, dry_run)
    return 1 if report.failed else 0


def _print(report: ArchiveReport, dry_run: bool) -> None:
    rows = [
        (moved.backup_id, moved.storage, human_bytes(moved.size_bytes), moved.storage_class, moved.remark)
        for moved in report.archive
    ]
    rows += [(kept.backup_id, kept.storage, "", "stays", kept.reason) for kept in report.keep]
    if rows:
        print_table(("BACKUP", "STORAGE", "SIZE", "CLASS", ""), rows, right=("SIZE",))
    size = human_bytes(sum(moved.size_bytes for moved in report.archive))
    click.echo(
        f"{len(report.archive)} copies ({size}) {'to be moved' if dry_run else 'moved'}, {len(report.keep)} stay."
    )
    for warning in report.warnings:
        say(f"Warning: {warning}.", err=True)
    for failed in report.failed:
        where = f"{failed.backup_id} could not be moved in '{failed.storage}'"
        print_failure(f"{where}: {failed.error}", failed.hint)
