"""A MariaDB dump is one moment: what other sessions may not do meanwhile, and what is noticed when they did."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from db_backup.engines.mysql import MysqlEngine, giving_way
from db_backup.engines.mysql.streams import MysqlStream
from db_backup.errors import DumpFailed, DumpIncomplete
from db_backup.progress import Cancellation
from support.dumps import REQUEST, Dumped, dump_of, finish, read_to_end
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration


@pytest.fixture
def database(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.create_sample()
    yield name
    mysql_lab.drop(name)


@pytest.fixture
def source(mysql_lab: MysqlLab, database: str) -> MysqlEngine:
    return MysqlEngine(mysql_lab.connection(database), mysql_lab.options)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE marks ADD COLUMN more int",
        "CREATE TABLE another (a int)",
        "DROP TABLE marks",
        "TRUNCATE TABLE marks",
        "RENAME TABLE marks TO signs",
        "CREATE VIEW another AS SELECT 1",
        "DROP VIEW revenue",
        "CREATE PROCEDURE another() SELECT 1",
        "DROP TRIGGER log_orders",
    ],
)
def test_the_structure_cannot_be_changed_while_a_dump_runs(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str, change: str
) -> None:
    with source.open_backup(REQUEST, Cancellation()) as dump:
        assert mysql_server.holds_back(database, change)
        finish(source, dump)
    assert not mysql_server.holds_back(database, change)


def test_tables_without_transactions_cannot_be_written_while_a_dump_runs(
    mysql_server: MariaDbServer, source: MysqlEngine, database: str
) -> None:
    mysql_server.run("CREATE TABLE loose (a int) ENGINE = MyISAM", database=database)
    write = "INSERT INTO loose VALUES (1)"
    with source.open_backup(REQUEST, Cancellation()) as dump:
        assert mysql_server.holds_back(database, write)
        assert {table.name: table.rows for table in finish(source, dump).manifest.inventory.tables}["loose"] == 0
    assert not mysql_server.holds_back(database, write)


def test_a_dump_gives_way_to_a_write_that_would_wait_for_it_for_ever(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving_way, "EVERY_SECONDS", 0.2)
    mysql_lab.fill(database, megabytes=10)
    mysql_server.run("CREATE TABLE loose (a int) ENGINE = MyISAM", "INSERT INTO loose VALUES (1)", database=database)
    privileges = f"SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON {database}.*"
    password = mysql_server.create_user("locks_only", privileges, "SELECT ON mysql.*")
    engine = MysqlEngine(mysql_server.connection(database, user="locks_only", password=password), mysql_lab.options)
    waits = "SELECT 1 FROM information_schema.processlist WHERE state = 'Waiting for table level lock'"
    with ThreadPoolExecutor(1) as pool, engine.open_backup(REQUEST, Cancellation()) as dump:
        os.read(dump.streams[0].fileno(), 1000)
        pool.submit(mysql_server.run, f"UPDATE {database}.loose SET a = 2")
        while not mysql_server.run(waits):
            time.sleep(0.05)
        read_to_end(dump.streams[0])
        with pytest.raises(DumpFailed, match="another session had locked"):
            dump.stream_ended(0)


def test_a_structure_changed_where_it_cannot_be_held_back_fails_the_backup(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_lab.fill(database, megabytes=10)
    password = mysql_server.create_user(
        "no_reload", f"SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES ON {database}.*", "SELECT ON mysql.*"
    )
    engine = MysqlEngine(mysql_server.connection(database, user="no_reload", password=password), mysql_lab.options)
    with engine.open_backup(REQUEST, Cancellation()) as dump:
        os.read(dump.streams[0].fileno(), 1000)
        mysql_server.run("CREATE TABLE meanwhile (a int)", database=database)
        read_to_end(dump.streams[0])
        with pytest.raises(DumpIncomplete):
            dump.complete()


def test_a_lost_side_connection_is_noticed(mysql_server: MariaDbServer, source: MysqlEngine, database: str) -> None:
    with source.open_backup(REQUEST, Cancellation()) as dump:
        (stream,) = dump.streams
        assert isinstance(stream, MysqlStream)
        while (
            stream.tool.poll() is None
        ):  # whose own session sleeps at times; all that it has to say fits into the pipe
            time.sleep(0.01)
        mysql_server.kill(*mysql_server.sessions(database, "Sleep"))
        dumped = finish(source, dump)
    assert [warning for warning in dumped.manifest.warnings if "was lost while the dump ran" in warning]


def test_no_lock_outlives_the_backup(mysql_server: MariaDbServer, source: MysqlEngine, database: str) -> None:
    dump_of(source)
    mysql_server.await_sessions(database)


def test_the_binlog_position_and_gtid_of_the_snapshot_are_recorded(mysql_lab: MysqlLab) -> None:
    with MariaDbServer.start(binlog=True) as server:
        server.run("CREATE DATABASE shop", "CREATE TABLE shop.t (a int)", "INSERT INTO shop.t VALUES (1)")
        dumped = _position_of(server, mysql_lab)
        file, position = server.run("SHOW MASTER STATUS")[0][:2]
        consistency = dumped.manifest.consistency
        assert (consistency.binlog_file, consistency.binlog_position) == (file, position)
        assert consistency.gtid == server.run("SELECT @@gtid_binlog_pos")[0][0]
        assert consistency.snapshot == "single transaction"


def _position_of(server: MariaDbServer, lab: MysqlLab) -> Dumped:
    return dump_of(MysqlEngine(server.connection("shop"), lab.options))
