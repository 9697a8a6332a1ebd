"""What can be recovered from backups, and to which moment: pure, without clock, disk or network.

A chain of MySQL, MariaDB or PostgreSQL leads to every moment from its base's to its last increment's; one of SQLite to
those moments alone that its backups were taken at, and a full by itself to its own. Where a chain forks, because the
link after which it was to go on had failed, each of its ends is a history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import takewhile

from db_backup import lineage
from db_backup.errors import PointOutOfReach, UsageError
from db_backup.manifest import Manifest
from db_backup.model import BackupStatus, BackupType, EngineName

#: What a full that took an increment's place says of it in its warnings, before the reason.
FULL_INSTEAD = "A full was made instead of an increment: "

_SECOND = timedelta(seconds=1)
_NAMED_UTC = re.compile(r"\s*(UTC|GMT|Z)$", re.IGNORECASE)
_FAULTS = {
    BackupStatus.FAILED_VERIFICATION: "failed its verification",
    BackupStatus.SUSPECT: "is suspect",
    BackupStatus.DELETING: "is being deleted",
}


@dataclass(frozen=True)
class Point:
    """Where the replay of a chain stops: at most one of these is given; none of them: at the chain's end.

    :param time: aware; what was committed up to and at this moment is there, and nothing later.
    :param lsn: PostgreSQL's log sequence number, ``0/16B3748``: up to and with the record that ends there.
    :param gtid: of MariaDB, ``0-1-4711``: up to and with this transaction.
    :param position: of a binlog, ``mariadb-bin.000003:4711``: up to the event that begins there, and without it.
    """

    time: datetime | None = None
    lsn: str | None = None
    gtid: str | None = None
    position: str | None = None


@dataclass(frozen=True)
class Held:
    """A backup that lies in a storage, and how it stands.

    :param damage: what is missing of its files, half a sentence; empty: nothing.
    """

    manifest: Manifest
    status: BackupStatus
    damage: str = ""

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def type(self) -> BackupType:
        return self.manifest.type

    @property
    def base_id(self) -> str | None:
        return self.manifest.chain.base_id if self.manifest.chain else None

    @property
    def parent_id(self) -> str | None:
        return self.manifest.chain.parent_id if self.manifest.chain else None


@dataclass(frozen=True)
class History:
    """A full backup and the increments that follow it, in order, none missing.

    :param ended_by: why what comes after it cannot be reached, half a sentence; empty: nothing does.
    """

    links: tuple[Manifest, ...]
    ended_by: str = ""

    @property
    def base(self) -> Manifest:
        return self.links[0]

    @property
    def last(self) -> Manifest:
        return self.links[-1]

    @property
    def is_continuous(self) -> bool:
        """Whether it leads to the moments between its backups' too."""
        return self.base.chain is not None and self.base.engine is not EngineName.SQLITE

    @property
    def is_of_moments(self) -> bool:
        """Whether it is a chain that leads to its backups' own moments alone."""
        return self.base.chain is not None and not self.is_continuous

    @property
    def moments(self) -> tuple[datetime, ...]:
        return tuple(link.recovery_point for link in self.links)

    @property
    def begins(self) -> datetime:
        return self.base.recovery_point

    @property
    def ends(self) -> datetime:
        """The last moment; where the source's clock went back, the latest that was read off it."""
        return max(self.moments)


@dataclass(frozen=True)
class Gap:
    """Moments that no backup leads to, between two that one does."""

    after: datetime
    before: datetime
    reason: str


@dataclass(frozen=True)
class Route:
    """What leads to a point: backups in order, and where in the last of them the replay stops."""

    links: tuple[Manifest, ...]
    point: Point


def histories(backups: Iterable[Held]) -> tuple[History, ...]:
    """All that the full backups of one entry and their increments lead to, by time.

    Safety backups, and what is damaged or has failed, lead nowhere; neither does what needs them.
    """
    known = {held.id: held for held in backups if held.type in {BackupType.FULL, BackupType.INCREMENTAL}}
    broken = lineage.broken(known, lambda held: _fault(held, known.get(held.parent_id or "")))
    standing = {held_id: held for held_id, held in known.items() if held_id not in broken}
    followed = {held.parent_id for held in standing.values()}
    found = []
    for end in (held for held in standing.values() if held.id not in followed):
        links = [end]
        while (parent := links[0].parent_id) is not None:
            links.insert(0, standing[parent])
        found.append(History(tuple(link.manifest for link in links), _ended_by(links, known, broken)))
    return tuple(sorted(found, key=lambda history: (history.begins, history.ends, history.last.id)))


def _fault(held: Held, parent: Held | None) -> str | None:
    if held.manifest.safety:
        return "is a safety backup"
    if held.damage or held.status in _FAULTS:
        return _FAULTS.get(held.status, f"is damaged: {held.damage}")
    own = held.manifest.chain
    if held.type is BackupType.FULL or own is None or parent is None:
        return None  # what is missing is found by who looks along the chain
    before = parent.manifest.chain
    if before is None or not before.to_position or own.base_id != (before.base_id or parent.id):
        return f"does not belong to the chain of {parent.id}"
    if own.from_position != before.to_position or not own.to_position:
        return f"does not begin where {parent.id} ends"
    return None


def _ended_by(links: Sequence[Held], known: dict[str, Held], broken: dict[str, str]) -> str:
    """What became of the increment that came next."""
    end, base = links[-1].manifest, links[0]
    lost = [held.manifest for held in known.values() if held.base_id == base.id and held.id in broken]
    later = [manifest for manifest in lost if manifest.created_at > end.created_at]
    return broken[min(later, key=lambda manifest: manifest.created_at).id] if later else ""


