"""db-backup databases"""

from __future__ import annotations

import click

from db_backup.cli.failures import print_failure
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import age, print_json, print_table, say
from db_backup.cli.runtime import json_option
from db_backup.jobs.overview import EntryCheck, EntryOverview, overview
from db_backup.model import Scope


@click.command("databases")
@click.option("--check", is_flag=True, help="Connect to each, and try what a backup would need.")
@json_option
def command(check: bool, as_json: bool) -> int:
    """Show what is protected; with --check, whether it can be reached and backed up (exit code 1 when not).

    \b
    Examples:
      db-backup databases
      db-backup databases --check --json
    """
    with opened_workspace() as workspace:
        entries = overview(workspace, check=check)
    if as_json:
        print_json({"databases": [entry.model_dump(mode="json") for entry in entries]})
    else:
        _print(entries, check)
    return 1 if any(entry.check is not None and not entry.check.reachable for entry in entries) else 0


def _print(entries: tuple[EntryOverview, ...], check: bool) -> None:
    columns = ["DATABASE", "ENGINE", "CONNECTION", "TYPES", "LAST BACKUP", "STATUS"] + (["CHECK"] if check else [])
    print_table(columns, [_row(entry) for entry in entries])
    for entry in entries:
        if entry.check is not None:
            for warning in entry.check.warnings:
                say(f"Warning for {entry.database}: {warning}", err=True)
            if not entry.check.reachable:
                print_failure(entry.check.error, entry.check.hint, about=entry.database)


def _row(entry: EntryOverview) -> list[str]:
    row = [
        entry.database,
        _engine(entry),
        f"{entry.conn_id} (dumps: {entry.read_conn_id})" if entry.read_conn_id else entry.conn_id,
        " ".join(entry.types),
        f"{age(entry.last_backup_at)} ago" if entry.last_backup_at else "never",
        entry.last_status.value if entry.last_status else "-",
    ]
    return row if entry.check is None else [*row, _check_words(entry.check)]


def _engine(entry: EntryOverview) -> str:
    engine = entry.engine.value if entry.engine else "from the connection"
    return f"{engine} (server)" if entry.scope is Scope.SERVER else engine


def _check_words(check: EntryCheck) -> str:
    return check.server if check.reachable else "not reachable"
