"""Several streams of one MariaDB: begun while nothing is committed, for a short time, or refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import DumpRequest, EngineOptions
from db_backup.engines.mysql import MysqlEngine, snapshot
from db_backup.engines.mysql.snapshot import await_transactions
from db_backup.engines.mysql.streams import MysqlStream, open_stream
from db_backup.errors import ConfigurationError, DumpFailed, PrivilegeMissing, SourceError
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import before_loading, dump_of, finish, load, read_to_end
from support.lab import ToolBehaviour
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration

JOBS = 3
DUMP = "db_backup.engines.mysql.dump"
REQUEST = DumpRequest("shop", jobs=JOBS)
GRANTS = "SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES"
_COMMIT = "INSERT INTO left_side () VALUES ()"


@pytest.fixture
def database(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.create_sample()
    yield name
    mysql_lab.drop(name)


@pytest.fixture
def new_name(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.fresh_name()
    yield name
    mysql_lab.drop(name)


@pytest.fixture
def source(mysql_lab: MysqlLab, database: str) -> MysqlEngine:
    return MysqlEngine(mysql_lab.connection(database), mysql_lab.options)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_SECONDS", 1)
    monkeypatch.setattr(snapshot, "_ATTEMPT_SECONDS", 1)
    monkeypatch.setattr(snapshot, "BEGIN_SECONDS", 2)


def while_the_tools_begin(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something happen after they were started and before they are waited for."""

    def acting(streams: Sequence[MysqlStream], entry: str, cancellation: Cancellation) -> None:
        act()
        await_transactions(streams, entry, cancellation)

    monkeypatch.setattr(f"{DUMP}.await_transactions", acting)


def test_nothing_is_committed_while_the_streams_begin_and_everything_is_afterwards(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    while_the_tools_begin(monkeypatch, lambda: found.append(mysql_server.holds_back(database, _COMMIT)))
    with source.open_backup(REQUEST, Cancellation()) as opened:
        assert found == [True]
        assert not mysql_server.holds_back(database, _COMMIT)
        rows = {table.name: table.rows for table in finish(source, opened).manifest.inventory.tables}
    assert rows["left_side"] == 0


def test_all_streams_are_at_the_binlog_position_that_the_backup_records(mysql_lab: MysqlLab) -> None:
    with MariaDbServer.start(binlog=True) as server:
        server.run("CREATE DATABASE shop", "CREATE TABLE shop.a (a int)", "CREATE TABLE shop.b AS SELECT 1 AS b")
        engine = MysqlEngine(server.connection("shop"), mysql_lab.options)
        dumped = dump_of(engine, jobs=JOBS)
        file, position = server.run("SHOW MASTER STATUS")[0][:2]
        consistency = dumped.manifest.consistency
        assert (consistency.binlog_file, consistency.binlog_position) == (file, position)
        assert consistency.gtid == server.run("SELECT @@gtid_binlog_pos")[0][0]
        assert consistency.snapshot == "transactions begun under one read lock"
        assert len(dumped.streams) == 4
        assert {plain.count(f"MASTER_LOG_POS={position};".encode()) for plain in dumped.streams} == {1}


def test_streams_at_different_binlog_positions_are_not_a_backup(
    mysql_lab: MysqlLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MariaDbServer.start(binlog=True) as server:
        server.run("CREATE DATABASE shop", "CREATE TABLE shop.a (a int)", "CREATE TABLE shop.b (b int)")

        @contextmanager
        def after_a_commit(*arguments: object, **named: object) -> Iterator[MysqlStream]:
            with open_stream(*arguments, **named) as stream:  # type: ignore[arg-type]
                snapshot.await_transactions([stream], "shop", Cancellation())
                server.run("INSERT INTO shop.a VALUES (1)")
                yield stream

        monkeypatch.setattr(f"{DUMP}.open_stream", after_a_commit)
        monkeypatch.setattr(f"{DUMP}.writes_held", lambda *_: nullcontext())
        engine = MysqlEngine(server.connection("shop"), mysql_lab.options)
        with pytest.raises(DumpFailed, match="not of one moment: they are at 4 positions"):
            dump_of(engine, jobs=JOBS)


@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.DATA], ids=str)
def test_without_reload_several_streams_are_refused(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, backup_type: BackupType
) -> None:
    password = mysql_server.create_user("no_lock", f"{GRANTS} ON {database}.*", "SELECT ON mysql.*")
    engine = MysqlEngine(mysql_server.connection(database, user="no_lock", password=password), mysql_lab.options)
    with pytest.raises(PrivilegeMissing, match="lacks RELOAD") as caught:
        dump_of(engine, backup_type=backup_type, jobs=JOBS)
    assert caught.value.hint == "GRANT RELOAD ON *.* TO 'no_lock'@'%'; or use 1 job."
    assert len(dump_of(engine, backup_type=backup_type).streams) == 1
    assert len(dump_of(engine, backup_type=BackupType.STRUCTURE, jobs=JOBS).streams) == 1