def gaps(found: Sequence[History]) -> tuple[Gap, ...]:
    """Between histories that each lead to every moment; the moments of others are told one by one."""
    result: list[Gap] = []
    before: History | None = None
    for history in sorted((one for one in found if one.is_continuous), key=lambda one: one.begins):
        if before is not None and history.begins > before.ends:
            result.append(Gap(before.ends, history.begins, before.ended_by or _new_chain(history.base)))
        if before is None or history.ends > before.ends:
            before = history
    return tuple(result)


def _new_chain(base: Manifest) -> str:
    why = next((warning for warning in base.warnings if warning.startswith(FULL_INSTEAD)), "")
    return f"{base.id} began a new chain{f': {why}' if why else ''}".removesuffix(".")


def route_to_time(found: Sequence[History], time: datetime, *, entry: str, zone: tzinfo, named: bool = False) -> Route:
    """The backups that lead to a moment: to the very moment, or of backups that stand by themselves to the last before.

    A time of whole seconds also means a backup's moment within that second: so it is shown, and so it may be copied.

    :param entry: whose they are, for people.
    :param zone: in which times are told beside UTC.
    :param named: it is one history, to the end that somebody named: of a file, that leads to any later moment too.
    :raises PointOutOfReach: none does; with the nearest moments to which some do.
    """
    until = time if time.microsecond else time + _SECOND - timedelta.resolution
    begun = [history for history in found if history.begins <= until]
    leading = [history for history in begun if time <= history.ends or (named and history.is_of_moments)]
    if not leading:
        raise _out_of_reach(found, time, entry, zone)
    best = max(leading, key=lambda one: (one.begins <= time, one.is_continuous, one.begins, one.ends, -len(one.links)))
    if not best.is_continuous:
        ways = [
            tuple(takewhile(lambda link: link.recovery_point <= until, history.links))
            for history in begun
            if not history.is_continuous
        ]
        return Route(max(ways, key=lambda links: (links[-1].recovery_point, -len(links))), Point())
    if time <= best.begins:
        return Route(best.links[:1], Point())
    # A binlog tells whole seconds: what belongs to the last one may be in the link after it.
    enough = next((count for count, end in enumerate(best.moments, 1) if end >= time + _SECOND), len(best.links))
    return Route(best.links[:enough], Point(time=time))


def _out_of_reach(found: Sequence[History], time: datetime, entry: str, zone: tzinfo) -> PointOutOfReach:
    if not found:
        return PointOutOfReach(
            f"There is no backup of '{entry}' that leads to {told(time, zone)}.",
            hint=f"See `db-backup list --recovery --database {entry}`.",
            database=entry,
        )
    gap = next((gap for gap in gaps(found) if gap.after < time < gap.before), None)
    before, after = nearest_moments(found, time)
    words = [
        f"{word} it {told(moment.replace(microsecond=0), zone)}"
        for word, moment in (("before", before), ("after", after))
        if moment is not None
    ]
    return PointOutOfReach(
        f"No backup of '{entry}' leads to {told(time, zone)}{f': {gap.reason}' if gap else ''}.",
        hint=f"The nearest that can be restored: {', '.join(words)}.",
        database=entry,
    )


def nearest_moments(found: Sequence[History], time: datetime) -> tuple[datetime | None, datetime | None]:
    """The last moment before a time, and the first after it, that these lead to; None: there is none."""
    known = {moment for history in found for moment in (*history.moments, history.ends)}
    before = max((moment for moment in known if moment <= time), default=None)
    after = min((moment for moment in known if moment > time), default=None)
    return before, after


def parse_moment(text: str, zone: tzinfo) -> datetime:
    """A time that a person wrote, as UTC.

    :param zone: where it tells none.
    :raises UsageError: it is no time, or one that the zone's clocks skip or show twice.
    """
    stripped = text.strip()
    try:
        moment = datetime.fromisoformat(_NAMED_UTC.sub("+00:00", stripped))
    except ValueError:
        moment = None
    if moment is None or len(stripped) <= len("2025-09-29"):
        raise UsageError(
            f"'{text}' is no moment.",
            hint='Write it as "2025-09-29 14:05:00", or with its zone as 2025-09-29T14:05:00+02:00.',
        )
    if moment.tzinfo is None:
        moment = _in_zone(moment, zone)
    return moment.astimezone(UTC)


def _in_zone(wall: datetime, zone: tzinfo) -> datetime:
    """:raises UsageError: clocks skip it, or show it twice."""
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    skipped = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall
    what = "is skipped" if skipped else "comes twice"
    choices = " or ".join(sorted(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for moment in (first, second)))
    raise UsageError(
        f"In {zone} the time {wall.isoformat(sep=' ')} {what}, as its clocks change.",
        hint=f"Say which moment is meant, with its zone: {choices}.",
    )


def told(moment: datetime, zone: tzinfo) -> str:
    """A moment for people: in UTC, and in the zone where that is another; fractions of seconds only where there are."""
    utc, local = moment.astimezone(UTC), moment.astimezone(zone)
    text = f"{utc.replace(tzinfo=None).isoformat(sep=' ')} UTC"
    return (
        text if local.utcoffset() == timedelta() else f"{text} ({local.replace(tzinfo=None).isoformat(sep=' ')} {zone})"
    )
