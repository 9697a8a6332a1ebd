"""Which chains are to be replayed today, each once a week: from its full to its newest increment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db_backup import lineage
from db_backup.model import BackupStatus, BackupType, ProofResult
from db_backup.summary import BackupSummary

_EVERY = timedelta(days=7)
_GROWN = timedelta(days=1)  # what has hardly begun tells little
_TRIED = timedelta(days=1)  # a try that could not be concluded is not repeated before
_NEVER = datetime.min.replace(tzinfo=UTC)
_STANDING = frozenset({BackupStatus.GOOD, BackupStatus.UNVERIFIED})


def chains_to_replay(
    backups: Iterable[BackupSummary], *, now: datetime, most_of_an_entry: int
) -> Iterator[tuple[BackupSummary, str]]:
    """The newest increment of each chain that is due, and why: half a sentence. Restoring it replays the whole chain.

    Due is a chain whose last replay is a week old; one that a newer full has ended since; and one that never was
    replayed, once it has ended or is a day old. Of each entry those come first whose last replay is the oldest.
    Increments that lean on what is bad, gone or cold are left out.

    :param backups: fulls and increments of any entries.
    """
    taken: dict[str, int] = defaultdict(int)
    for chain in sorted(_chains(backups), key=lambda one: (one.replayed_at or _NEVER, one.newest.created_at)):
        reason = chain.due(now)
        if reason is not None and taken[chain.newest.database] < most_of_an_entry:
            taken[chain.newest.database] += 1
            yield chain.newest, reason


@dataclass(frozen=True)
class _Chain:
    """The increments of one full that can be restored, oldest first; ``ended``: a newer full has taken its place."""

    increments: Sequence[BackupSummary]
    ended: bool

    @property
    def newest(self) -> BackupSummary:
        return self.increments[-1]

    @property
    def replayed_at(self) -> datetime | None:
        return max((one.restored_at for one in self.increments if one.restored_at), default=None)

    def due(self, now: datetime) -> str | None:
        """Why it is to be replayed; None: it is not."""
        if any(
            one.proof_result is ProofResult.INCONCLUSIVE and _checked_at(one) > now - _TRIED for one in self.increments
        ):
            return None
        last = self.replayed_at
        if last is None:
            due = self.ended or self.increments[0].created_at <= now - _GROWN
            return "its chain was never replayed" if due else None
        due = last <= now - _EVERY or (self.ended and self.newest.restored_at is None)
        return f"its chain was last replayed at {last:%Y-%m-%d %H:%M} UTC" if due else None


def _chains(backups: Iterable[BackupSummary]) -> Iterator[_Chain]:
    links = {backup.id: backup for backup in sorted(backups, key=lambda one: (one.created_at, one.id))}
    useless = lineage.broken(links, _fault)
    increments: dict[str, list[BackupSummary]] = defaultdict(list)
    newest_fulls: dict[str, str] = {}
    for link in links.values():
        if link.id in useless:
            continue
        if link.type is BackupType.FULL:
            newest_fulls[link.database] = link.id
        elif link.base_id is not None:
            increments[link.base_id].append(link)
    for base_id, chain in increments.items():
        # Not by the increments' age: the last one of a chain may be taken after the full that begins the next.
        yield _Chain(chain, ended=newest_fulls.get(chain[0].database) != base_id)


def _fault(backup: BackupSummary) -> str | None:
    if backup.safety:
        return "is a safety backup"
    if backup.only_cold:
        return "lies in cold storage"
    return None if backup.status in _STANDING else f"is {backup.status}"


def _checked_at(backup: BackupSummary) -> datetime:
    return backup.proof_checked_at or _NEVER
