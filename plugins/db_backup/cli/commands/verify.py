"""db-backup verify"""

from __future__ import annotations

from typing import Any

import click

from db_backup.catalog import BackupQuery
from db_backup.cli.commands.create import proof_words
from db_backup.cli.completing import complete_backups
from db_backup.cli.output import print_json, print_table
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.errors import UsageError
from db_backup.jobs.verify import verify_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof
from db_backup.model import ProofResult, VerificationLevel
from db_backup.units import human_duration

_PAGE = 500


@click.command("verify")
@click.argument("backups", nargs=-1, shell_complete=complete_backups)
@click.option("--all", "everything", is_flag=True, help="Every backup in the catalogue.")
@click.option("--latest", is_flag=True, help="The newest backup of every database.")
@click.option(
    "--level",
    type=click.Choice([item.value for item in VerificationLevel]),
    help="How far to go. Default: what the backup's type requires.",
)
@json_option
def command(backups: tuple[str, ...], everything: bool, latest: bool, level: str | None, as_json: bool) -> int:
    """Prove BACKUPS (ids or file names) and record the proofs.

    Exit code 3 when one failed, 1 when one was inconclusive: it could not be tried as far as asked.

    \b
    Examples:
      db-backup verify backup_shop_full_2026-01-31_03-00-00
      db-backup verify --latest --level restore
      db-backup verify --all --level checksum --json
    """
    if sum((bool(backups), everything, latest)) != 1:
        raise UsageError("Say which backups to verify.", hint="Name them, or use either --all or --latest.")
    with Workspace.open() as workspace, stoppable() as cancellation, terminal_progress() as progress:
        chosen = backups or tuple(_every(workspace) if everything else _newest(workspace))
        asked = VerificationLevel(level) if level else None
        proofs = [
            (
                backup,
                verify_backup(workspace, backup, asked, run=cli_run(), progress=progress, cancellation=cancellation),
            )
            for backup in chosen
        ]
    if as_json:
        print_json({"proofs": [_document(backup, proof) for backup, proof in proofs]})
    else:
        _print(proofs)
    results = {proof.result for _, proof in proofs}
    return 3 if ProofResult.FAILED in results else 1 if ProofResult.INCONCLUSIVE in results else 0


def _every(workspace: Workspace) -> list[str]:
    ids: list[str] = []
    cursor = None
    while True:
        page = workspace.catalog.page(BackupQuery(), limit=_PAGE, cursor=cursor)
        ids.extend(backup.id for backup in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return ids


def _newest(workspace: Workspace) -> list[str]:
    newest = [workspace.catalog.newest(name) for name in workspace.config.entries]
    return [backup.id for backup in newest if backup is not None]


def _document(backup: str, proof: Proof) -> dict[str, Any]:
    return {"backup_id": backup, **proof.model_dump(mode="json")}


def _print(proofs: list[tuple[str, Proof]]) -> None:
    print_table(
        ("BACKUP", "PROOF", "TOOK"),
        [(backup, proof_words(proof), human_duration(proof.duration_seconds)) for backup, proof in proofs],
        right=("TOOK",),
    )
    for backup, proof in proofs:
        if proof.result is not ProofResult.PASSED:
            click.echo(f"{backup}: {proof.result}: {proof.reason}", err=True)
            for difference in proof.differences:
                click.echo(f"  {difference}", err=True)
