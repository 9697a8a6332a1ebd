"""db-backup keys"""

from __future__ import annotations

import click

from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import age, print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.encryption.key_file import KeyKind
from db_backup.jobs.canary import Canary, CanaryResult, try_keys
from db_backup.jobs.keys import GeneratedKey, KeysReport, ListedKey, generate_key, list_keys
from db_backup.jobs.rotate_keys import RotationReport, rotate_keys


@click.group("keys")
def command() -> None:
    """The keys that backups are encrypted for: generate, list, rotate.

    Each backup has a data key of its own, which lies beside it, wrapped for one or more of these keys. Whoever loses
    all of them has lost the backups.

    \b
    Examples:
      db-backup keys generate default
      db-backup keys generate escrow --public-key
      db-backup keys list --check
      db-backup keys rotate --dry-run
    """


@command.command("generate")
@click.argument("name")
@click.option("--public-key", "public", is_flag=True, help="A pair: who writes backups needs only its public half.")
@json_option
def generate(name: str, public: bool, as_json: bool) -> None:
    """Make the key NAME and write it into a file of BACKUP_KEYS_PATH. An existing key is refused with exit code 4.

    With --public-key there are two files: NAME.public.json stays here and encrypts; NAME.json opens, and may be taken
    away to where restores are made.

    \b
    Examples:
      db-backup keys generate default
      db-backup keys generate main-2027
      db-backup keys generate escrow --public-key
    """
    with opened_workspace() as workspace:
        made = generate_key(workspace, name, public=public, run=cli_run())
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _print_generated(made)


@command.command("list")
@click.option(
    "--check", is_flag=True, help="Really open the newest encrypted backup of every entry (as far as its key)."
)
@json_option
def list_(check: bool, as_json: bool) -> int:
    """Show every key: its kind and fingerprint, its age, how many backups need it, and whether it is usable here.

    A key that backups need and that is not here is listed too. With --check, exit code 1 when a backup could not be
    opened by any key.

    \b
    Examples:
      db-backup keys list
      db-backup keys list --check --json
    """
    with opened_workspace() as workspace:
        report = list_keys(workspace)
        tried = try_keys(workspace, run=cli_run(), stored=report.backup_ids) if check else ()
    if as_json:
        canaries = {"checks": [canary.model_dump(mode="json") for canary in tried]} if check else {}
        print_json(report.model_dump(mode="json") | canaries)
    else:
        _print_list(report, tried)
    return 1 if any(canary.result is CanaryResult.FAILED for canary in tried) else 0


@command.command("rotate")
@click.option("--dry-run", is_flag=True, help="Open every data key and say what would be done; change nothing.")
@json_option
def rotate(dry_run: bool, as_json: bool) -> int:
    """Wrap the data keys of all backups for the keys that BACKUP_ENCRYPTION_KEY_ID names now, and for no others.

    The old keys must still be here; afterwards no backup needs them. What is stored of the databases is not touched.
    Stopped half-way, run it again. Exit code 1 when a backup failed or a storage did not answer: keep the old keys.

    \b
    Examples:
      db-backup keys generate main-2027
      BACKUP_ENCRYPTION_KEY_ID=main-2027 db-backup keys rotate --dry-run
    """
    with opened_workspace() as workspace, stoppable() as cancellation, terminal_progress() as progress:
        report = rotate_keys(workspace, dry_run=dry_run, run=cli_run(), progress=progress, cancellation=cancellation)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _print_rotation(report)
    return 0 if report.complete else 1


def _print_generated(made: GeneratedKey) -> None:
    for path in made.files:
        click.echo(f"Wrote {path}")
    click.echo(f"  Key: {made.name} ({made.kind}), fingerprint {made.fingerprint}")
    click.echo("Keep a copy of it away from this machine and from the backups: a lost key is lost backups.")
    click.echo("A break-glass kit that was exported before does not hold it: export a new one.")
    if made.kind is KeyKind.PRIVATE:
        click.echo(
            f"This worker needs only {made.files[1].name} to write backups; with {made.files[0].name} it reads them."
        )
    if not made.is_recipient:
        click.echo(f"Next: name it in BACKUP_ENCRYPTION_KEY_ID, for new backups are not encrypted for {made.name} yet.")


def _print_list(report: KeysReport, tried: tuple[Canary, ...]) -> None:
    rows = [
        (
            key.name,
            key.kind or "-",
            key.fingerprint or "-",
            age(key.created_at) if key.created_at else "-",
            str(key.backups),
            _use(key),
        )
        for key in report.keys
    ]
    print_table(("KEY", "KIND", "FINGERPRINT", "AGE", "BACKUPS", "HERE"), rows, right=("AGE", "BACKUPS"))
    click.echo(f"Encrypted backups: {report.encrypted_backups}.")
    for key in report.keys:
        if key.error:
            say(f"Warning: {key.name}: {key.error}", err=True)
    for reason in report.unreached:
        say(f"Warning: {reason} Its backups are not counted.", err=True)
    for canary in tried:
        say(f"{canary.entry}: {canary.backup_id}: {canary.result}. {canary.reason}".rstrip())


def _use(key: ListedKey) -> str:
    if key.error:
        return "not here"
    words = "opens" if key.opens else "public half"
    return f"{words}, for new backups" if key.is_recipient else words


def _print_rotation(report: RotationReport) -> None:
    keys = ", ".join(f"{recipient.name} ({recipient.fingerprint})" for recipient in report.recipients)
    done = "Backups to be wrapped" if report.dry_run else "Backups wrapped"
    click.echo(f"{done} for {keys}: {report.rewrapped}. Already so: {report.already}.")
    for failed in report.failed:
        say(f"Error: {failed.backup_id}: {failed.error}\n  {failed.hint}", err=True)
    for reason in report.unreached:
        say(f"Error: {reason} What lies there still needs its old keys.", err=True)
    if not report.complete:
        click.echo("Keep the old keys, and run it again.", err=True)
    elif not report.dry_run:
        click.echo(
            "None of them needs another key any more. A backup that was being made meanwhile, or by a worker with the "
            "old setting, may: see that `db-backup keys list` counts none for the old keys before they go."
        )
