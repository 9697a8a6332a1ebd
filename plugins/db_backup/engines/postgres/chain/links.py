"""Which links of a chain lead to a moment: by their manifests alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from db_backup.engines.chain import Link, end_of
from db_backup.engines.postgres.chain.position import Position, format_lsn, parse_lsn
from db_backup.errors import PointOutOfReach, UsageError
from db_backup.manifest import Manifest
from db_backup.recovery import Point


def position_of(manifest: Manifest) -> Position:
    """Where this full or increment ends.

    :raises ChainBroken: it says nothing of it.
    """
    return end_of(manifest, Position.parse)


def needed(links: Sequence[Link], point: Point) -> Sequence[Link]:
    """The shortest chain that holds the point; all of it where none is given.

    :raises PointOutOfReach: it lies before the full's end, or after the last link's.
    :raises UsageError: it is no moment of PostgreSQL's.
    """
    if point.gtid is not None or point.position is not None:
        raise UsageError(
            "PostgreSQL has no GTIDs and no binary logs.", hint="Give a time, or a position in its WAL (LSN)."
        )
    if point.lsn is not None:
        return _up_to_lsn(links, _lsn(point.lsn))
    if point.time is not None:
        return _up_to_time(links, point.time)
    return links


def _lsn(text: str) -> int:
    try:
        return parse_lsn(text)
    except ValueError as error:
        raise UsageError(f"{error}.".capitalize(), hint="SELECT pg_current_wal_lsn() shows one.") from error


def _up_to_lsn(links: Sequence[Link], lsn: int) -> Sequence[Link]:
    ends = [position_of(link.manifest).lsn for link in links]
    if not ends[0] <= lsn <= ends[-1]:
        nearest = ends[0] if lsn < ends[0] else ends[-1]
        raise _out_of_reach(links, format_lsn(lsn), format_lsn(ends[0]), format_lsn(ends[-1]), format_lsn(nearest))
    return _up_to(links, [end >= lsn for end in ends])


def _up_to_time(links: Sequence[Link], moment: datetime) -> Sequence[Link]:
    ends = [link.manifest.recovery_point for link in links]
    first, last = ends[0], max(ends)
    if not first <= moment <= last:
        nearest = first if moment < first else last
        raise _out_of_reach(links, _text(moment), _text(first), _text(last), _text(nearest))
    return _up_to(links, [end >= moment for end in ends])


def _up_to(links: Sequence[Link], holds: list[bool]) -> Sequence[Link]:
    return links[: holds.index(True) + 1]


def _text(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _out_of_reach(links: Sequence[Link], asked: str, first: str, last: str, nearest: str) -> PointOutOfReach:
    base = links[0].manifest
    return PointOutOfReach(
        f"The chain of {base.id} does not lead to {asked}: it goes from {first} to {last}.",
        hint=f"The nearest point is {nearest}.",
        database=base.entry,
        backup_id=base.id,
    )