def test_the_least_privileges_for_several_streams_are_those_for_one_and_reload(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    password = mysql_server.create_user("reloader", f"{GRANTS} ON {database}.*", "SELECT ON mysql.*", "RELOAD ON *.*")
    engine = MysqlEngine(mysql_server.connection(database, user="reloader", password=password), mysql_lab.options)
    assert dump_of(engine, jobs=JOBS).manifest.inventory == dump_of(mysql_lab.engine(database)).manifest.inventory


def test_tables_that_are_locked_rather_than_snapshotted_are_dumped_in_one_stream(
    mysql_lab: MysqlLab, database: str
) -> None:
    options = dataclasses.replace(mysql_lab.options, mysql_single_transaction=False)
    engine = MysqlEngine(mysql_lab.connection(database), options)
    with pytest.raises(ConfigurationError, match="MYSQL_BACKUP_SINGLE_TRANSACTION"):
        engine.preflight(REQUEST)


@pytest.mark.usefixtures("impatient")
def test_a_statement_that_writes_for_long_is_named_and_nothing_stays_locked(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str
) -> None:
    writing = mysql_server.connect(database)
    writing._execute_command(3, "INSERT INTO log (what) SELECT sleep(1000)")  # its answer is not waited for
    begun = f"SELECT 1 FROM information_schema.processlist WHERE id = {writing.thread_id()} AND state = 'User sleep'"
    try:
        while not mysql_server.run(begun):
            time.sleep(0.02)
        with pytest.raises(SourceError, match=r"Could not hold writes .* back within 1 s") as caught:
            dump_of(source, jobs=JOBS)
        assert "with 1 job" in caught.value.hint
        assert not mysql_server.holds_back(database, _COMMIT)
        mysql_server.await_sessions(database, writing.thread_id())
    finally:
        mysql_server.kill(writing.thread_id())


def test_a_transaction_that_has_written_holds_nobody_up(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str
) -> None:
    with mysql_server.connect(database, autocommit=False) as writing, writing.cursor() as cursor:
        cursor.execute(_COMMIT)
        with source.open_backup(REQUEST, Cancellation()) as opened:
            writing.commit()
            rows = {table.name: table.rows for table in finish(source, opened).manifest.inventory.tables}
    assert rows["left_side"] == 0


@pytest.mark.usefixtures("impatient")
def test_a_tool_that_does_not_begin_is_told_and_nothing_stays_locked(
    mysql_server: MariaDbServer,
    mysql_lab: MysqlLab,
    source: MysqlEngine,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_tool(mysql_lab, tmp_path, monkeypatch, "sleep 1000000")
    with pytest.raises(DumpFailed, match=r"'shop' \(definitions\) did not begin its transaction within 2 s"):
        dump_of(source, jobs=JOBS)
    assert not mysql_server.holds_back(database, _COMMIT)
    mysql_server.await_sessions(database)


def test_the_words_of_a_tool_that_cannot_begin_are_told_without_its_chatter(
    mysql_server: MariaDbServer,
    mysql_lab: MysqlLab,
    source: MysqlEngine,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = "mariadb-dump: Got error: 1040: Too many connections"
    fake_tool(mysql_lab, tmp_path, monkeypatch, f"(echo '-- Connecting to x...'; echo '{words}') >&2; exit 2")
    with pytest.raises(DumpFailed) as caught:
        dump_of(source, jobs=JOBS)
    assert caught.value.message == f"mariadb-dump of 'shop' (definitions) ended with status 2: {words}"
    assert not mysql_server.holds_back(database, _COMMIT)


def test_a_read_lock_that_was_lost_fails_the_dump(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_all_that_sleep() -> None:
        mysql_server.kill(*mysql_server.sessions(database, "Sleep"))

    monkeypatch.setattr(f"{DUMP}.await_transactions", lambda *_: kill_all_that_sleep())
    with pytest.raises(DumpFailed, match=r"held writes to .* back was lost"):
        dump_of(source, jobs=JOBS)


def test_a_tool_that_fails_names_its_stream(
    mysql_lab: MysqlLab, source: MysqlEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_lab.fake_dump_tool(tmp_path, ToolBehaviour.FAILS)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(
        DumpFailed, match=r"\((definitions|data-\d|triggers)\) ended with status 1: fake: something broke at"
    ):
        dump_of(source, jobs=JOBS)


def test_everything_odd_comes_back_from_several_streams(mysql_lab: MysqlLab, new_name: str) -> None:
    odd = mysql_lab.create_nasty()
    source = mysql_lab.engine(odd)
    mysql_lab.execute(
        odd, "CREATE TABLE Tables (a int)", "CREATE TABLE tables (b int)", "INSERT INTO tables VALUES (1)"
    )
    for backup_type in (BackupType.FULL, BackupType.DATA):
        dumped = dump_of(source, backup_type=backup_type, jobs=JOBS)
        assert dumped.manifest.inventory == dump_of(source, backup_type=backup_type).manifest.inventory
        target = load(source, new_name, *before_loading(source, backup_type), dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
        mysql_lab.drop(new_name)
    mysql_lab.drop(odd)


def test_triggers_and_events_come_after_all_rows(source: MysqlEngine) -> None:
    kinds: dict[str, set[str]] = {}
    with source.open_backup(REQUEST, Cancellation()) as opened:
        for stream in opened.streams:
            assert isinstance(stream, MysqlStream)
            read_to_end(stream)
            kinds[stream.name] = {kind for kind, _ in stream.parser.objects}
        opened.complete()
    assert [*kinds] == ["definitions", "data-1", "data-2", "data-3", "triggers"]
    assert kinds.pop("definitions") == {"view", "sequence", "procedure", "function"}
    assert kinds.pop("triggers") == {"trigger", "event"}
    assert set().union(*kinds.values()) == set()


def test_what_settings_leave_out_is_in_no_stream(mysql_lab: MysqlLab, database: str) -> None:
    options: EngineOptions = dataclasses.replace(
        mysql_lab.options, mysql_triggers=False, mysql_events=False, mysql_routines=False
    )
    engine = MysqlEngine(mysql_lab.connection(database), options)
    dumped = dump_of(engine, jobs=JOBS)
    kinds = {item.kind for item in dumped.manifest.inventory.objects}
    assert not kinds & {"trigger", "event", "procedure", "function"}
    assert dumped.manifest.warnings == dump_of(engine).manifest.warnings


def fake_tool(lab: MysqlLab, folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Put a dump tool first on PATH that tells its version and then does something else."""
    tool = folder / "mariadb-dump"
    tool.write_text(f'#!/bin/bash\ncase "$*" in *--version*) exec {lab.real_dump_tool()} "$@";; esac\n{does}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
