"""db-backup restore"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from db_backup.cli.completing import complete_backups, complete_entries, complete_storages
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json
from db_backup.cli.progress import terminal_progress
from db_backup.cli.restoring import asked_point, confirm, print_report, print_restorable
from db_backup.cli.runtime import at_terminal, cli_run, json_option, stoppable
from db_backup.errors import UsageError
from db_backup.jobs.restore import RestoreRequest, planned_restore, restorable_backups
from db_backup.jobs.restore.resolve import resolve_backup
from db_backup.jobs.workspace import Workspace
from db_backup.model import MOST_JOBS, EngineName

_LISTED = 200  # newest backups that are shown, or offered to choose from


@click.command("restore")
@click.argument("backup", required=False, shell_complete=complete_backups)
@click.option("--list", "list_only", is_flag=True, help="List the backups that can be restored, newest first.")
@click.option(
    "--database",
    help="The newest good full backup of this entry; with --list only its.",
    shell_complete=complete_entries,
)
@click.option("--to", metavar="TARGET", help="Another server: a restore target of backup.yaml, or a connection's id.")
@click.option("--as", "new_name", metavar="NAME", help="The database there (SQLite: the file). Default: its own.")
@click.option("--source-database", metavar="NAME", help="Which database, of a backup that holds several.")
@click.option("--table", "tables", multiple=True, help="Only this table of a full backup (repeatable).")
@click.option("--test", is_flag=True, help="Into a scratch server only: nothing else is touched.")
@click.option("--force", is_flag=True, help="Replace what the target holds.")
@click.option(
    "--confirm", "typed", metavar="NAME", help="The target database's name: the yes that a script cannot type."
)
@click.option("--with-owners", is_flag=True, help="Owners, grants and missing roles too.")
@click.option(
    "--jobs", type=click.IntRange(1, MOST_JOBS), default=1, show_default=True, help="Parallel loads, at most."
)
@click.option("--no-safety-backup", is_flag=True, help="Do not back up what is replaced or added to.")
@click.option(
    "--from-storage",
    metavar="NAME",
    help="Read the copies in this storage and no other.",
    shell_complete=complete_storages,
)
@click.option("--no-wait", is_flag=True, help="Only ask for what must be thawed first, and come back later.")
@click.option("--to-time", metavar="TIME", help="As it was at this moment, such as '2026-01-31 14:05:00'.")
@click.option("--to-lsn", metavar="LSN", help="PostgreSQL: up to the log record that ends at this LSN.")
@click.option("--to-gtid", metavar="GTID", help="MariaDB: up to and with this transaction.")
@click.option("--to-position", metavar="FILE:POS", help="MySQL, MariaDB: up to this position in the binlog.")
@json_option
def command(
    backup: str | None,
    list_only: bool,
    database: str | None,
    to: str | None,
    new_name: str | None,
    source_database: str | None,
    tables: tuple[str, ...],
    test: bool,
    force: bool,
    typed: str | None,
    with_owners: bool,
    jobs: int,
    no_safety_backup: bool,
    from_storage: str | None,
    no_wait: bool,
    to_time: str | None,
    to_lsn: str | None,
    to_gtid: str | None,
    to_position: str | None,
    as_json: bool,
) -> int:
    """Restore BACKUP: an id, a file name, or `latest` with --database.

    Without BACKUP, the newest good full backup of --database; on a terminal without either, you choose from a list.
    It goes back to the database that it was taken of, unless --as or --to name another. A database that holds something
    is refused with exit code 4; --force replaces it: a safety backup is made first, the backup is loaded beside, and
    takes the place of the old database only when all is as the manifest says. Airflow and the catalogue are not needed.

    --to-time goes back to any moment that `db-backup list --recovery` shows; a time without a zone is one of
    BACKUP_TIMEZONE. The database is one with `server:`, or a server's with --source-database. What held it is rebuilt
    in a scratch server first; so it is where BACKUP is an increment, or of a whole server: then as it was at its end.

    Where several storages hold a backup, and a copy turns out to be damaged or out of reach, it begins again with the
    next one, and a warning says so.

    What was archived to a cold class, and has no copy elsewhere, is asked for and waited for: that takes hours. With
    --no-wait it is only asked for (exit code 1); run the same again when it is there.

    Exit code 3 when something differs from the manifest, or a check of the configuration fails.

    \b
    Examples:
      db-backup restore --list --database shop
      db-backup restore backup_shop_full_2026-01-31_03-00-00 --as shop_copy
      db-backup restore latest --database shop --force
      db-backup restore --database shop --table public.orders --as shop_orders
      db-backup restore --database shop --to staging --as shop --json
      db-backup restore --database shop --test
      db-backup restore --database shop --to-time "2026-01-31 14:05:00" --as shop_before
    """
    with opened_workspace(indexed=False, needs_catalogue=False) as workspace:
        _tell_of_lost_catalogue(workspace)
        if list_only:
            return _list(workspace, backup, database, as_json)
        point = asked_point(workspace.settings.backup_timezone, to_time, to_lsn, to_gtid, to_position)
        if backup is None and database is None and point is None:
            backup = _pick(workspace)
        request = RestoreRequest(
            backup=backup,
            database=database,
            to=to,
            new_name=new_name,
            source_database=source_database,
            point=point,
            tables=tables,
            with_owners=with_owners,
            jobs=jobs,
            force=force,
            safety_backup=not no_safety_backup,
            scratch=test,
            from_storage=from_storage,
            wait_for_thaw=not no_wait,
        )
        return _restore(workspace, _with_whole_path(workspace, request), typed, as_json)


def _restore(workspace: Workspace, request: RestoreRequest, typed: str | None, as_json: bool) -> int:
    report = None
    with stoppable() as cancellation:
        try:
            with planned_restore(workspace, request, run=cli_run(), cancellation=cancellation) as planned:
                confirm(planned.plan, typed)
                with terminal_progress() as progress:
                    report = planned.carry_out(progress, cancellation)
        finally:  # also where all was done, and the audit trail could not be told
            if report is not None and as_json:
                print_json(report.model_dump(mode="json"))
            elif report is not None:
                print_report(report, planned.plan)
        return 3 if report.differences else 0


def _with_whole_path(workspace: Workspace, request: RestoreRequest) -> RestoreRequest:
    """A file is named from the folder that a person works in."""
    if request.new_name is None or resolve_backup(workspace, request).located.manifest.engine is not EngineName.SQLITE:
        return request
    return dataclasses.replace(request, new_name=str(Path(request.new_name).absolute()))


def _list(workspace: Workspace, backup: str | None, database: str | None, as_json: bool) -> int:
    if backup is not None:
        raise UsageError("--list takes no backup.", hint="Narrow it down with --database.")
    backups = restorable_backups(workspace, database, limit=_LISTED)
    if as_json:
        print_json({"backups": [one.model_dump(mode="json") for one in backups]})
    else:
        print_restorable(backups)
    return 0


def _pick(workspace: Workspace) -> str:
    if not at_terminal():
        raise UsageError(
            "Nobody said which backup to restore, and nobody can be asked here.",
            hint="Name it, or its database with --database; `db-backup restore --list` shows what there is.",
        )
    from db_backup.cli.picker import pick_backup  # drawn at a terminal only

    return pick_backup(restorable_backups(workspace, limit=_LISTED))


def _tell_of_lost_catalogue(workspace: Workspace) -> None:
    if (lost := workspace.catalog_lost) is not None:
        click.echo(
            f"Warning: {lost.message} It goes on without: other processes do not see what is being restored.", err=True
        )
