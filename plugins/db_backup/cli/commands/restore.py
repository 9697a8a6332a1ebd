"""db-backup restore"""

from __future__ import annotations

from pathlib import Path

import click

from db_backup.cli.completing import complete_backups
from db_backup.cli.output import print_json
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, not_yet, stoppable
from db_backup.jobs.restore import RestoreReport, RestoreRequest, restore_backup
from db_backup.jobs.sidecars import locate
from db_backup.jobs.workspace import Workspace
from db_backup.model import EngineName
from db_backup.units import human_duration


@click.command("restore")
@click.argument("backup", shell_complete=complete_backups)
@click.option(
    "--as", "new_name", required=True, metavar="NAME", help="The new database to create (SQLite: the new file)."
)
@not_yet("--database", "--to", "--to-time", "--source-database", "--table")
@not_yet("--list", "--test", "--force", "--with-owners", "--no-safety-backup", flag=True)
@json_option
def command(backup: str, new_name: str, as_json: bool) -> int:
    """Restore BACKUP (an id or a file name) into a new database beside the one it came from.

    Nothing that exists is touched: a name that is taken is refused with exit code 4. Afterwards every table is
    compared with the manifest; exit code 3 when something differs.

    \b
    Examples:
      db-backup restore backup_shop_full_2026-01-31_03-00-00 --as shop_copy
      db-backup restore backup_app_full_2026-01-31_03-00-00 --as /srv/app-restored.sqlite --json
    """
    with Workspace.open() as workspace, stoppable() as cancellation, terminal_progress() as progress:
        manifest = locate(workspace, backup).manifest
        target = str(Path(new_name).absolute()) if manifest.engine is EngineName.SQLITE else new_name
        report = restore_backup(
            workspace,
            RestoreRequest(backup=manifest.id, new_name=target),
            run=cli_run(),
            progress=progress,
            cancellation=cancellation,
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print(report)
    return 3 if report.differences else 0


def _print(report: RestoreReport) -> None:
    click.echo(f"Restored {report.backup_id} to {report.target} in {human_duration(report.duration_seconds)}.")
    if report.differences:
        click.echo(f"{len(report.differences)} differences from the manifest:", err=True)
        for difference in report.differences:
            click.echo(f"  {difference}", err=True)
    else:
        click.echo(f"All {report.tables} tables with {report.rows:,} rows are as the manifest says.")
    for warning in report.warnings:
        click.echo(f"Warning: {warning}", err=True)
