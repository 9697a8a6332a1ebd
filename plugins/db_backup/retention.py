"""What cleanup deletes and what it keeps, and why (SPEC §10): a pure plan, without clock, disk or network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from db_backup import lineage
from db_backup.model import BackupStatus, BackupType

#: How many of the newest good backups of an entry stay, whatever their age.
FLOORS: Mapping[BackupType, int] = {BackupType.FULL: 3, BackupType.STRUCTURE: 1}
_NAMED = 3  # how many of a backup's dependents its reason names
_LINKS = frozenset({BackupType.FULL, BackupType.INCREMENTAL})
_UNRELIABLE = frozenset({BackupStatus.FAILED_VERIFICATION, BackupStatus.SUSPECT})


class Presence(StrEnum):
    """What of a backup lies in storage."""

    WHOLE = "whole"
    DAMAGED = "damaged"  # a part is missing, or has not its size
    ABSENT = "absent"  # not even its manifest


class Rule(StrEnum):
    """Why a backup is kept."""

    PINNED = "pinned"
    LEGAL_HOLD = "legal_hold"
    LEASE = "lease"
    LOCK = "lock"
    LOCKED = "locked"
    CHAIN = "chain"
    WINDOW = "window"
    ABSENT = "absent"
    LAST_VERIFIED_FULL = "last_verified_full"
    FLOOR = "floor"
    UNPROVEN = "unproven"
    FUTURE = "future"
    DAYS = "days"
    SCOPE = "scope"


#: What keeps a backup from cleanup, though not from a person who names it: `db-backup delete`.
ONLY_FOR_CLEANUP: Set[Rule] = frozenset({Rule.DAYS, Rule.FUTURE, Rule.SCOPE, Rule.WINDOW})
#: What keeps it from that person too, unless `--force` is given. All other rules stand always.
UNLESS_FORCED: Set[Rule] = frozenset({Rule.LAST_VERIFIED_FULL, Rule.FLOOR, Rule.UNPROVEN})


@dataclass(frozen=True)
class Backup:
    """A backup as far as retention cares.

    :param expires_at: when its own days are over.
    :param recovery_point: the moment that it leads back to: of a full its snapshot; an increment all moments after its
        parent's, up to this one.
    :param parent_id: the backup that it follows in its chain; ``base_id``: the full that the chain begins with.
    :param safety: of what a restore was about to replace, whatever was wrong with that: it stands for no other backup.
    :param locked_until: by storage, until when that lets nobody delete its copy.
    """

    id: str
    entry: str
    type: BackupType
    status: BackupStatus
    created_at: datetime
    expires_at: datetime
    finished_at: datetime
    recovery_point: datetime
    presence: Presence = Presence.WHOLE
    pinned: bool = False
    legal_hold: bool = False
    base_id: str | None = None
    parent_id: str | None = None
    safety: bool = False
    locked_until: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Verified, and all there."""
        return self.status is BackupStatus.GOOD and self.presence is Presence.WHOLE

    @property
    def fault(self) -> str | None:
        """Why nobody can restore it, leaving aside what it needs: half a sentence."""
        if self.presence is Presence.ABSENT:
            return "is gone"
        if self.presence is Presence.DAMAGED:
            return "is damaged"
        if self.status is BackupStatus.DELETING:
            return "is being deleted"
        if self.status in _UNRELIABLE:
            return f"stands as {self.status.replace('_', ' ')}"
        return None

    @property
    def age_key(self) -> tuple[datetime, str]:
        return self.created_at, self.id


@dataclass(frozen=True)
class Policy:
    """How an entry is cleaned up.

    :param days: to be kept instead of each backup's own days, by type.
    :param types: those that this cleanup is for; the others are looked at, and kept.
    :param window_days: where it has increments: each moment of so many days that could ever be recovered stays
        recoverable. ``days`` of increments stand for it.
    """

    floors: Mapping[BackupType, int] = field(default_factory=lambda: FLOORS)
    days: Mapping[BackupType, int] = field(default_factory=dict)
    types: Collection[BackupType] = tuple(BackupType)
    window_days: int = 0

    @property
    def window(self) -> int:
        return self.days.get(BackupType.INCREMENTAL, self.window_days)


@dataclass(frozen=True)
class Reason:
    rule: Rule
    text: str


