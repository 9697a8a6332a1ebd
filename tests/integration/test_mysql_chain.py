"""Chains of a MariaDB server: with writers at work, after what breaks history, and what only a binlog can get wrong."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db_backup.engines.base import DumpRequest
from db_backup.engines.mysql.chain import MysqlChain
from db_backup.engines.mysql.connecting import connect
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from support.chains import Taken, links, take_full, take_increment
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer
from support.mysql_writers import SETUP, Writers, truth

pytestmark = pytest.mark.integration

SEED = 20_260_131


@dataclass(frozen=True)
class Recorded:
    """What the server held at one moment, and three ways to name it."""

    point: Point
    truth: dict[str, object]


def _differences(expected: dict[str, object], found: dict[str, object]) -> dict[str, tuple[object, object]]:
    names = expected.keys() | found.keys()
    return {name: pair for name in names if (pair := (expected.get(name), found.get(name)))[0] != pair[1]}


def _now(server: MariaDbServer) -> datetime:
    now: datetime = server.run("SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


def _record(server: MariaDbServer, kind: str) -> Recorded:
    with server.connect() as session:
        held = truth(session)
    match kind:
        case "position":
            file, offset = server.run("SHOW MASTER STATUS")[0][:2]
            return Recorded(Point(position=f"{file}:{offset}"), held)
        case "gtid":
            return Recorded(Point(gtid=server.run("SELECT @@gtid_binlog_pos")[0][0]), held)
    now = _now(server)
    time.sleep(1 - now.microsecond / 1_000_000)  # nothing else is of this second
    return Recorded(Point(time=now), held)


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbServer]:
    with MariaDbServer.start(binlog=True, options=["--max-binlog-size=131072"]) as running:
        yield running


def _chain(server: MariaDbServer, lab: MysqlLab) -> MysqlChain:
    return MysqlChain(server.connection(""), lab.options)


def test_a_server_with_three_writers_is_rebuilt_to_any_recorded_moment(
    server: MariaDbServer, mysql_lab: MysqlLab
) -> None:
    server.run_script(SETUP)
    engine = _chain(server, mysql_lab)
    writers = Writers(server, SEED)
    dice = random.Random(SEED)
    recorded: list[Recorded] = []
    with writers.at_work():
        time.sleep(0.5)
        taken = [take_full(engine)]
        for _ in range(4):
            for kind in dice.sample(["position", "gtid", "time"], 2):
                time.sleep(dice.uniform(0.1, 0.5))
                with writers.paused():
                    recorded.append(_record(server, kind))
            time.sleep(dice.uniform(0.1, 0.3))
            taken.append(take_increment(engine, taken[-1]))
    for each in recorded:
        with engine.open_rebuilt(links(taken), each.point, Cancellation()) as rebuilt:
            session = connect(rebuilt.connection)
            found = truth(session)
            session.close()
        assert _differences(each.truth, found) == {}, each.point
