"""db-backup create"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from db_backup.cli.completing import complete_entries
from db_backup.cli.copies import only_local, places
from db_backup.cli.failures import as_backup_error, print_error
from db_backup.cli.kits import opened_workspace
from db_backup.cli.output import print_json, print_table, say
from db_backup.cli.progress import terminal_progress
from db_backup.cli.proofs import print_shortcoming, proof_document, proof_words
from db_backup.cli.runtime import DAYS, cli_run, json_option, stoppable
from db_backup.config import Config
from db_backup.errors import BackupError, Interrupted, UsageError
from db_backup.jobs.cleanup import CleanupReport, CleanupRequest, DeletedBackup, clean_up, leap_to
from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.prove import Made, create_and_prove
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof
from db_backup.model import MOST_JOBS, BackupType, Compression, ProofResult
from db_backup.progress import Cancellation, Progress
from db_backup.summary import BackupSummary
from db_backup.units import human_bytes, human_duration

_LOCK_WAIT_SECONDS = 10.0


@dataclass
class _Results:
    """What came of each database."""

    backups: list[BackupSummary] = field(default_factory=list)
    proofs: dict[str, Proof] = field(default_factory=dict)  # by the backup's id
    failed: list[tuple[str, BackupError]] = field(default_factory=list)
    deleted: list[DeletedBackup] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def disproved(self, backup_id: str) -> bool:
        """Whether it was made and is not good: then nothing older is deleted."""
        return backup_id in self.proofs and self.proofs[backup_id].result is ProofResult.FAILED

    def take(self, database: str, cleanup: CleanupReport) -> None:
        """What the cleanup after a backup did."""
        self.deleted += cleanup.delete
        self.warnings += cleanup.warnings
        self.failed += [
            (database, BackupError(f"{one.backup_id} could not be deleted: {one.error}", hint=one.hint))
            for one in cleanup.failed
        ]

    @property
    def exit_code(self) -> int:
        if any(isinstance(error, Interrupted) for _, error in self.failed):
            return Interrupted.exit_code
        if self.failed:
            return max(error.exit_code if error.exit_code == 2 else 1 for _, error in self.failed)
        return 3 if any(proof.result is ProofResult.FAILED for proof in self.proofs.values()) else 0

    def document(self) -> dict[str, Any]:
        return {
            "backups": [backup.model_dump(mode="json") for backup in self.backups],
            "failed": [
                {"database": database, "error": error.message, "hint": error.hint} for database, error in self.failed
            ],
            "proofs": [proof_document(backup_id, proof) for backup_id, proof in self.proofs.items()],
            "deleted": [backup.model_dump(mode="json") for backup in self.deleted],
        }


@click.command("create")
@click.argument("databases", nargs=-1, shell_complete=complete_entries)
@click.option("--type", "backup_type", type=click.Choice([item.value for item in BackupType]), help="Default: full.")
@click.option("--compression", type=click.Choice([item.value for item in Compression]), help="Default: the entry's.")
@click.option("--level", type=int, help="Compression level; gzip, bzip2, xz 1-9, zstd 1-19, lz4 1-12.")
@click.option(
    "--retention",
    "retention_days",
    type=DAYS,
    help="Days to keep this backup, and, in the cleanup that follows, all of that entry and type.",
)
@click.option("--no-verify", is_flag=True, help="Do not prove the backup now; it stays unverified.")
@click.option("--storage", multiple=True, help="Where to store it (repeatable). Default: the entry's storages.")
@click.option(
    "--jobs",
    type=click.IntRange(1, MOST_JOBS),
    help="Streams to dump at the same time, at most; each becomes a part. Default: the entry's configuration.",
)
@click.option("--no-full", is_flag=True, help="Where no increment can follow, fail instead of making a full backup.")
@click.option("--no-cleanup", is_flag=True, help="Delete no old backups of that entry and type afterwards.")
@click.option("--encrypt", is_flag=True, help="Encrypt it, also where the configuration does not say so.")
@json_option
def command(
    databases: tuple[str, ...],
    backup_type: str | None,
    compression: str | None,
    level: int | None,
    retention_days: int | None,
    storage: tuple[str, ...],
    jobs: int | None,
    no_verify: bool,
    no_full: bool,
    no_cleanup: bool,
    encrypt: bool,
    as_json: bool,
) -> int:
    """Back up DATABASES (all, when none is named), prove each backup, and delete old ones of that entry and type.

    An increment follows the newest backup of its entry's chain. Where it cannot, a full is made, with a warning.

    One database that fails does not stop the others; the exit code is then 1. It is 3 when a backup did not pass its
    proof. An inconclusive proof is a warning: the backup is made, and stays unverified.

    \b
    Examples:
      db-backup create
      db-backup create main-pg --type incremental
      db-backup create shop crm --compression zstd --level 9
      db-backup create shop --no-verify --retention 60 --json
    """
    with opened_workspace() as workspace, stoppable() as cancellation:
        wanted = BackupType(backup_type) if backup_type else workspace.settings.backup_default_type
        names = databases or _all_that_take(workspace.config, wanted)
        requests = [
            CreateRequest(
                entry=workspace.config.entry(name).name,
                type=wanted,
                compression=Compression(compression) if compression else None,
                level=level,
                jobs=jobs,
                retention_days=retention_days,
                storages=storage or None,
                encrypt=encrypt or None,
                wait_seconds=_LOCK_WAIT_SECONDS,
                full_instead=not no_full,
            )
            for name in names
        ]
        results = _Results()
        with terminal_progress() as progress:
            work = _Work(workspace, results, not no_verify, not no_cleanup, progress, cancellation)
            for number, request in enumerate(requests):
                if not work.do(request):
                    results.failed += [(later.entry, _not_started(later.entry)) for later in requests[number + 1 :]]
                    break
    if as_json:
        print_json(results.document())
    else:
        _print(results)
    _tell(results)
    return results.exit_code


def _all_that_take(config: Config, backup_type: BackupType) -> tuple[str, ...]:
    """:raises UsageError: no entry can have such a backup."""
    names = tuple(name for name, entry in config.entries.items() if entry.can_take(backup_type))
    if not names:
        raise UsageError(
            f"No entry of {config.name} has {backup_type} backups.",
            hint="Add incremental to the types of a SQLite database, or the server of another under servers:."
            if backup_type is BackupType.INCREMENTAL
            else "There are only servers, which have full and incremental backups.",
        )
    return names


@dataclass
class _Work:
    """One database after the other, whatever became of those before."""

    workspace: Workspace
    results: _Results
    verify: bool
    cleanup: bool
    progress: Progress
    cancellation: Cancellation

    def do(self, request: CreateRequest) -> bool:
        """Whether to go on with the next one."""
        before = len(self.results.backups)
        try:
            self._make(request)
        except (Interrupted, KeyboardInterrupt) as stop:
            told = _interrupted(request.entry, self.results.backups[before:], stop, self.cancellation.reason)
            self.results.failed.append((request.entry, told))
            return False
        except Exception as error:  # noqa: BLE001 - a bug met in one database stops no other
            self.results.failed.append((request.entry, as_backup_error(error)))
        return True

    def _make(self, request: CreateRequest) -> None:
        run, progress, cancellation = cli_run(), self.progress, self.cancellation
        if self.verify:
            made = create_and_prove(self.workspace, request, run=run, progress=progress, cancellation=cancellation)
        else:
            made = Made(create_backup(self.workspace, request, run=run, progress=progress, cancellation=cancellation))
        backup = made.backup
        self.results.backups.append(backup)
        if made.unproven is not None:
            raise made.unproven
        if made.proof is not None:
            self.results.proofs[backup.id] = made.proof
        if self.cleanup and (leap := leap_to(self.workspace, backup)):
            self.results.warnings.append(leap)
        elif self.cleanup and not self.results.disproved(backup.id):
            # A full in an increment's place was not what the days were given for.
            days = request.retention_days if backup.type is request.type else None
            wanted = CleanupRequest((request.entry,), (backup.type,), days)
            cleaned = clean_up(self.workspace, wanted, run=run, progress=progress, cancellation=cancellation)
            self.results.take(request.entry, cleaned)


def _interrupted(database: str, made: Sequence[BackupSummary], stop: BaseException, reason: str) -> Interrupted:
    if made:
        hint = f"{made[0].id} is made and {made[0].status}; what was to follow it was not done."
    elif isinstance(stop, Interrupted) and stop.backup_id is not None:
        hint = f"{stop.backup_id} is made; what was to follow it was not done."
    elif isinstance(stop, Interrupted):
        hint = f"Nothing of it was published: run `db-backup create {database}` again."
    else:
        hint = f"`db-backup list --database {database}` shows whether it was published."
    return Interrupted(f"The backup of '{database}' was interrupted: {reason}.", hint=hint, database=database)


def _not_started(database: str) -> Interrupted:
    return Interrupted(
        f"The backup of '{database}' was not started.", hint=f"Run `db-backup create {database}`.", database=database
    )


def _print(results: _Results) -> None:
    if results.backups:
        elsewhere = not only_local(results.backups)
        print_table(
            ("BACKUP", "SIZE", "OF", "TOOK", "ROWS", "PROOF", *(("COPIES",) if elsewhere else ())),
            [
                (
                    backup.id,
                    human_bytes(backup.size_bytes),
                    human_bytes(backup.plain_bytes),
                    human_duration(backup.duration_seconds),
                    f"{backup.rows:,}",
                    proof_words(results.proofs.get(backup.id)),
                    *((places(backup),) if elsewhere else ()),
                )
                for backup in results.backups
            ],
            right=("SIZE", "OF", "TOOK", "ROWS"),
            blocks=True,
        )


def _tell(results: _Results) -> None:
    """On stderr, beside the document too: what a person should know of each."""
    for backup in results.backups:
        for warning in backup.warnings:
            say(f"Warning for {backup.database}: {warning}", err=True)
    for backup_id, proof in results.proofs.items():
        print_shortcoming(backup_id, proof)
    for warning in results.warnings:
        say(f"Cleanup: {warning}.", err=True)
    for deleted in results.deleted:
        say(f"Deleted {deleted.backup_id}: {deleted.reason}.", err=True)
    for database, error in results.failed:
        print_error(error, about=database)
