"""Chains of a MariaDB server: with writers at work, after what breaks history, and what only a binlog can get wrong."""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup.engines.base import DumpRequest
from db_backup.engines.mysql import giving_way
from db_backup.engines.mysql.chain import MysqlChain, full
from db_backup.engines.mysql.connecting import connect
from db_backup.engines.mysql.snapshot import Guard, guard
from db_backup.errors import (
    ChainBroken,
    ConfigurationError,
    DumpFailed,
    LoadFailed,
    PointOutOfReach,
    PrivilegeMissing,
    SourceError,
    SourceUnsupported,
    UsageError,
)
from db_backup.manifest import Manifest
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from support.chains import ENTRY, Taken, links, take_full, take_increment
from support.dumps import read_to_end, run_in_a_plain_shell
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


def _rebuilt(engine: MysqlChain, taken: Sequence[Taken], point: Point | None = None) -> dict[str, object]:
    with engine.open_rebuilt(links(taken), point or Point(), Cancellation()) as rebuilt:
        session = connect(rebuilt.connection)
        found = truth(session)
        session.close()
    return found


def _truth(server: MariaDbServer) -> dict[str, object]:
    with server.connect() as session:
        return truth(session)


def _transactions(increment: Taken) -> int:
    return next(int(item.name) for item in increment.manifest.inventory.objects if item.kind == "transactions")


def _now(server: MariaDbServer) -> datetime:
    now: datetime = server.run("SELECT UTC_TIMESTAMP(6)")[0][0]
    return now.replace(tzinfo=UTC)


def _record(server: MariaDbServer, kind: str) -> Recorded:
    held = _truth(server)
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
    """With a database that is not the writers'. Some tests leave more behind; none goes by what others leave."""
    with MariaDbServer.start(binlog=True, options=["--max-binlog-size=131072"]) as running:
        running.run(
            "CREATE DATABASE kept",
            "CREATE DATABASE exact",
            "CREATE TABLE kept.t (a int)",
            "CREATE TABLE kept.large (b longtext)",
        )
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
        for kind in ("position", "time", "gtid", "time"):
            time.sleep(dice.uniform(0.2, 0.6))
            with writers.paused():
                recorded.append(_record(server, kind))
            time.sleep(dice.uniform(0.2, 0.4))
            taken.append(take_increment(engine, taken[-1]))
    assert all(_transactions(increment) > 20 for increment in taken[1:])
    for each in recorded:
        assert _differences(each.truth, _rebuilt(engine, taken, each.point)) == {}, each.point


# What is captured


def test_what_is_captured_is_what_lies_on_the_servers_disk_at_its_true_offset(
    server: MariaDbServer, mysql_lab: MysqlLab, tmp_path: Path
) -> None:
    engine = _chain(server, mysql_lab)
    server.run("CREATE OR REPLACE TABLE exact.t (a int, b longtext)")
    full = take_full(engine)
    for number in range(3):
        server.run(f"INSERT INTO exact.t VALUES ({number}, repeat('x', 70000))", "FLUSH BINARY LOGS")
    server.run("INSERT INTO exact.t VALUES (9, 'in the file that is written to')")
    increment = take_increment(engine, full)
    spans = [item.name for item in increment.manifest.inventory.objects if item.kind == "binlog"]
    server.run("FLUSH BINARY LOGS")  # while a file is written to, its first event says so
    (tmp_path / "increment.tar").write_bytes(increment.streams["main"])
    subprocess.run(["tar", "--extract", "--file=increment.tar"], cwd=tmp_path, check=True)
    assert len(spans) >= 4
    for span in spans:
        file, start, end = re.fullmatch(r"(.+) (\d+)-(\d+)", span).groups()  # type: ignore[union-attr]
        extracted, original = ((folder / file).read_bytes() for folder in (tmp_path, server.folder / "data"))
        assert len(extracted) == int(end)
        assert extracted[int(start) :] == original[int(start) : int(end)]
        assert extracted[:200] == original[:200]


