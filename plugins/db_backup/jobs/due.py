"""Which stored backups are to be verified today: what nobody has proven, chains to replay, a sample of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from db_backup.catalog import BackupQuery
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel, utc_now
from db_backup.summary import BackupSummary

SAMPLE_PER_ENTRY = 1
"""How many backups of each entry are verified again in one run; and, beside these, how many of its chains."""

MOST_PER_RUN = 500
"""More wait for the next run; Airflow maps over 1024 at most ([core] max_map_length)."""

_FRESH = timedelta(days=7)  # a proof as young as this is not repeated
_TRIED = timedelta(days=1)  # nor is a try that could not be concluded
_GROWN = timedelta(days=1)  # a chain that still grows is replayed once it is as old as this
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
    is in them. What is being deleted is left out.

    Before them come as many chains of each entry, those first whose last replay is the oldest: see :class:`_Chain`.
    """
    unproven: list[DueBackup] = []
    chains = _Chains()
    rotation: dict[str, list[tuple[datetime, DueBackup]]] = {}
    unreliable: list[DueBackup] = []
    for backup in backups:
        if backup.status is BackupStatus.DELETING:
            continue
        chains.add(backup)
        checked_at = backup.proof_checked_at or datetime.min.replace(tzinfo=UTC)
        if backup.status in _UNRELIABLE:
            unreliable.append(_due(backup, f"{backup.status}: {backup.proof_reason}".rstrip(": ")))
        if backup.status is BackupStatus.UNVERIFIED and backup.proof_result is not ProofResult.INCONCLUSIVE:
            unproven.append(_due(backup, _lacking(backup)))
        elif checked_at <= now - (_TRIED if backup.status is BackupStatus.UNVERIFIED else _FRESH):
            due = _due(backup, f"last verified at {checked_at:%Y-%m-%d %H:%M} UTC")
            rotation.setdefault(backup.database, []).append((checked_at, due))
    replays = list(chains.due(now, sample))
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


@dataclass
class _Chain:
    """The increments after one full, up to the first that cannot be relied on; read newest first.

    It is replayed, as a whole, by restoring its newest increment: within a week of the last time, once more when a
    newer full has ended it, and for the first time then or after a day, for what has hardly begun tells little.
    """

    newest: BackupSummary
    ended: bool
    oldest_at: datetime
    replayed_at: datetime | None = None
    tried_at: datetime | None = None

    def due(self, now: datetime) -> DueBackup | None:
        if self.tried_at is not None and self.tried_at > now - _TRIED:
            return None
        if self.replayed_at is None:
            reason = "its chain was never replayed"
            wanted = self.ended or self.oldest_at <= now - _GROWN
        else:
            reason = f"its chain was last replayed at {self.replayed_at:%Y-%m-%d %H:%M} UTC"
            wanted = self.replayed_at <= now - _FRESH or (self.ended and self.newest.restored_at is None)
        return DueBackup(self.newest.id, self.newest.database, reason, VerificationLevel.RESTORE) if wanted else None


@dataclass
class _Chains:
    """Every entry's chains, from its backups newest first."""

    by_base: dict[tuple[str, str], _Chain] = field(default_factory=dict)
    _succeeded: set[str] = field(default_factory=set)  # entries of which a newer chain, or its full, was seen

    def add(self, backup: BackupSummary) -> None:
        if backup.type is BackupType.FULL and not backup.safety and backup.status not in _UNRELIABLE:
            self._succeeded.add(backup.database)
        if backup.base_id is None:
            return
        place = backup.database, backup.base_id
        if backup.status in _UNRELIABLE:
            self.by_base.pop(place, None)  # those after it are of no use without it
            return
        chain = self.by_base.get(place)
        if chain is None:
            chain = self.by_base[place] = _Chain(backup, backup.database in self._succeeded, backup.created_at)
        chain.oldest_at = backup.created_at
        chain.replayed_at = max(filter(None, (chain.replayed_at, backup.restored_at)), default=None)
        if backup.proof_result is ProofResult.INCONCLUSIVE:
            chain.tried_at = max(filter(None, (chain.tried_at, backup.proof_checked_at)), default=None)

    def due(self, now: datetime, sample: int) -> Iterator[DueBackup]:
        never = datetime.min.replace(tzinfo=UTC)
        taken: dict[str, int] = {}
        for chain in sorted(self.by_base.values(), key=lambda one: (one.replayed_at or never, one.newest.created_at)):
            due = chain.due(now)
            if due is not None and taken.get(due.database, 0) < sample:
                taken[due.database] = taken.get(due.database, 0) + 1
                yield due
