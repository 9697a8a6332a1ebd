"""db-backup create"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import click

from db_backup.cli.completing import complete_entries
from db_backup.cli.output import print_json, print_table
from db_backup.cli.progress import terminal_progress
from db_backup.cli.runtime import cli_run, json_option, not_yet, stoppable
from db_backup.errors import BackupError, Interrupted
from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.sidecars import locate
from db_backup.jobs.verify import verify_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof
from db_backup.model import BackupType, Compression, ProofResult
from db_backup.progress import Cancellation, Progress
from db_backup.summary import BackupSummary, summarise
from db_backup.units import human_bytes, human_duration

_LOCK_WAIT_SECONDS = 10.0


@dataclass
class _Results:
    """What came of each database."""

    backups: list[BackupSummary] = field(default_factory=list)
    proofs: dict[str, Proof] = field(default_factory=dict)
    failed: list[tuple[str, BackupError]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        if self.failed:
            return max(error.exit_code if error.exit_code == 2 else 1 for _, error in self.failed)
        return 3 if any(proof.result is ProofResult.FAILED for proof in self.proofs.values()) else 0

    def document(self) -> dict[str, Any]:
        return {
            "backups": [backup.model_dump(mode="json") for backup in self.backups],
            "failed": [
                {"database": database, "error": error.message, "hint": error.hint} for database, error in self.failed
            ],
        }


@click.command("create")
@click.argument("databases", nargs=-1, shell_complete=complete_entries)
@click.option("--type", "backup_type", type=click.Choice([item.value for item in BackupType]), help="Default: full.")
@click.option("--compression", type=click.Choice([item.value for item in Compression]), help="Default: the entry's.")
@click.option("--level", type=int, help="Compression level; gzip 1-9, zstd 1-19.")
@click.option("--retention", "retention_days", type=click.IntRange(min=1), help="Days to keep this backup.")
@click.option("--no-verify", is_flag=True, help="Do not prove the backup now; it stays unverified.")
@click.option("--storage", multiple=True, help="Where to store it (repeatable). Default: the entry's storages.")
@not_yet("--jobs")
@not_yet("--encrypt", "--no-cleanup", flag=True)
@json_option
def command(
    databases: tuple[str, ...],
    backup_type: str | None,
    compression: str | None,
    level: int | None,
    retention_days: int | None,
    storage: tuple[str, ...],
    no_verify: bool,
    as_json: bool,
) -> int:
    """Back up DATABASES (all, when none is named), and prove each backup.

    One database that fails does not stop the others; the exit code is then 1.

    \b
    Examples:
      db-backup create
      db-backup create shop crm --compression zstd --level 9
      db-backup create shop --no-verify --retention 60 --json
    """
    with Workspace.open() as workspace, stoppable() as cancellation:
        names = databases or tuple(workspace.config.entries)
        requests = [
            CreateRequest(
                entry=workspace.config.entry(name).name,
                type=BackupType(backup_type) if backup_type else workspace.settings.backup_default_type,
                compression=Compression(compression) if compression else None,
                level=level,
                retention_days=retention_days,
                storages=storage or None,
                wait_seconds=_LOCK_WAIT_SECONDS,
            )
            for name in names
        ]
        results = _Results()
        with terminal_progress() as progress:
            for request in requests:
                _one(workspace, request, results, not no_verify, progress, cancellation)
    if as_json:
        print_json(results.document())
    else:
        _print(results)
    return results.exit_code


def _one(
    workspace: Workspace,
    request: CreateRequest,
    results: _Results,
    verify: bool,
    progress: Progress,
    cancellation: Cancellation,
) -> None:
    run = cli_run()
    try:
        backup = create_backup(workspace, request, run=run, progress=progress, cancellation=cancellation)
        results.backups.append(backup)
        if verify and workspace.settings.backup_verification_enabled:
            results.proofs[backup.id] = verify_backup(
                workspace, backup.id, None, run=run, progress=progress, cancellation=cancellation
            )
            located = locate(workspace, backup.id)
            results.backups[-1] = summarise(located.manifest, located.state)
    except Interrupted:
        raise
    except BackupError as error:
        results.failed.append((request.entry, error))


def _print(results: _Results) -> None:
    if results.backups:
        print_table(
            ("BACKUP", "SIZE", "OF", "TOOK", "ROWS", "PROOF"),
            [
                (
                    backup.id,
                    human_bytes(backup.size_bytes),
                    human_bytes(backup.plain_bytes),
                    human_duration(backup.duration_seconds),
                    f"{backup.rows:,}",
                    proof_words(results.proofs.get(backup.id)),
                )
                for backup in results.backups
            ],
            right=("SIZE", "OF", "TOOK", "ROWS"),
        )
    for backup in results.backups:
        for warning in backup.warnings:
            click.echo(f"Warning for {backup.database}: {warning}", err=True)
    for proof in results.proofs.values():
        if proof.result is not ProofResult.PASSED:
            click.echo(f"Verification {proof.result}: {proof.reason}", err=True)
    for database, error in results.failed:
        click.echo(f"Error: {database}: {error.message}\n  {error.hint}", err=True)


def proof_words(proof: Proof | None) -> str:
    """The result in a few words: never more than was reached."""
    if proof is None:
        return "not verified"
    if proof.result is ProofResult.INCONCLUSIVE:
        return f"inconclusive at {proof.level}" + (f", {proof.reached} passed" if proof.reached else "")
    return f"{proof.result} at {proof.level}"