def test_a_server_that_was_restarted_is_followed_without_a_gap(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    server.run("INSERT INTO kept.t VALUES (1)")
    server.stop()
    server.start_again()
    server.run("INSERT INTO kept.t VALUES (2)")
    increment = take_increment(engine, full)
    server.run("INSERT INTO kept.t VALUES (3)")
    assert _transactions(increment) == 2 + 2  # what it does whenever it starts
    assert _transactions(take_increment(engine, increment)) == 1


def test_two_captures_at_once_do_not_disturb_each_other(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    server.run(
        "CREATE OR REPLACE TABLE kept.large (b longtext)", "INSERT INTO kept.large VALUES (repeat('z', 5000000))"
    )
    with (
        engine.open_increment(_INCREMENT, full.link, Cancellation()) as one,
        engine.open_increment(_INCREMENT, full.link, Cancellation()) as other,
    ):
        begun = os.read(one.streams[0].fileno(), 100_000)
        one.streams[0].observe(memoryview(begun))
        assert begun + read_to_end(one.streams[0]) == read_to_end(other.streams[0])
        assert one.complete().to_position == other.complete().to_position


def test_a_connection_that_is_lost_on_the_way_fails_the_increment(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    server.run(*["INSERT INTO kept.large VALUES (repeat('z', 16000000))"] * 2)
    with engine.open_increment(_INCREMENT, full.link, Cancellation()) as dump:
        dump.streams[0].observe(memoryview(os.read(dump.streams[0].fileno(), 10)))
        ((thread,),) = server.run("SELECT id FROM information_schema.processlist WHERE command = 'Binlog Dump'")
        server.run(f"KILL {thread}")
        read_to_end(dump.streams[0])
        with pytest.raises(SourceError):
            dump.complete()
    server.run("TRUNCATE TABLE kept.large")


# What breaks a chain


_INCREMENT = DumpRequest(ENTRY, BackupType.INCREMENTAL)


@dataclass(frozen=True)
class Break:
    """What is done to the server, what the refusal says, and what is done afterwards."""

    acts: Sequence[str]
    says: str
    afterwards: Sequence[str] = ()


_PURGE = "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY"
BREAKS = {
    "RESET MASTER": Break(["RESET MASTER"], "begun anew"),
    "RESET MASTER, and the file is as long again": Break(
        [
            "RESET MASTER",
            "CREATE OR REPLACE TABLE kept.again (b text)",
            "INSERT INTO kept.again VALUES (repeat('x', 60000))",
        ],
        "begun anew",
    ),
    "a purged binlog": Break(
        ["FLUSH BINARY LOGS", "FLUSH BINARY LOGS", _PURGE],
        "has purged its binlog file",
    ),
    "another server, as after a failover": Break(
        ["SET GLOBAL server_id = 7"], "its server_id is 7, and was 1", ["SET GLOBAL server_id = 1"]
    ),
    "another domain": Break(
        ["SET GLOBAL gtid_domain_id = 3"], "gtid_domain_id is 3, and was 0", ["SET GLOBAL gtid_domain_id = 0"]
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_no_increment_follows_a_history_that_is_not_whole(
    server: MariaDbServer, mysql_lab: MysqlLab, name: str
) -> None:
    case = BREAKS[name]
    engine = _chain(server, mysql_lab)
    if "RESET" in case.acts[0]:
        server.run("RESET MASTER")  # into the first file, which will be there again
    full = take_full(engine)
    time.sleep(1.1)  # a file's first event knows the second in which it was begun
    server.run(*case.acts)
    if case.acts[-1] == _PURGE:
        _wait_until_purged(server, full)
    try:
        for attempt in (
            lambda: engine.prove_chain(full.manifest),
            lambda: take_increment(engine, full),
        ):
            with pytest.raises(ChainBroken, match=re.escape(case.says)) as caught:
                attempt()
            assert full.manifest.id in caught.value.message
            assert not caught.value.worth_a_full
    finally:
        server.run("SELECT 1", *case.afterwards)
    engine.prove_chain(take_full(engine).manifest)


def _wait_until_purged(server: MariaDbServer, full: Taken) -> None:
    """The server keeps a file that somebody has just read, or that a crash would still take."""
    while full.manifest.consistency.binlog_file in {row[0] for row in server.run("SHOW BINARY LOGS")}:
        time.sleep(0.1)
        server.run(_PURGE)


def _with_position(manifest: Manifest, change: Callable[[str], str]) -> Manifest:
    chain = manifest.chain
    assert chain is not None
    changed = chain.model_copy(update={"to_position": change(chain.to_position or "")})
    assert changed != chain
    return manifest.model_copy(update={"chain": changed})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: re.sub("head=.", "head=z", text), "is not the one that it ended in"),
        (lambda text: re.sub("gtid=0-1-", "gtid=0-1-1", text), "the server has the GTID"),
        (lambda text: re.sub(r":\d+ ", ":99999999 ", text), "and it ended at 99999999"),
        (lambda text: re.sub(r":\d+ ", ":5000000000 ", text), "and it ended at 5000000000"),
        (lambda text: "nonsense", "it has no position"),
    ],
)
def test_each_proof_alone_finds_another_history(
    server: MariaDbServer, mysql_lab: MysqlLab, change: Callable[[str], str], says: str
) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    with pytest.raises(ChainBroken, match=says):
        engine.prove_chain(_with_position(full.manifest, change))


def test_a_server_without_a_binlog_breaks_a_chain_and_begins_none(
    server: MariaDbServer, mysql_server: MariaDbServer, mysql_lab: MysqlLab
) -> None:
    without = _chain(mysql_server, mysql_lab)
    with pytest.raises(ChainBroken, match="writes no binlog any more"):
        without.prove_chain(take_full(_chain(server, mysql_lab)).manifest)
    with pytest.raises(SourceUnsupported, match="writes no binlog"):
        take_full(without)


# What is asked for before


def test_what_a_replay_would_trip_over_is_told_of(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    server.run("SET GLOBAL binlog_format = MIXED, binlog_row_image = MINIMAL, binlog_expire_logs_seconds = 3600")
    try:
        said = " ".join(_chain(server, mysql_lab).preflight(_INCREMENT).warnings)
    finally:
        server.run("SET GLOBAL binlog_format = ROW, binlog_row_image = FULL, binlog_expire_logs_seconds = 0")
    for words in ("binlog_format is MIXED", "binlog_row_image is MINIMAL", "keeps its binlog for 1 h"):
        assert words in said
    assert _chain(server, mysql_lab).preflight(_INCREMENT).warnings == ()


@pytest.mark.parametrize("lacking", ["REPLICATION SLAVE", "BINLOG MONITOR", "RELOAD", "EVENT", "SELECT"])
def test_a_privilege_that_is_missing_is_named(server: MariaDbServer, mysql_lab: MysqlLab, lacking: str) -> None:
    everything = ["SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES", "RELOAD", "REPLICATION SLAVE"]
    granted = ", ".join(name for name in (*everything, "BINLOG MONITOR") if name != lacking)
    password = server.create_user("partly", f"{granted} ON *.*", "SELECT ON mysql.*")
    engine = MysqlChain(server.connection("", user="partly", password=password), mysql_lab.options)
    with pytest.raises(PrivilegeMissing, match=lacking):
        take_full(engine)


def test_a_server_of_which_databases_are_left_out_begins_no_chain(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = MysqlChain(server.connection(""), mysql_lab.options, ("kept",))
    with pytest.raises(ConfigurationError, match=r"leaves out .*exact"):
        take_full(engine)


def test_a_full_gives_way_to_a_structure_change_that_would_wait_for_it_for_ever(
    server: MariaDbServer, mysql_lab: MysqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "EVERY_SECONDS", 0.2)
    engine = _chain(server, mysql_lab)
    server.run(
        "SET SESSION sql_log_bin = 0",
        "CREATE TABLE first (b longtext)",
        "INSERT INTO first VALUES (repeat('x', 8000000))",
        "CREATE TABLE second (a int PRIMARY KEY, b text)",
        "INSERT INTO second SELECT seq, repeat('y', 300) FROM seq_1_to_150000",
        database="kept",
    )
    change = "ALTER TABLE kept.second ADD KEY (b(200)), ALGORITHM = INPLACE"
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(server.run, "SET SESSION sql_log_bin = 0", change)
        _wait_until(server, "altering table")
        with engine.open_full(DumpRequest(ENTRY), Cancellation()) as dump:
            dump.streams[0].observe(memoryview(os.read(dump.streams[0].fileno(), 10_000)))
            _wait_until(server, "Waiting for backup lock")
            read_to_end(dump.streams[0])
            with pytest.raises(DumpFailed, match="another session had locked"):
                dump.stream_ended(0)
        changing.result()
    server.run("SET SESSION sql_log_bin = 0", "DROP TABLE kept.first, kept.second")


def _changes_before_it_is_held(server: MariaDbServer, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Another database comes or goes before the server is held still, so many times."""
    left = list(range(times))

    def guard_too_late(*arguments: Any, **options: Any) -> AbstractContextManager[Guard]:
        if left:
            change = "CREATE" if left.pop() % 2 else "DROP"
            server.run("SET SESSION sql_log_bin = 0", f"{change} DATABASE passing")
        return guard(*arguments, **options)

    monkeypatch.setattr(full, "guard", guard_too_late)


def test_a_full_begins_when_databases_have_come_to_rest(
    server: MariaDbServer, mysql_lab: MysqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    _changes_before_it_is_held(server, monkeypatch, times=24)

    taken = take_full(_chain(server, mysql_lab))

    assert "kept" in {item.name for item in taken.manifest.inventory.objects if item.kind == "database"}


def test_a_full_of_databases_that_come_and_go_for_ever_fails_and_holds_nothing(
    server: MariaDbServer, mysql_lab: MysqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full, "HOLD_SECONDS", 0)
    _changes_before_it_is_held(server, monkeypatch, times=1_000_000)

    with pytest.raises(DumpFailed, match="could not be held still within 0 s"):
        take_full(_chain(server, mysql_lab))
    server.run("SET SESSION sql_log_bin = 0", "CREATE OR REPLACE DATABASE passing", "DROP DATABASE passing")


def _wait_until(server: MariaDbServer, state: str) -> None:
    while not server.run(f"SELECT 1 FROM information_schema.processlist WHERE state = '{state}'"):
        time.sleep(0.05)


# What a replay makes of it


def test_statements_that_no_scratch_server_can_do_stop_no_replay(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    elsewhere = server.folder / "elsewhere"  # which a scratch server must leave alone
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    server.run(
        "CREATE OR REPLACE TABLE kept.gone (a int)",
        "CREATE OR REPLACE TABLE kept.half (a int)",
        "CREATE OR REPLACE VIEW kept.broken AS SELECT a FROM kept.gone",
        "DROP TABLE kept.gone",
        "CREATE USER before_it@localhost",
        "CREATE OR REPLACE TABLE kept.versioned (a int) WITH SYSTEM VERSIONING",
        f"CREATE TABLE kept.before (a int) DATA DIRECTORY = '{elsewhere}'",
        "CREATE EVENT kept.once ON SCHEDULE AT current_timestamp + INTERVAL 1 SECOND DO DELETE FROM kept.t",
    )
    taken = [take_full(engine)]
    time.sleep(1.1)
    server.run(
        "DROP VIEW kept.broken",
        "DROP EVENT kept.once",
        "ALTER USER before_it@localhost IDENTIFIED BY 'x'",
        "/* why */ GRANT ALL ON kept.* TO before_it@localhost WITH GRANT OPTION",
        "SET STATEMENT max_statement_time = 10 FOR GRANT SELECT ON exact.* TO before_it@localhost",
        "DELETE FROM mysql.global_priv WHERE user = 'before_it'",
        "SET SESSION innodb_strict_mode = OFF, system_versioning_alter_history = KEEP",
        "ALTER TABLE kept.versioned ADD COLUMN b int",
        f"CREATE TABLE kept.wide ({', '.join(f'c{n} char(250)' for n in range(40))}) ROW_FORMAT = COMPACT",
        f"CREATE TABLE kept.elsewhere (a int) DATA DIRECTORY = '{elsewhere}'",
        "INSERT INTO kept.t VALUES (4711)",
    )
    with server.connect() as session, session.cursor() as cursor, pytest.raises(Exception, match="never_there"):
        cursor.execute("DROP TABLE kept.half, kept.never_there")
    taken.append(take_increment(engine, taken[-1]))
    assert _differences(_truth(server), _rebuilt(engine, taken)) == {}
    server.run("DROP TABLE kept.before, kept.elsewhere, kept.wide")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (
            ["XA START 'x'", "INSERT INTO kept.t VALUES (77)", "XA END 'x'", "XA PREPARE 'x'"],
            ["XA COMMIT 'x'"],
            "XA transaction was decided",
        ),
        ([], ["SET SESSION binlog_format = STATEMENT", "LOAD DATA INFILE '{file}' INTO TABLE kept.t"], "LOAD DATA"),
    ],
)
def test_what_cannot_be_replayed_ends_the_chain_while_a_full_can_be_taken(
    server: MariaDbServer, mysql_lab: MysqlLab, before: Sequence[str], after: Sequence[str], says: str
) -> None:
    engine = _chain(server, mysql_lab)
    file = server.folder / "rows.txt"
    file.write_text("1\n")
    file.chmod(0o644)
    server.run("SELECT 1", *before)
    full = take_full(engine)
    take_increment(engine, full)
    server.run(*(statement.format(file=file) for statement in after))
    with pytest.raises(ChainBroken, match=says) as caught:
        take_increment(engine, full)
    assert not caught.value.worth_a_full
    take_increment(engine, take_full(engine))


def test_a_file_that_a_crash_has_torn_ends_the_chain(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    server.run("INSERT INTO kept.t VALUES (5), (6)")
    file = server.folder / "data" / server.run("SHOW MASTER STATUS")[0][0]
    server.stop()
    os.truncate(file, file.stat().st_size - 10)
    server.start_again()
    with pytest.raises(ChainBroken, match=r"cannot read its own binlog|cannot be captured"):
        take_increment(engine, full)
    take_increment(engine, take_full(engine))


def test_a_replay_that_fails_says_where(server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    engine = _chain(server, mysql_lab)
    server.run("CREATE OR REPLACE TABLE exact.lost (a int PRIMARY KEY)", "INSERT INTO exact.lost VALUES (4711)")
    full = take_full(engine)
    server.run("INSERT INTO kept.t VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO kept.t VALUES (2)")
    file, begins = server.run("SHOW MASTER STATUS")[0][:2]
    server.run("UPDATE exact.lost SET a = 1")
    increment = take_increment(engine, full)
    without, count = re.subn(rb"INSERT INTO `lost` VALUES\s*\(4711\);\n", b"", full.streams["main"])
    assert count == 1
    with pytest.raises(LoadFailed) as caught:
        _rebuilt(engine, [full.with_stream("main", without), increment])
    assert f"could not be replayed at {file}:{begins}: " in caught.value.message
    assert f"{file}:{begins}" in caught.value.hint
    before = _rebuilt(engine, [full.with_stream("main", without), increment], Point(position=f"{file}:{begins}"))
    assert "`kept`.`t`" in before


def test_a_point_that_the_chain_does_not_reach_is_refused_with_the_nearest(
    server: MariaDbServer, mysql_lab: MysqlLab
) -> None:
    engine = _chain(server, mysql_lab)
    full = take_full(engine)
    server.run("INSERT INTO kept.t VALUES (1)")
    taken = [full, take_increment(engine, full)]
    file, offset = taken[1].ends_at.split()[0].split(":")
    first, last = (each.manifest.recovery_point for each in taken)
    day = timedelta(days=1)
    for point, nearest in (
        (Point(time=first - day), f"{first:%Y-%m-%d %H:%M:%S}"),
        (Point(time=last + day), f"{last:%Y-%m-%d %H:%M:%S}"),
        (Point(position=f"{file}:4"), full.ends_at.split()[0]),
        (Point(position=f"{file}:{int(offset) + 100}"), f"{file}:{offset}"),
        (Point(position=f"{file}:{int(offset) - 1}"), f"{file}:{offset}"),
        (Point(gtid="0-1-999999999"), f"{file}:{offset}"),
        (Point(gtid="0-1-1"), "0-1-"),
    ):
        with pytest.raises(PointOutOfReach) as caught, engine.open_rebuilt(links(taken), point, Cancellation()):
            pass
        assert nearest in caught.value.hint
    for senseless in (Point(lsn="0/1"), Point(gtid="x"), Point(position="x")):
        with pytest.raises(UsageError), engine.open_rebuilt(links(taken), senseless, Cancellation()):
            pass


def test_stock_tools_alone_restore_a_full_and_its_increments(server: MariaDbServer, tmp_path: Path) -> None:
    lab = MysqlLab(tmp_path, server)
    engine = _chain(server, lab)
    server.run(
        "CREATE DATABASE IF NOT EXISTS shop", "DROP EVENT IF EXISTS shop.later"
    )  # whose time is over: no server makes it any more
    taken = [take_full(engine)]
    commands = [engine.stock_commands(taken[0].manifest.parts, taken[0].manifest.format)]
    for number in range(2):
        server.run(
            f"INSERT INTO kept.t VALUES ({number})", "FLUSH BINARY LOGS", f"CREATE TABLE kept.stock_{number} (a int)"
        )
        taken.append(take_increment(engine, taken[-1]))
        commands.append(engine.stock_commands(taken[-1].manifest.parts, taken[-1].manifest.format))
    expected = _truth(server)
    with MariaDbServer.start() as other:
        for each, steps in zip(taken, commands, strict=True):
            (tmp_path / each.manifest.parts[0].path).write_bytes(each.streams["main"])
            for step in steps:
                run_in_a_plain_shell(step.command, tmp_path, MysqlLab(tmp_path, other))
        assert _differences(expected, _truth(other)) == {}
