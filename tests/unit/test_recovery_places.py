"""Which backups lead to a place in a log: an LSN, a GTID or a position, told by the positions in their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from db_backup.engines.mysql.chain.position import Place
from db_backup.engines.mysql.chain.position import Position as BinlogPosition
from db_backup.engines.postgres.chain.position import Position as WalPosition
from db_backup.engines.postgres.chain.position import parse_lsn
from db_backup.errors import PointOutOfReach, UsageError
from db_backup.jobs.recovery.places import route_to_place
from db_backup.manifest import Chain
from db_backup.model import BackupType, EngineName
from db_backup.recovery import History, Point
from support.factories import MORNING, make_manifest

pytestmark = pytest.mark.unit

MYSQLS = "3e11fa47-71ca-11e1-9e33-c80aa9429562:4711"


def a_history(positions: Sequence[str], engine: EngineName, *, hours: int = 0) -> History:
    """A base and increments that end at these positions, a minute each."""
    links = []
    for number, position in enumerate(positions):
        parent = links[-1] if links else None
        chain = Chain(to_position=position)
        if parent is not None and parent.chain is not None:
            chain = Chain(
                base_id=links[0].id,
                parent_id=parent.id,
                from_position=parent.chain.to_position,
                to_position=position,
            )
        links.append(
            make_manifest(
                entry="main",
                type=BackupType.INCREMENTAL if parent else BackupType.FULL,
                created_at=MORNING + timedelta(hours=hours, minutes=number),
                engine=engine,
                chain=chain,
            )
        )
    return History(tuple(links))


def wal(*lsns: str, hours: int = 0) -> History:
    texts = [
        str(WalPosition(lsn=parse_lsn(lsn), timeline=1, system="7310", segment_bytes=1 << 24, page="0" * 32))
        for lsn in lsns
    ]
    return a_history(texts, EngineName.POSTGRES, hours=hours)


def binlog(*ends: tuple[str, str], hours: int = 0) -> History:
    texts = [str(BinlogPosition(Place.parse(place), gtid=gtid, server=1, head="9f")) for place, gtid in ends]
    return a_history(texts, EngineName.MYSQL, hours=hours)


@pytest.mark.parametrize(
    ("lsn", "links"),
    [("0/2000000", 1), ("0/2000001", 2), ("0/3000000", 2), ("0/3000001", 3), ("1/10", 3)],
)
def test_an_lsn_takes_the_links_up_to_the_one_that_holds_it(lsn: str, links: int) -> None:
    history = wal("0/2000000", "0/3000000", "1/10")
    route = route_to_place([history], Point(lsn=lsn), entry="main")
    assert route.links == history.links[:links]
    assert route.point == (Point() if links == 1 else Point(lsn=lsn))


@pytest.mark.parametrize("lsn", ["0/1FFFFFF", "1/11"])
def test_an_lsn_that_no_chain_holds_is_refused_with_what_the_newest_holds(lsn: str) -> None:
    with pytest.raises(PointOutOfReach) as refused:
        route_to_place([wal("0/2000000", "1/10")], Point(lsn=lsn), entry="main")
    assert lsn in refused.value.message
    assert "from 0/2000000 to 1/10" in refused.value.hint


def test_the_newest_chain_that_holds_a_place_is_taken() -> None:
    old, new = wal("0/2000000", "0/9000000"), wal("0/5000000", "0/8000000", hours=1)
    assert route_to_place([old, new], Point(lsn="0/6000000"), entry="main").links[0] == new.base
    assert route_to_place([old, new], Point(lsn="0/4000000"), entry="main").links[0] == old.base


@pytest.mark.parametrize(("position", "links"), [("bin.000002:400", 1), ("bin.000003:4", 2), ("bin.000010:100", 2)])
def test_a_position_is_found_by_the_number_of_its_file(position: str, links: int) -> None:
    history = binlog(("bin.000002:400", ""), ("bin.000010:100", ""))
    assert len(route_to_place([history], Point(position=position), entry="main").links) == links


def test_a_position_in_a_log_of_another_name_is_out_of_reach() -> None:
    with pytest.raises(PointOutOfReach):
        route_to_place(
            [binlog(("bin.000002:400", ""), ("bin.000010:1", ""))], Point(position="log.000003:4"), entry="m"
        )


@pytest.mark.parametrize(("gtid", "links"), [("0-1-42", 1), ("0-1-43", 2), ("0-9-50", 2), ("0-1-51", 3), ("1-1-7", 3)])
def test_a_gtid_of_mariadb_is_found_by_its_domain_and_number(gtid: str, links: int) -> None:
    history = binlog(("bin.000001:4", "0-1-42"), ("bin.000001:9", "0-1-50"), ("bin.000001:12", "0-1-60,1-1-7"))
    assert len(route_to_place([history], Point(gtid=gtid), entry="main").links) == links


def test_a_transaction_before_the_base_is_out_of_its_chain() -> None:
    with pytest.raises(PointOutOfReach):
        route_to_place(
            [binlog(("bin.000001:4", "0-1-42"), ("bin.000001:9", "0-1-50"))], Point(gtid="0-1-41"), entry="m"
        )


@pytest.mark.parametrize("point", [Point(lsn="here"), Point(lsn="16B3748")])
def test_what_is_no_lsn_is_refused(point: Point) -> None:
    with pytest.raises(UsageError):
        route_to_place([wal("0/2000000")], point, entry="main")


@pytest.mark.parametrize(
    "point", [Point(gtid="4711"), Point(gtid="0-1-x"), Point(gtid=MYSQLS), Point(position="bin.000001")]
)
def test_what_is_no_place_of_a_binlog_is_refused(point: Point) -> None:
    with pytest.raises(UsageError):
        route_to_place([binlog(("bin.000001:4", "0-1-42"))], point, entry="main")


@pytest.mark.parametrize(
    ("history", "point", "what"),
    [(wal("0/1"), Point(gtid="0-1-1"), "binlogs"), (binlog(("bin.000001:4", "")), Point(lsn="0/1"), "LSNs")],
)
def test_a_place_of_another_engine_is_refused(history: History, point: Point, what: str) -> None:
    with pytest.raises(UsageError, match=f"which has no {what}"):
        route_to_place([history], point, entry="main")


def test_without_a_chain_the_refusal_says_how_one_begins() -> None:
    with pytest.raises(PointOutOfReach) as refused:
        route_to_place([History((make_manifest(),))], Point(lsn="0/1"), entry="main")
    assert "--type incremental" in refused.value.hint