@dataclass(frozen=True)
class Keep:
    backup_id: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Deletion:
    backup_id: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every backup once: kept, oldest first; or to be deleted, in this order."""

    keep: tuple[Keep, ...]
    delete: tuple[Deletion, ...]


def plan(
    backups: Iterable[Backup],
    *,
    policies: Mapping[str, Policy],
    leases: Mapping[str, Sequence[str]],
    locks: Mapping[str, str],
    now: datetime,
) -> Plan:
    """Decide over these backups: all of each entry, for none is judged alone.

    :param policies: by entry; one that is not there has the default.
    :param leases: who uses a backup, by its id.
    :param locks: why an entry is to be left alone, by its name.
    """
    known = {backup.id: backup for backup in backups}
    entries: dict[str, list[Backup]] = defaultdict(list)
    for backup in known.values():
        entries[backup.entry].append(backup)
    reasons: dict[str, list[Reason]] = {}
    endings: dict[str, str] = {}
    for entry, members in entries.items():
        judge = _Judge(members, policies.get(entry, Policy()), now)
        for backup in members:
            claims = [Reason(Rule.LOCK, locks[entry])] if entry in locks else []
            claims += [Reason(Rule.LEASE, f"in use: {user}") for user in leases.get(backup.id, ())]
            reasons[backup.id] = [*claims, *judge.reasons(backup)]
            endings[backup.id] = judge.ending(backup)
    _protect_chains(known, reasons)
    depths = lineage.depths(known)
    doomed = (backup for backup in known.values() if not reasons[backup.id])
    return Plan(
        keep=tuple(
            Keep(backup.id, tuple(reasons[backup.id]))
            for backup in sorted(known.values(), key=lambda backup: backup.age_key)
            if reasons[backup.id]
        ),
        # What follows in a chain goes before what it follows.
        delete=tuple(
            Deletion(backup.id, endings[backup.id])
            for backup in sorted(doomed, key=lambda backup: (-depths[backup.id], *backup.age_key))
        ),
    )


def needed_by(ids: Sequence[str]) -> Reason:
    """Why nothing may be done to a backup that these need."""
    return Reason(Rule.CHAIN, f"needed by {_some(ids)}")


class _Judge:
    """One entry's backups, each looked at on its own; what others need is kept for them afterwards.

    ``broken``: why a backup cannot be restored, by its id. An increment that no chain leads to any more is dead weight:
    it counts for nothing, and its days end as soon as there is something newer to recover from.
    """

    def __init__(self, members: Sequence[Backup], policy: Policy, now: datetime) -> None:
        self.policy = policy
        self.now = now
        self.broken = lineage.broken({backup.id: backup for backup in members}, lambda backup: backup.fault)
        # Newest first; none of the future, and no safety backup: neither says that the entry is well protected.
        self.good: dict[BackupType, list[Backup]] = defaultdict(list)
        for backup in sorted(members, key=lambda backup: backup.age_key, reverse=True):
            if backup.good and not backup.safety and backup.id not in self.broken and backup.created_at <= now:
                self.good[backup.type].append(backup)
        self.window = self._window(members)

    def reasons(self, backup: Backup) -> list[Reason]:
        found = []
        if backup.pinned:
            found.append(Reason(Rule.PINNED, "pinned"))
        if backup.legal_hold:
            found.append(Reason(Rule.LEGAL_HOLD, "under legal hold"))
        found += [
            Reason(Rule.LOCKED, f"locked in '{storage}' until {_day(until)}")
            for storage, until in backup.locked_until.items()
            if until > self.now
        ]
        if backup.status is BackupStatus.DELETING:
            return found  # nothing else stands up to a deletion that has begun
        if backup.presence is Presence.ABSENT:
            found.append(Reason(Rule.ABSENT, "its manifest is in no storage: see `db-backup catalog check`"))
        if backup.type not in self.policy.types:
            found.append(Reason(Rule.SCOPE, f"this cleanup is for {', '.join(sorted(self.policy.types))} backups"))
        if backup.created_at > self.now:
            return [
                *found,
                Reason(Rule.FUTURE, f"dated in the future, {_day(backup.created_at)}: it counts for nothing"),
            ]
        return [
            *found,
            *self._by_count(backup),
            *self._by_proof(backup),
            *self._by_window(backup),
            *self._by_days(backup),
        ]

    def ending(self, backup: Backup) -> str:
        """Why this backup goes, if it goes."""
        if backup.status is BackupStatus.DELETING:
            return "its deletion had begun"
        return f"{self._dead(backup)}its {self._days(backup)} days ended on {_day(self._due(backup))}"

    def _by_count(self, backup: Backup) -> Iterable[Reason]:
        good = self.good[backup.type]
        if backup.type is BackupType.FULL and good[:1] == [backup]:
            yield Reason(Rule.LAST_VERIFIED_FULL, f"the last verified full backup of '{backup.entry}'")
        floor = self.policy.floors.get(backup.type, 0)
        if backup in good[:floor]:
            text = f"good {backup.type} backup" if floor == 1 else f"{floor} good {backup.type} backups"
            yield Reason(Rule.FLOOR, f"{'' if floor == 1 else 'one of '}the newest {text} of '{backup.entry}'")

    def _by_proof(self, backup: Backup) -> Iterable[Reason]:
        full = self.good[BackupType.FULL]
        if not backup.good and not (full and full[0].created_at > backup.created_at):
            standing = "damaged" if backup.presence is Presence.DAMAGED else backup.status.replace("_", " ")
            yield Reason(Rule.UNPROVEN, f"{standing}, and '{backup.entry}' has no newer verified full backup")

    def _by_window(self, backup: Backup) -> Iterable[Reason]:
        if backup.id in self.window:
            yield Reason(
                Rule.WINDOW, f"'{backup.entry}' is to be recoverable to any moment of {self.policy.window} days"
            )

    def _window(self, members: Sequence[Backup]) -> set[str]:
        """The ids of what the promised days are recovered from.

        The days end with the newest good full or increment: an outage ends no promise, and fulls that go on alone move
        it on. They begin with the newest verified full that was finished before them: its chain, those of all later
        fulls, and whatever else leads to them is kept.
        """
        if not self.policy.window or not self.good[BackupType.INCREMENTAL]:
            return set()
        newest = max(good[0].created_at for kind, good in self.good.items() if kind in _LINKS and good)
        begin = _earlier(newest, self.policy.window)
        standing = [
            backup for backup in members if backup.type in _LINKS and not backup.safety and backup.id not in self.broken
        ]
        fulls = [backup for backup in standing if backup.type is BackupType.FULL and backup.finished_at <= begin]
        # Where nothing was verified by then, what stands unverified has to do.
        anchors = [full.recovery_point for full in fulls if full.good] or [full.recovery_point for full in fulls]
        first = max(anchors, default=datetime.min.replace(tzinfo=UTC))
        bases = {one.id for one in standing if one.type is BackupType.FULL and one.recovery_point >= first}
        # An increment may close an older chain after the next full was made: it is needed only if it leads further.
        return bases | {one.id for one in standing if one.base_id in bases or one.recovery_point > begin}

    def _by_days(self, backup: Backup) -> Iterable[Reason]:
        counted_to, due = self._counted_to(backup), self._due(backup)
        if counted_to is None:
            text = f"its days do not count while '{backup.entry}' has no good {backup.type} backup"
        elif due <= counted_to:
            return
        elif due <= self.now:
            text = (
                f"its {self._days(backup)} days ended on {_day(due)}, but they count only up to the newest good "
                f"{backup.type} backup, of {_day(counted_to)}"
            )
        else:
            text = f"its {self._days(backup)} days last until {_day(due)}"
        yield Reason(Rule.DAYS, f"{self._dead(backup)}{text}")

    def _dead(self, backup: Backup) -> str:
        """What is to be said first of an increment that is of no use."""
        why = self.broken.get(backup.id) if backup.type is BackupType.INCREMENTAL else None
        return "" if why is None else f"it cannot be restored, for {why}; "

    def _counted_to(self, backup: Backup) -> datetime | None:
        """The moment up to which days count: an outage, when nothing good is made, expires nothing."""
        if backup.type is BackupType.DATA or backup.safety:
            return self.now  # made on demand: no next one is to be waited for
        good = self.good[backup.type][:1]
        if backup.type is BackupType.INCREMENTAL and backup.id in self.broken:
            good += self.good[BackupType.FULL][:1]  # nothing of its own kind would have to come
        return max((other.created_at for other in good), default=None)

    def _due(self, backup: Backup) -> datetime:
        days = self.policy.days.get(backup.type)
        return backup.expires_at if days is None else _later(backup.created_at, days)

    def _days(self, backup: Backup) -> int:
        return self.policy.days.get(backup.type, (backup.expires_at - backup.created_at).days)


def _protect_chains(known: Mapping[str, Backup], reasons: Mapping[str, list[Reason]]) -> None:
    """Whatever a kept backup needs is kept: a chain goes whole, or from its end."""
    needed: dict[str, list[str]] = defaultdict(list)
    waiting = [backup_id for backup_id, found in reasons.items() if found]
    kept = set(waiting)
    while waiting:
        backup_id = waiting.pop()
        for link in lineage.needs(known[backup_id], known):
            needed[link].append(backup_id)
            if link not in kept:
                kept.add(link)
                waiting.append(link)
    for backup_id, needing in needed.items():
        reasons[backup_id].append(needed_by(sorted(needing)))


def _some(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _later(moment: datetime, days: int) -> datetime:
    try:
        return moment + timedelta(days=days)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _earlier(moment: datetime, days: int) -> datetime:
    try:
        return moment - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
