"""Which stored backups are to be verified today: what nobody has proven, chains to replay, a sample of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db_backup.catalog import BackupQuery
from db_backup.jobs.chains_due import chains_to_replay
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel, utc_now
from db_backup.summary import BackupSummary

SAMPLE_PER_ENTRY = 1
"""How many backups of each entry are verified again in one run; and, beside these, how many of its chains."""

MOST_PER_RUN = 500
"""More wait for the next run; Airflow maps over 1024 at most ([core] max_map_length)."""

_FRESH = timedelta(days=7)  # a proof as young as this is not repeated
_TRIED = timedelta(days=1)  # nor is a try that could not be concluded
_UNRELIABLE = frozenset({BackupStatus.FAILED_VERIFICATION, BackupStatus.SUSPECT})


@dataclass(frozen=True)
class DueBackup:
    """A backup to verify, and why: half a sentence. ``level``: how far; None: as far as its type requires."""

    backup_id: str
    database: str
    reason: str
    level: VerificationLevel | None = None


@dataclass(frozen=True)
class DueReport:
    """What to verify now, how many more are due, and the backups that cannot be relied on as things stand."""

    due: tuple[DueBackup, ...]
    waiting: int
    unreliable: tuple[DueBackup, ...]


def backups_due(workspace: Workspace) -> DueReport:
    """What the daily check verifies, by the catalogue.

    :raises CatalogError:
    """
    return choose_due(workspace.catalog.newest_first(BackupQuery()), now=utc_now())


def choose_due(
    backups: Iterable[BackupSummary],
    *,
    now: datetime,
    sample: int = SAMPLE_PER_ENTRY,
    most: int = MOST_PER_RUN,
) -> DueReport:
    """Choose from these backups, newest first.

    First come all that were never verified as far as their type requires. Then, of each entry, the ``sample`` whose
    newest proof is the oldest: as proving one makes its proof the newest, every backup has its turn. Those that failed,
    are suspect, or could not be tried to the end have theirs as well; so do safety backups, for nothing else holds what
    is in them. What is being deleted is left out, and so is what would have to be thawed.

    Before them come the newest increments of as many chains of each entry as are due to be replayed.
    """
    unproven: list[DueBackup] = []
    in_chains: list[BackupSummary] = []
    rotation: dict[str, list[tuple[datetime, DueBackup]]] = {}
    unreliable: list[DueBackup] = []
    for backup in backups:
        if backup.status is BackupStatus.DELETING:
            continue
        if backup.type in {BackupType.FULL, BackupType.INCREMENTAL}:
            in_chains.append(backup)
        checked_at = backup.proof_checked_at or datetime.min.replace(tzinfo=UTC)
        if backup.status in _UNRELIABLE:
            unreliable.append(_due(backup, f"{backup.status}: {backup.proof_reason}".rstrip(": ")))
        if backup.only_cold:
            continue  # nothing is thawed, at a price, to be verified
        if backup.status is BackupStatus.UNVERIFIED and backup.proof_result is not ProofResult.INCONCLUSIVE:
            unproven.append(_due(backup, _lacking(backup)))
        elif checked_at <= now - (_TRIED if backup.status is BackupStatus.UNVERIFIED else _FRESH):
            due = _due(backup, f"last verified at {checked_at:%Y-%m-%d %H:%M} UTC")
            rotation.setdefault(backup.database, []).append((checked_at, due))
    replays = [
        DueBackup(newest.id, newest.database, reason, VerificationLevel.RESTORE)
        for newest, reason in chains_to_replay(in_chains, now=now, most_of_an_entry=sample)
    ]
    replayed = {due.backup_id for due in replays}
    chosen = [*replays, *(due for due in (*unproven, *_sampled(rotation, sample)) if due.backup_id not in replayed)]
    return DueReport(tuple(chosen[:most]), len(chosen[most:]), tuple(unreliable))


def _sampled(rotation: dict[str, list[tuple[datetime, DueBackup]]], sample: int) -> Iterator[DueBackup]:
    for candidates in rotation.values():
        oldest_first = sorted(candidates, key=lambda candidate: (candidate[0], candidate[1].backup_id))
        yield from (due for _, due in oldest_first[:sample])


def _lacking(backup: BackupSummary) -> str:
    return f"verified only to level {backup.proof_level}" if backup.proof_level else "never verified"


def _due(backup: BackupSummary, reason: str) -> DueBackup:
    return DueBackup(backup.id, backup.database, reason)
