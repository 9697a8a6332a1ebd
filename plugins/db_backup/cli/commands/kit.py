"""db-backup kit"""

from __future__ import annotations

from pathlib import Path

import click

from db_backup.cli.output import print_json, say
from db_backup.cli.passphrase import passphrase_from, passphrase_option
from db_backup.cli.runtime import cli_run, json_option
from db_backup.jobs.kit import ImportReport, Kit, KitReport, export_kit, import_kit, read_sealed
from db_backup.jobs.workspace import Workspace


@click.group("kit")
def command() -> None:
    """The break-glass kit: one encrypted file with the connections and settings that a restore needs.

    They otherwise lie in the Airflow that may be what has died. Keep it away from this machine and from the backups,
    and its passphrase away from it. `db-backup --kit FILE restore …` uses it.

    \b
    Examples:
      db-backup kit export /media/safe/shop.kit.age
      db-backup kit import /media/safe/shop.kit.age
      db-backup --kit /media/safe/shop.kit.age restore --list
    """


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
def export(file: Path, passphrase_file: str | None, force: bool, as_json: bool) -> None:
    """Write backup.yaml, the settings that are set, every connection that they name and all key files into FILE.

    FILE is encrypted; it is an age file, which `age -d FILE` opens too. The passphrase has 12 characters at least and
    is typed twice. A connection that cannot be found is an error, and no file is written. An existing file is refused
    with exit code 4. Of keys that are not in the kit a warning tells.

    \b
    Examples:
      db-backup kit export /media/safe/shop.kit.age
      db-backup kit export /media/safe/shop.kit.age --passphrase-file /run/secrets/kit --force
    """
    with Workspace.open() as workspace:
        report = export_kit(
            workspace, file, lambda: passphrase_from(passphrase_file, new=True), replace=force, run=cli_run()
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_export(report)


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where to write. Default: the project's root, where it takes effect.",
)
@passphrase_option
@json_option
def import_(file: Path, into: Path | None, passphrase_file: str | None, as_json: bool) -> None:
    """Write the kit FILE out for good: include/backup.yaml, and .env with settings, connections and passwords.

    Keys go into BACKUP_KEYS_PATH. Nothing is overwritten: where one of the files is there already and is not the same
    key, it is refused with exit code 4. To restore, there is
    no need to import: `db-backup --kit FILE restore …` leaves nothing behind.

    \b
    Examples:
      db-backup kit import /media/safe/shop.kit.age
      db-backup kit import /media/safe/shop.kit.age --into /srv/airflow --passphrase-file -
    """
    sealed = read_sealed(file)
    kit = Kit.unseal(sealed, passphrase_from(passphrase_file), source=str(file))
    report = import_kit(kit, into, run=cli_run())
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_import(report)


def _print_export(report: KitReport) -> None:
    click.echo(f"Wrote {report.path}")
    click.echo(f"  Entries: of {report.configuration}")
    click.echo(f"  Connections: {', '.join(report.connections)}")
    click.echo(f"  Settings: {', '.join(report.settings)}")
    click.echo(f"  Keys: {', '.join(report.keys) or 'none'}")
    for warning in report.warnings:
        say(f"Warning: {warning}", err=True)
    click.echo("Keep it away from this machine, and its passphrase away from it. Try it now:")
    click.echo(f"  db-backup --kit {report.path} databases --check")


def _print_import(report: ImportReport) -> None:
    for path in report.files:
        click.echo(f"Wrote {path}")
    for warning in report.warnings:
        say(f"Warning: {warning}", err=True)
    if not report.in_use:
        click.echo(f"Next: copy them into the project's root, for nothing reads them in {report.folder}.")
        return
    click.echo("Next: see that BACKUP_LOCAL_PATH in .env is where the backups are mounted here, then")
    click.echo("  db-backup catalog reindex")
    click.echo("  db-backup databases --check")
