"""Which backups lead to a place in a source's log: an LSN, a GTID, or a position in a binlog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.chain.position import Position as BinlogPosition
from db_backup.engines.postgres.chain.position import Position as WalPosition
from db_backup.engines.postgres.chain.position import parse_lsn
from db_backup.errors import PointOutOfReach, UsageError
from db_backup.manifest import Manifest
from db_backup.model import EngineName
from db_backup.recovery import History, Point, Route

_Order = Callable[[Manifest], Any]  # None: this backup tells of no such place


def route_to_place(found: Sequence[History], point: Point, *, entry: str) -> Route:
    """The backups of the newest chain that leads there.

    :param point: with an LSN, a GTID or a position.
    :raises UsageError: it is none, or the source has no such places.
    :raises PointOutOfReach: no chain leads there.
    """
    chains = [history for history in reversed(found) if history.is_continuous]
    engines = {history.base.engine for history in found}
    asked, order, wanted = _asked(point, engines, entry)
    for history in chains:
        ends = [order(link) for link in history.links]
        for count, end in enumerate(ends, 1):
            if end is None or end < wanted or (count == 1 and end != wanted):
                continue
            if count == 1:
                return Route(history.links[:1], Point())
            if ends[0] is not None and ends[0] < wanted:
                return Route(history.links[:count], point)
    raise PointOutOfReach(
        f"No chain of '{entry}' leads to {asked}.",
        hint=_hint(chains, entry),
        database=entry,
    )


def _asked(point: Point, engines: set[EngineName], entry: str) -> tuple[str, _Order, Any]:
    """What is asked for in words, how its place in a backup is told, and as what it is compared.

    :raises UsageError:
    """
    try:
        if point.lsn is not None:
            _require(EngineName.POSTGRES, engines, "LSNs", entry)
            return f"the LSN {point.lsn}", _lsn, parse_lsn(point.lsn)
        _require(EngineName.MYSQL, engines, "binlogs", entry)
        if point.position is not None:
            place = Place.parse(point.position)
            return f"the position {point.position}", lambda link: _place(link, place), place.order
        gtid = str(point.gtid)
        return f"the GTID {gtid}", _transactions(gtid), 1
    except ValueError as error:
        raise UsageError(f"{error}.", hint="Name it as the server shows it.", database=entry) from error


def _require(engine: EngineName, engines: set[EngineName], what: str, entry: str) -> None:
    if engines and engine not in engines:
        raise UsageError(
            f"'{entry}' is of {', '.join(sorted(engines))}, which has no {what}.",
            hint="Name a moment: --to-time.",
            database=entry,
        )


def _lsn(link: Manifest) -> int | None:
    text = _position_text(link)
    return WalPosition.parse(text).lsn if text else None


def _place(link: Manifest, wanted: Place) -> tuple[int, int] | None:
    text = _position_text(link)
    place = BinlogPosition.parse(text).place if text else None
    same_log = place is not None and place.file.rpartition(".")[0] == wanted.file.rpartition(".")[0]
    return place.order if place is not None and same_log else None


def _transactions(gtid: str) -> _Order:
    """Whether a backup holds the transaction: 0 not, 1 as the last one of its domain, 2 with later ones.

    :raises ValueError: this is no GTID.
    """
    parts = gtid.split("-")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ValueError(f"'{gtid}' is no GTID of MariaDB, such as 0-1-4711")
    domain, wanted = parts[0], int(parts[2])

    def holds(link: Manifest) -> int | None:
        text = _position_text(link)
        if not text:
            return None
        ends = [item.split("-") for item in BinlogPosition.parse(text).gtids]
        last = max((int(end[-1]) for end in ends if end[0] == domain), default=-1)
        return 0 if last < wanted else 1 if last == wanted else 2

    return holds


def _position_text(link: Manifest) -> str | None:
    return link.chain.to_position if link.chain else None


def _hint(chains: Sequence[History], entry: str) -> str:
    if not chains:
        return f"It has no chain: `db-backup create {entry} --type incremental` begins one."
    first, last = (str(_position_text(link)).partition(" ")[0] for link in (chains[0].base, chains[0].last))
    return f"The newest chain leads from {first} to {last}; see `db-backup list --recovery`."
