"""db-backup unpin"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_backups
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import moment, print_json
from db_backup.cli.runtime import cli_run, json_option
from db_backup.jobs.pins import set_pin


@click.command("unpin")
@click.argument("backup", shell_complete=complete_backups)
@json_option
def command(backup: str, as_json: bool) -> None:
    """Take the pin off BACKUP (an id or a file name): its days count again.

    \b
    Examples:
      db-backup unpin backup_shop_full_2026-01-31_03-00-00
    """
    with opened_workspace() as workspace:
        summary = set_pin(workspace, backup, pinned=False, run=cli_run())
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        click.echo(f"{summary.id} is not pinned. Its days last until {moment(summary.expires_at)}.")
