"""db-backup pin"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_backups
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json
from db_backup.cli.runtime import cli_run, json_option
from db_backup.jobs.pins import set_pin


@click.command("pin")
@click.argument("backup", shell_complete=complete_backups)
@json_option
def command(backup: str, as_json: bool) -> None:
    """Keep BACKUP (an id or a file name), and what it needs, until it is unpinned.

    \b
    Examples:
      db-backup pin backup_shop_full_2026-01-31_03-00-00
    """
    with opened_workspace() as workspace:
        summary = set_pin(workspace, backup, pinned=True, run=cli_run())
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        click.echo(f"{summary.id} is pinned: it is kept until you unpin it.")
