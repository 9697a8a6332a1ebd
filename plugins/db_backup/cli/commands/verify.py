"""db-backup verify"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import click

from db_backup.cli.completing import complete_backups, complete_storages
from db_backup.cli.failures import as_backup_error, print_error
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.proofs import print_shortcoming, proof_document, proof_words
from db_backup.cli.runtime import cli_run, json_option, stoppable
from db_backup.errors import BackupError, Interrupted, UnknownBackup, UsageError
from db_backup.jobs.select import every_backup, newest_backups
from db_backup.jobs.verify import Verification, verify_copies
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof
from db_backup.model import ProofResult, VerificationLevel
from db_backup.progress import Cancellation, Progress
from db_backup.units import human_duration


@dataclass
class _Results:
    """What came of each backup; one that could not be tried stops no other."""

    verifications: list[tuple[str, Verification]] = field(default_factory=list)  # by the backup as it was named
    failed: list[tuple[str, BackupError]] = field(default_factory=list)

    @property
    def proofs(self) -> list[tuple[str, Proof]]:
        """One for each copy, of each backup first that of the copy that was proved as far as was asked."""
        return [(backup, proof) for backup, verification in self.verifications for proof in verification.proofs]

    @property
    def exit_code(self) -> int:
        codes = {error.exit_code for _, error in self.failed}
        if Interrupted.exit_code in codes:
            return Interrupted.exit_code
        results = {verification.worst.result for _, verification in self.verifications}
        if ProofResult.FAILED in results or 3 in codes:
            return 3
        if codes:
            return codes.pop() if len(codes) == 1 else 1
        return 1 if ProofResult.INCONCLUSIVE in results else 0

    def document(self) -> dict[str, Any]:
        return {
            "proofs": [proof_document(backup, proof) for backup, proof in self.proofs],
            "failed": [
                {"backup_id": backup, "error": error.message, "hint": error.hint} for backup, error in self.failed
            ],
        }


@click.command("verify")
@click.argument("backups", nargs=-1, shell_complete=complete_backups)
@click.option("--all", "everything", is_flag=True, help="Every backup in the catalogue.")
@click.option("--latest", is_flag=True, help="The newest backup of every database, safety backups aside.")
@click.option(
    "--level",
    type=click.Choice([item.value for item in VerificationLevel]),
    help="How far to go. Default: what the backup's type requires.",
)
@click.option(
    "--from-storage", metavar="NAME", help="The copy in this storage and no other.", shell_complete=complete_storages
)
@json_option
def command(
    backups: tuple[str, ...], everything: bool, latest: bool, level: str | None, from_storage: str | None, as_json: bool
) -> int:
    """Prove BACKUPS (ids or file names) and record the proofs. One that cannot be tried stops no other.

    One copy is proved as far as asked; of every other one each byte is read and compared with what was written.

    Exit code 3 when one failed, also where the backup stands by another copy; 1 when one could not be tried, or was
    inconclusive: not tried as far as asked, so that the proof that was asked for is not there.

    \b
    Examples:
      db-backup verify backup_shop_full_2026-01-31_03-00-00
      db-backup verify --latest --level restore
      db-backup verify backup_shop_full_2026-01-31_03-00-00 --from-storage s3
      db-backup verify --all --level checksum --json
    """
    if sum((bool(backups), everything, latest)) != 1:
        raise UsageError("Say which backups to verify.", hint="Name them, or use either --all or --latest.")
    with opened_workspace() as workspace, stoppable() as cancellation, terminal_progress() as progress:
        chosen = backups or (every_backup(workspace) if everything else newest_backups(workspace))
        asked = VerificationLevel(level) if level else None
        results = _verify(workspace, chosen, asked, from_storage, progress, cancellation, named=bool(backups))
    if as_json:
        print_json(results.document())
    else:
        _print(results)
    _tell(results)
    return results.exit_code


def _verify(
    workspace: Workspace,
    chosen: Iterable[str],
    level: VerificationLevel | None,
    storage: str | None,
    progress: Progress,
    cancellation: Cancellation,
    *,
    named: bool,
) -> _Results:
    run = cli_run()
    results = _Results()
    for backup in chosen:
        try:
            verification = verify_copies(
                workspace, backup, level, storage=storage, run=run, progress=progress, cancellation=cancellation
            )
        except (Interrupted, KeyboardInterrupt):
            results.failed.append((backup, _interrupted(backup, cancellation.reason)))
            break
        except Exception as error:  # noqa: BLE001 - a bug met in one backup stops no other
            if isinstance(error, UnknownBackup) and not named and not workspace.catalog.knows(backup):
                continue  # deleted since they were listed
            results.failed.append((backup, as_backup_error(error)))
        else:
            results.verifications.append((backup, verification))
    return results


def _interrupted(backup: str, reason: str) -> Interrupted:
    return Interrupted(
        f"The verification of {backup} was interrupted: {reason}.",
        hint="No proof of it was recorded, and backups after it were not tried: run it again.",
    )


def _print(results: _Results) -> None:
    if results.proofs:
        rows = [
            (backup, proof_words(proof), human_duration(proof.duration_seconds), proof.storage)
            for backup, proof in results.proofs
        ]
        shown = 4 if len(rows) > len(results.verifications) else 3  # which copy it was, where there are several
        print_table(("BACKUP", "PROOF", "TOOK", "COPY")[:shown], [row[:shown] for row in rows], right=("TOOK",))
    elif not results.failed:
        click.echo("No backups to verify.", err=True)


def _tell(results: _Results) -> None:
    """On stderr, beside the document too: what did not pass, and why."""
    for backup, verification in results.verifications:
        print_shortcoming(backup, verification.leading)
        for remark in verification.remarks:
            say(f"Warning: {remark}", err=True)
    for backup, error in results.failed:
        print_error(error, about=backup)
