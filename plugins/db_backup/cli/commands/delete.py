"""db-backup delete"""

from __future__ import annotations

import click

from db_backup.cli.completing import complete_backups
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.jobs.cleanup import delete_backup

_LOCK_WAIT_SECONDS = 10.0


@click.command("delete")
@click.argument("backup", shell_complete=complete_backups)
@click.option(
    "--force",
    is_flag=True,
    help="Even the last verified full, one of the newest three, or what nothing newer replaces.",
)
@json_option
def command(backup: str, force: bool, as_json: bool) -> None:
    """Delete BACKUP (an id or a file name), though its days are not over.

    Refused, with exit code 4, when it is pinned, under legal hold, in use, or needed by a later backup of its chain:
    --force does not override that. Refused without --force: the last verified full, one of the newest three good fulls,
    and a backup that is not verified while no newer full is.

    \b
    Examples:
      db-backup delete backup_shop_full_2026-01-31_03-00-00
      db-backup delete backup_shop_full_2026-01-31_03-00-00 --force
    """
    with opened_workspace() as workspace, stoppable() as cancellation:
        report = delete_backup(
            workspace,
            backup,
            force=force,
            run=cli_run(),
            wait_seconds=_LOCK_WAIT_SECONDS,
            cancellation=cancellation,
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(f"Deleted {report.delete[0].backup_id}.")
