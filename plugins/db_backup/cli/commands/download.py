"""db-backup download"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from db_backup.cli.completing import complete_backups, complete_storages
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.errors import UsageError
from db_backup.jobs.download import DownloadRequest, download_backup, stream_backup
from db_backup.units import human_bytes

_STDOUT = "-"


@click.command("download")
@click.argument("backup", shell_complete=complete_backups)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A file, an existing folder, or - for stdout. Default: the working folder, under the backup's own name.",
)
@click.option("--raw", is_flag=True, help="The bytes as they are stored: neither decrypted nor decompressed.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@click.option(
    "--from-storage", metavar="NAME", help="The copy in this storage and no other.", shell_complete=complete_storages
)
@click.option("--no-wait", is_flag=True, help="Only ask for what must be thawed first, and come back later.")
@json_option
def command(
    backup: str, output: str | None, raw: bool, force: bool, from_storage: str | None, no_wait: bool, as_json: bool
) -> None:
    """Fetch BACKUP (an id or a file name), decrypted and decompressed, as the database's own tool wrote it.

    Size and SHA-256 are checked on the way; the file appears when it is whole, or not at all. A backup of several
    parts comes as one tar, with its manifest. An existing file is refused with exit code 4.

    Where several storages hold BACKUP and a copy turns out to be damaged or out of reach, the next one is fetched, and
    a warning says so. What went to stdout cannot be taken back: there a copy is read and checked to its end first,
    unless it is the only one.

    What was archived to a cold class is asked for and waited for, which takes hours; --no-wait only asks.

    \b
    Examples:
      db-backup download backup_shop_full_2026-01-31_03-00-00
      db-backup download backup_shop_full_2026-01-31_03-00-00 -o /srv/export --raw
      db-backup download backup_shop_full_2026-01-31_03-00-00 -o -
    """
    target = Path(output) if output not in {None, _STDOUT} else None
    request = DownloadRequest(backup, target, raw, force, from_storage, wait_for_thaw=not no_wait)
    to_stdout = output == _STDOUT
    if to_stdout and (as_json or sys.stdout.isatty()):
        reason = "with --json, which prints there too" if as_json else "for it is a terminal"
        raise UsageError(f"The backup cannot go to stdout {reason}.", hint="Redirect it, or name a file with -o.")
    with opened_workspace(indexed=False) as workspace, stoppable() as cancellation, terminal_progress() as progress:
        if to_stdout:
            with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as stdout:
                report = stream_backup(
                    workspace, request, stdout, run=cli_run(), progress=progress, cancellation=cancellation
                )
        else:
            report = download_backup(workspace, request, run=cli_run(), progress=progress, cancellation=cancellation)
    for warning in report.warnings:
        say(f"Warning: {warning}", err=True)
    if to_stdout:
        return
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(f"{report.path} ({human_bytes(report.size_bytes)})")
