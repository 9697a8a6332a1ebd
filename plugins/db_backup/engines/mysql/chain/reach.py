"""Which increments of a chain a point takes, and whether the chain leads there at all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db_backup.engines.chain import end_of
from db_backup.engines.mysql.chain.moments import Stop, StopAfterGtid, StopAtPosition, StopAtTime, gtid_parts, gtids_of
from db_backup.engines.mysql.chain.position import Place, Position
from db_backup.errors import PointOutOfReach, UsageError
from db_backup.manifest import Manifest
from db_backup.recovery import Point


@dataclass(frozen=True)
class Reach:
    """``count``: how many increments are read, from the first; ``stop`` finds the place in them.

    ``must_stop``: it is there or nowhere; otherwise their end will do.
    """

    count: int
    stop: Stop
    must_stop: bool = False


def reach(base: Manifest, increments: Sequence[Manifest], point: Point) -> Reach:
    """:raises PointOutOfReach: before the base, or after the last increment; with the nearest that there is.
    :raises UsageError: this is no point of a MySQL chain.
    """
    if point.lsn is not None:
        raise UsageError(
            "An LSN is a position of PostgreSQL, and this is a chain of MySQL or MariaDB.",
            hint="Give a time, a GTID or a position such as mariadb-bin.000003:4711.",
        )
    if point.time is not None:
        return _reach_time(base, increments, point.time)
    if point.position is not None:
        return _reach_place(base, increments, _parsed_place(point.position))
    if point.gtid is not None:
        return _reach_gtid(base, increments, point.gtid)
    return Reach(len(increments), Stop())


def place_of(manifest: Manifest) -> Place:
    """Where a backup of a chain ends."""
    return position_of(manifest).place


def position_of(manifest: Manifest) -> Position:
    """:raises ChainBroken: the manifest does not say it."""
    return end_of(manifest, Position.parse)


def unreachable(base: Manifest, increments: Sequence[Manifest], what: str, nearest: str) -> PointOutOfReach:
    last = increments[-1] if increments else base
    return PointOutOfReach(
        f"{what}; the chain of {base.id} leads from {place_of(base)} ({base.recovery_point:%Y-%m-%d %H:%M:%S} UTC) to "
        f"{place_of(last)} ({last.recovery_point:%Y-%m-%d %H:%M:%S} UTC).",
        hint=f"The nearest is {nearest}.",
        database=base.entry,
        backup_id=base.id,
    )


def _reach_time(base: Manifest, increments: Sequence[Manifest], moment: datetime) -> Reach:
    last = increments[-1] if increments else base
    if int(moment.timestamp()) < int(base.recovery_point.timestamp()):
        nearest = base.recovery_point
    elif moment > last.recovery_point and int(moment.timestamp()) > int(last.recovery_point.timestamp()):
        nearest = last.recovery_point
    else:
        whole = [manifest for manifest in (base, *increments) if manifest.recovery_point < moment]
        return Reach(min(len(whole), len(increments)), StopAtTime(moment))
    raise unreachable(
        base,
        increments,
        f"{moment:%Y-%m-%d %H:%M:%S%z} is outside of the chain",
        f"{nearest:%Y-%m-%d %H:%M:%S} UTC",
    )


def _parsed_place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise UsageError(f"{error}.", hint="Give the file and the offset, as SHOW MASTER STATUS does.") from error


def _reach_place(base: Manifest, increments: Sequence[Manifest], wanted: Place) -> Reach:
    places = [place_of(manifest) for manifest in (base, *increments)]
    try:
        order = wanted.order
    except ValueError:
        order = (0, 0)
    same_name = wanted.file.rpartition(".")[0] == places[0].file.rpartition(".")[0]
    if not same_name or not places[0].order <= order <= places[-1].order:
        nearest = places[-1] if same_name and order > places[-1].order else places[0]
        raise unreachable(base, increments, f"The position {wanted} is outside of the chain", str(nearest))
    if wanted == places[0]:
        return Reach(0, Stop())
    count = next(number for number, place in enumerate(places) if order <= place.order)
    return Reach(count, StopAtPosition(wanted), must_stop=True)


def _reach_gtid(base: Manifest, increments: Sequence[Manifest], gtid: str) -> Reach:
    try:
        domain, _, number = gtid_parts(gtid)
        before = {known: reached for known, _, reached in gtids_of(position_of(base).gtid)}
    except ValueError as error:
        raise UsageError(
            f"'{gtid}' is no GTID of MariaDB, such as 0-1-4711.", hint="SELECT @@gtid_binlog_pos shows some."
        ) from error
    if gtid in position_of(base).gtids:
        return Reach(0, Stop())
    if number <= before.get(domain, 0):
        raise unreachable(base, increments, f"The GTID {gtid} is older than the chain", str(position_of(base).gtid))
    return Reach(len(increments), StopAfterGtid(gtid), must_stop=True)
