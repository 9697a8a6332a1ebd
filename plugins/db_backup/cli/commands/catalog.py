"""db-backup catalog"""

from __future__ import annotations

import click

from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table
from db_backup.cli.runtime import cli_run, json_option
from db_backup.jobs.reindex import CatalogReport, check_catalog, reindex_catalog


@click.group("catalog")
def command() -> None:
    """The index of backups: rebuild it from what lies in storage, or hold the two against each other.

    \b
    Examples:
      db-backup catalog reindex
      db-backup catalog check --json
    """


@command.command("reindex")
@json_option
def reindex(as_json: bool) -> int:
    """Rebuild the catalogue's index from the manifests and states in every storage.

    Exit code 1 when some could not be read; the others are indexed.

    \b
    Examples:
      db-backup catalog reindex
    """
    with opened_workspace() as workspace:
        report = reindex_catalog(workspace, run=cli_run())
    return _present(report, f"{report.backups} backups indexed in {report.catalog}.", as_json)


@command.command("check")
@json_option
def check(as_json: bool) -> int:
    """Compare catalogue and storages; changes nothing. Exit code 1 when they differ.

    \b
    Examples:
      db-backup catalog check
    """
    with opened_workspace() as workspace:
        report = check_catalog(workspace)
    return _present(report, f"{report.backups} backups checked against {report.catalog}.", as_json)


def _present(report: CatalogReport, words: str, as_json: bool) -> int:
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        click.echo(words)
        if report.problems:
            print_table(
                ("BACKUP", "STORAGE", "PROBLEM", "WHAT TO DO"),
                [(item.backup_id, item.storage, item.problem, item.remedy) for item in report.problems],
                blocks=True,
            )
    return 1 if report.problems else 0
