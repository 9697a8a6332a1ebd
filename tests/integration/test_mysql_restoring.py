"""A MariaDB database put in another's place: all of it, or nothing; and what an interruption leaves is put in order."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest

from db_backup.comparison import compare
from db_backup.engines.base import LoadOptions
from db_backup.engines.mysql import MysqlEngine, finishing, replacing
from db_backup.engines.mysql.code import read_code
from db_backup.engines.mysql.databases import replaced_name
from db_backup.engines.mysql.finishing import Coming
from db_backup.engines.mysql.journal import Journal, begin_journal
from db_backup.errors import (
    ArtefactCorrupt,
    LoadFailed,
    PrivilegeMissing,
    Refused,
    SourceError,
    SourceUnsupported,
    TargetNotEmpty,
)
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration

_PLUGINS = Path(replacing.__file__).parents[3]
_WAIT_SECONDS = 60
_ODD_CODE = """
SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', character_set_client = latin1;
ALTER DATABASE CHARACTER SET latin1;
DELIMITER //
CREATE DEFINER = somebody@nowhere TRIGGER "od`d; name" BEFORE INSERT ON parent FOR EACH ROW BEGIN /* '//' */ END//
CREATE PROCEDURE in_latin1() BEGIN SELECT '\\'; END//
CREATE EVENT asleep ON SCHEDULE EVERY 1 HOUR ON COMPLETION PRESERVE DISABLE COMMENT 'it''s' DO SELECT 1//
DELIMITER ;
ALTER DATABASE CHARACTER SET utf8mb4;
"""
_IN_ITS_PLACE = """
import json, sys
from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql import MysqlEngine
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from pathlib import Path
given = json.load(sys.stdin)
connection = ConnectionInfo(engine=EngineName.MYSQL, **given["connection"])
folder = Path(given["folder"])
engine = MysqlEngine(connection, EngineOptions(staging_path=folder, scratch_path=folder))
engine.replace_with(engine.replacement_name(), Cancellation())
"""


@pytest.fixture
def database(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.create_sample()
    yield name
    for left in (name, mysql_lab.engine(name).replacement_name(), replaced_name(name)):
        mysql_lab.drop(left)


@pytest.fixture
def dumped(mysql_lab: MysqlLab, database: str) -> Dumped:
    return dump_of(mysql_lab.engine(database))


@pytest.fixture
def new_name(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.fresh_name()
    yield name
    mysql_lab.drop(name)


def beside(engine: MysqlEngine, dumped: Dumped) -> tuple[str, tuple[str, ...]]:
    """The loaded replacement and the load's warnings."""
    name = engine.replacement_name()
    engine.drop_database(name)
    copy = engine.create_database(name)
    warnings = copy.load(dumped.read(), dumped.manifest, Cancellation())
    assert compare(dumped.manifest.inventory, copy.take_inventory(dumped.manifest, Cancellation())) == ()
    return name, warnings


def replace(engine: MysqlEngine, dumped: Dumped) -> tuple[str, ...]:
    name, warnings = beside(engine, dumped)
    return (*warnings, *engine.replace_with(name, Cancellation()))


def is_as_dumped(engine: MysqlEngine, dumped: Dumped) -> bool:
    return compare(dumped.manifest.inventory, dump_of(engine).manifest.inventory) == ()


def engine_of(lab: MysqlLab, database: str) -> MysqlEngine:
    return MysqlEngine(lab.connection(database), lab.options)


def status_of_events(server: MariaDbServer, database: str) -> dict[str, str]:
    return dict(
        server.run(f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{database}'")
    )


@contextmanager
def using(server: MariaDbServer, database: str) -> Iterator[None]:
    """Somebody in the middle of a transaction, of whom the server does not say that it is on this database."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT * FROM {database}.marks")
        yield
        connection.rollback()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "what is waited for does not come"
        time.sleep(0.02)


# In the place of what is there


def test_a_replaced_database_prints_as_it_printed_before(mysql_server: MariaDbServer, mysql_lab: MysqlLab) -> None:
    database = mysql_lab.create_nasty()
    mysql_server.run(
        "DROP VIEW broken, view_of_nobody",  # which the stock tool cannot lock
        "DROP SEQUENCE behind",  # which no dump can set back to where it stands
        "DROP TRIGGER qualified",  # which loses the database's name in its own
        database=database,
    )
    mysql_server.run_script(_ODD_CODE, database)
    engine = engine_of(mysql_lab, database)
    printed, dumped = mysql_lab.stock_dump(database), dump_of(engine)
    mysql_server.run(
        "ALTER DATABASE CHARACTER SET latin1",
        "DROP TABLE numbered, versioned",
        "CREATE VIEW numbered AS SELECT 1 AS called_like_a_table_that_comes",
        "DROP VIEW first_view",
        "CREATE TABLE first_view (called_like_a_view int)",
        "CREATE PROCEDURE besides() SELECT 1",
        "CREATE VIEW view_besides AS SELECT 1",
        "CREATE TRIGGER besides BEFORE INSERT ON child FOR EACH ROW SET @a = 1",
        "CREATE EVENT besides ON SCHEDULE EVERY 1 DAY DO SELECT 1",
        "DROP FUNCTION plus_one",
        database=database,
    )
    replace(engine, dumped)
    assert mysql_lab.stock_dump(database) == printed
    assert is_as_dumped(engine, dumped)
    assert mysql_server.run(
        f"SELECT trigger_name, database_collation FROM information_schema.triggers WHERE trigger_schema = '{database}' "
        "AND trigger_name LIKE 'od%'"
    ) == [("od`d; name", "latin1_swedish_ci")]
    assert status_of_events(mysql_server, database) == {"nightly": "ENABLED", "asleep": "DISABLED"}
    mysql_server.run("INSERT INTO numbered (b) VALUES ('drawn')", database=database)
    assert not mysql_server.run(f"SHOW DATABASES LIKE '{database}\\_\\_db\\_backup%'")
    mysql_lab.drop(database)


def test_sessions_of_the_target_are_ended_and_counted(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    engine = engine_of(mysql_lab, database)
    with mysql_server.connect(database) as idle, mysql_server.connect(database) as busy:
        busy.cursor().execute("BEGIN")
        busy.cursor().execute("UPDATE marks SET word = 'locked'")
        occupancy = engine.examine_target(dumped.manifest, LoadOptions(), replace=True).occupancy
        assert occupancy is not None
        assert occupancy.sessions == 2
        replace(engine, dumped)
        for session in (idle, busy):
            with pytest.raises(pymysql.err.OperationalError):
                session.cursor().execute("SELECT 1")
    assert is_as_dumped(engine, dumped)


def test_a_database_in_use_that_cannot_be_freed_is_as_it_was(
    mysql_server: MariaDbServer,
    mysql_lab: MysqlLab,
    database: str,
    dumped: Dumped,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replacing, "_ATTEMPT_SECONDS", 1)
    monkeypatch.setattr(replacing, "_ATTEMPTS", 2)
    engine = engine_of(mysql_lab, database)
    mysql_server.run("CREATE TRIGGER on_left BEFORE INSERT ON left_side FOR EACH ROW SET @a = 1", database=database)
    mysql_server.run("ALTER EVENT forget ENABLE", database=database)
    before = mysql_lab.stock_dump(database)
    name, _ = beside(engine, dumped)
    with using(mysql_server, database), pytest.raises(Refused, match="in use and could not be freed"):
        engine.replace_with(name, Cancellation())
    assert mysql_lab.stock_dump(database) == before
    assert not mysql_lab.exists(replaced_name(database))
    replace(engine, dumped)
    assert is_as_dumped(engine, dumped)


def test_what_is_written_while_a_database_cannot_be_freed_goes_through_its_triggers(
    mysql_server: MariaDbServer,
    mysql_lab: MysqlLab,
    database: str,
    dumped: Dumped,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replacing, "_ATTEMPT_SECONDS", 1)
    monkeypatch.setattr(replacing, "_ATTEMPTS", 3)
    engine, written, stop = engine_of(mysql_lab, database), [0], threading.Event()
    name, _ = beside(engine, dumped)

    def application() -> None:  # which names its tables together with the database
        with mysql_server.connect() as connection, connection.cursor() as cursor:
            while not stop.wait(0.02):
                cursor.execute(f"INSERT INTO {database}.orders (customer_id, quantity, price) VALUES (1, 1, 1)")
                written[0] += 1

    with using(mysql_server, database), ThreadPoolExecutor() as pool:
        ending = pool.submit(application)
        try:
            until(lambda: written[0])
            with pytest.raises(Refused, match="the database is as it was"):
                engine.replace_with(name, Cancellation())
        finally:
            stop.set()
        ending.result()
    assert mysql_lab.counts(database)["log"] == written[0]


def test_a_table_that_is_made_while_the_restore_waits_is_not_mixed_with_the_restored_ones(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(mysql_lab, database)
    name, _ = beside(engine, dumped)

    def made_meanwhile(*_: object) -> int:
        mysql_server.run("CREATE TABLE IF NOT EXISTS of_now (a int)", database=database)
        return 0

    monkeypatch.setattr(replacing, "end_sessions", made_meanwhile)
    with pytest.raises(Refused, match="of_now"):
        engine.replace_with(name, Cancellation())
    assert mysql_server.run("SHOW TABLES LIKE 'of_now'", database=database)
    assert not mysql_lab.exists(replaced_name(database))


def test_a_key_to_a_table_that_is_gone_refers_to_this_database_again(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "SET foreign_key_checks = 0",
        "CREATE TABLE orphan (a int, b int, CONSTRAINT `of` FOREIGN KEY (a, b) REFERENCES `no``where` (c, d) "
        "ON DELETE CASCADE ON UPDATE SET NULL)",
        database=database,
    )
    engine = engine_of(mysql_lab, database)
    printed, dumped = mysql_lab.stock_dump(database), dump_of(engine)
    replace(engine, dumped)
    assert mysql_lab.stock_dump(database) == printed


def test_names_that_differ_by_case_alone_are_one_routine_and_one_event(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    made = ("CREATE FUNCTION {} () RETURNS int RETURN 1", "CREATE EVENT {} ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1")
    mysql_server.run(*(text.format("Rate") for text in made), database=database)
    engine = engine_of(mysql_lab, database)
    dumped = dump_of(engine)
    mysql_server.run(
        "DROP FUNCTION Rate", "DROP EVENT Rate", *(text.format("rate") for text in made), database=database
    )
    replace(engine, dumped)
    assert is_as_dumped(engine, dumped)


def test_what_fails_after_the_tables_are_in_place_is_named_and_a_second_restore_heals(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(mysql_lab, database)
    mysql_server.run("DROP TRIGGER log_orders", "DELETE FROM marks", database=database)
    name, _ = beside(engine, dumped)
    with monkeypatch.context() as patch:
        patch.setattr(finishing, "load_code", lambda *_: "ERROR 1227 (42000) at line 9: Access denied.")
        with pytest.raises(LoadFailed, match=r"not: views and routines, triggers, .*events, .*ERROR 1227"):
            engine.replace_with(name, Cancellation())
    assert mysql_lab.counts(database)["marks"] == 3
    replace(engine, dumped)
    assert is_as_dumped(engine, dumped)
    assert not mysql_lab.exists(replaced_name(database))


def test_foreign_keys_of_other_databases_are_not_taken_along(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    other = mysql_lab.create_empty()
    mysql_server.run(
        f"CREATE TABLE invoices (id int PRIMARY KEY, customer int, CONSTRAINT billed FOREIGN KEY (customer) "
        f"REFERENCES {database}.customers (id))",
        database=other,
    )
    engine = engine_of(mysql_lab, database)
    with pytest.raises(Refused, match=rf"{other}\.invoices\.billed"):
        engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
    name, _ = beside(engine, dumped)
    before = mysql_lab.stock_dump(database)
    with pytest.raises(Refused, match="billed"):
        engine.replace_with(name, Cancellation())
    assert mysql_lab.stock_dump(database) == before
    mysql_lab.drop(other)


# Interrupted


@contextmanager
def another_process(engine: MysqlEngine, folder: Path, path: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that puts the replacement in place."""
    connection = dataclasses.asdict(engine.connection)
    del connection["engine"]
    with subprocess.Popen(
        [sys.executable, "-c", _IN_ITS_PLACE],
        env={**os.environ, "PYTHONPATH": str(_PLUGINS), "PATH": path or os.environ["PATH"]},
        stdin=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps({"connection": connection, "folder": str(folder)}).encode())
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()


def client_that_stands_still(folder: Path) -> Path:
    """A folder for PATH whose client, once it is asked to load something, says so and waits for ever."""
    real = shutil.which("mariadb")
    assert real is not None
    folder.mkdir()
    script = folder / "mariadb"
    script.write_text(
        "#!/bin/bash\n"
        f'for argument; do case "$argument" in --version|-V) exec {shlex.quote(real)} "$@";; esac; done\n'
        f"touch {shlex.quote(str(folder))}/reached\nexec sleep 1000000\n"
    )
    script.chmod(0o755)
    return folder


def test_a_kill_before_the_tables_change_places_leaves_the_old_ones_as_they_were(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped, tmp_path: Path
) -> None:
    engine = engine_of(mysql_lab, database)
    mysql_server.run("DELETE FROM customers", "CREATE TABLE of_today (a int)", database=database)
    before, counts = mysql_lab.stock_dump(database), mysql_lab.counts(database)
    beside(engine, dumped)

    def waiting() -> list[tuple[Any, ...]]:
        return mysql_server.run(
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'LOCK TABLES%' AND state LIKE 'Waiting%'"
        )

    with using(mysql_server, database), another_process(engine, tmp_path) as process:
        until(waiting)
        process.kill()
        process.wait()
        mysql_server.kill(*(number for (number,) in waiting()))
        until(lambda: not waiting())
    assert mysql_lab.counts(database) == counts
    assert mysql_lab.stock_dump(database) == before
    examination = engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
    assert [warning for warning in examination.warnings if "interrupted" in warning]
    engine.drop_database(engine.replacement_name())
    assert mysql_lab.stock_dump(database) == before
    replace(engine, dumped)
    assert is_as_dumped(engine, dumped)


def test_a_kill_after_the_tables_have_changed_places_leaves_the_new_ones_and_the_next_attempt_finishes(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped, tmp_path: Path
) -> None:
    engine, printed = engine_of(mysql_lab, database), mysql_lab.stock_dump(database)
    mysql_server.run(
        "DELETE FROM marks",
        "CREATE TABLE of_today (a int)",
        "DROP FUNCTION vat",
        "ALTER VIEW revenue AS SELECT 1",
        database=database,
    )
    beside(engine, dumped)
    tools = client_that_stands_still(tmp_path / "tools")
    with another_process(engine, tmp_path, f"{tools}:{os.environ['PATH']}") as process:
        until((tools / "reached").exists)
        process.kill()
        process.wait()
    expected = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert mysql_lab.counts(database) == expected
    assert mysql_server.run("SELECT count(*) FROM of_today", database=replaced_name(database)) == [(0,)]
    engine.drop_database(engine.replacement_name())  # all that a second attempt does whose load then fails
    assert mysql_lab.stock_dump(database) == printed
    assert is_as_dumped(engine, dumped)
    assert not mysql_server.run(f"SHOW DATABASES LIKE '{database}\\_\\_db\\_backup%'")


def test_a_backup_says_that_a_restore_was_interrupted_and_the_next_attempt_makes_only_what_is_missing(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    """As a kill leaves it between the removal of the triggers and the exchange of the tables."""
    mysql_server.run("CREATE TRIGGER second BEFORE INSERT ON marks FOR EACH ROW SET @a = 1", database=database)
    engine = engine_of(mysql_lab, database)
    before, aside, tables = mysql_lab.stock_dump(database), replaced_name(database), tuple(mysql_lab.counts(database))
    triggers = read_code(engine.connection, engine.options, database, Cancellation()).triggers
    set_aside = (("TRIGGER", "log_orders"), ("TRIGGER", "second"))
    with mysql_server.connect() as session:
        begin_journal(session, aside, Journal(tables, tables, set_aside, triggers, Coming()))
    mysql_server.run(
        "DROP TRIGGER log_orders",
        "DROP TRIGGER second",
        "CREATE TRIGGER second BEFORE INSERT ON marks FOR EACH ROW SET @a = 'made by a person since'",
        database=database,
    )
    warnings = dump_of(engine).manifest.warnings
    assert [text for text in warnings if aside in text and "interrupted" in text]
    engine.drop_database(engine.replacement_name())
    assert mysql_lab.stock_dump(database) == before.replace("SET @a = 1", "SET @a = 'made by a person since'")
    assert not [text for text in dump_of(engine).manifest.warnings if "interrupted" in text]


def test_old_tables_that_the_target_lacks_are_never_dropped(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    """As a server leaves it that renames one table after the other, and crashed in the middle."""
    engine = engine_of(mysql_lab, database)
    before = mysql_lab.stock_dump(database)
    name, _ = beside(engine, dumped)
    aside, tables = replaced_name(database), tuple(mysql_lab.counts(database))
    triggers = read_code(engine.connection, engine.options, database, Cancellation()).triggers
    with mysql_server.connect() as session:
        begin_journal(session, aside, Journal(tables, tables, (("TRIGGER", "log_orders"),), triggers, Coming()))
    mysql_server.run("DROP TRIGGER log_orders", database=database)
    mysql_server.run(f"RENAME TABLE {database}.marks TO {aside}.marks, {database}.orders TO {aside}.orders")
    engine.drop_database(name)
    assert mysql_lab.stock_dump(database) == before
    assert not mysql_lab.exists(aside)


def test_a_database_of_that_name_that_is_none_of_ours_is_left_alone(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    engine = engine_of(mysql_lab, database)
    aside = replaced_name(database)
    mysql_server.run(f"CREATE DATABASE {aside}", f"CREATE TABLE {aside}.theirs (a int)")
    with pytest.raises(Refused, match="it holds theirs"):
        engine.drop_database(engine.replacement_name())
    assert mysql_server.run(f"SHOW TABLES FROM {aside}") == [("theirs",)]
    mysql_server.run(f"DROP TABLE {aside}.theirs", f"CREATE PROCEDURE {aside}.their_work() SELECT 1")
    with pytest.raises(Refused, match="it holds their_work"):
        engine.drop_database(engine.replacement_name())
    assert mysql_lab.exists(aside)


def test_old_tables_are_kept_where_nothing_is_in_their_place(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    engine = engine_of(mysql_lab, database)
    aside = replaced_name(database)
    with mysql_server.connect() as session:
        begin_journal(session, aside, Journal(("marks",), (), (), b"", Coming()))
    mysql_server.run(f"RENAME TABLE {database}.marks TO {aside}.marks", f"DROP DATABASE {database}")
    with pytest.raises(Refused, match=r"lies in .*: marks"):
        engine.drop_database(engine.replacement_name())
    assert mysql_server.run("SELECT count(*) FROM marks", database=aside) == [(3,)]


# Refused with nothing changed


def test_another_flavour_and_an_older_server_are_refused(mysql_lab: MysqlLab, database: str, dumped: Dumped) -> None:
    engine = engine_of(mysql_lab, database)
    server = dumped.manifest.server
    for other, said in (
        (server.model_copy(update={"flavour": "MySQL", "version": "8.0.36"}), "is of a MySQL server"),
        (server.model_copy(update={"version": "11.4.2"}), "is of MariaDB 11.4, and .* is 10.11"),
    ):
        manifest = dumped.manifest.model_copy(update={"server": other})
        with pytest.raises(SourceUnsupported, match=said) as caught:
            engine.examine_target(manifest, LoadOptions(), replace=True)
        assert caught.value.hint
    older = dumped.manifest.model_copy(update={"server": server.model_copy(update={"version": "10.6.1"})})
    assert engine.examine_target(older, LoadOptions(), replace=True).occupancy


def test_a_user_is_told_every_right_that_a_restore_takes_and_with_these_it_works(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped
) -> None:
    password = mysql_server.create_user("restorer", f"SELECT ON {database}.*")
    connection = mysql_server.connection(database, user="restorer", password=password)
    engine = MysqlEngine(connection, mysql_lab.options)
    before = mysql_lab.stock_dump(database)
    for _ in range(10):
        try:
            examination = engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
        except PrivilegeMissing as error:
            mysql_server.run(error.hint.rstrip(";"))
        else:
            break
    assert mysql_lab.stock_dump(database) == before
    assert examination.occupancy is not None
    assert examination.occupancy.sessions is None
    assert [warning for warning in examination.warnings if "CONNECTION ADMIN" in warning]
    mysql_server.run("DELETE FROM orders", "GRANT PROCESS ON *.* TO restorer", database=database)
    with mysql_server.connect(database):
        warnings = replace(engine, dumped)
    assert [warning for warning in warnings if "1 connections to" in warning and "could not be ended" in warning]
    assert is_as_dumped(engine_of(mysql_lab, database), dumped)


# With a binlog


@pytest.fixture(scope="module")
def logging_lab(lab_folder: Path) -> Iterator[MysqlLab]:
    folder = lab_folder / "mysql-binlog"
    folder.mkdir(mode=0o755)
    with MariaDbServer.start(binlog=True) as server:
        yield MysqlLab(folder, server)


def test_a_binlog_takes_more_of_a_user_and_holds_the_whole_swap(logging_lab: MysqlLab) -> None:
    server, database = logging_lab.server, logging_lab.create_sample()
    dumped = dump_of(engine_of(logging_lab, database))
    password = server.create_user("restorer", "ALL ON *.*", "SELECT ON mysql.proc")
    server.run("REVOKE SUPER ON *.* FROM restorer")
    engine = MysqlEngine(server.connection(database, user="restorer", password=password), logging_lab.options)
    with pytest.raises(PrivilegeMissing, match="lacks SUPER") as caught:
        engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
    server.run(caught.value.hint.partition(";")[0])
    assert engine.examine_target(dumped.manifest, LoadOptions(), replace=True).occupancy
    server.run("DELETE FROM marks", database=database)
    replace(engine, dumped)
    engine.refresh_statistics(Cancellation())
    assert is_as_dumped(engine, dumped)
    statements = [
        row[5] for (log, *_) in server.run("SHOW BINARY LOGS") for row in server.run(f"SHOW BINLOG EVENTS IN '{log}'")
    ]
    assert [text for text in statements if "RENAME TABLE" in text and f"`{database}`.`marks`" in text]
    assert [text for text in statements if "TRIGGER log_orders" in text]
    assert not [text for text in statements if "ANALYZE" in text]


# Single tables


def test_tables_come_with_sequences_and_triggers_and_without_keys_to_others(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "CREATE TABLE numbered (id int PRIMARY KEY DEFAULT nextval(invoice_numbers), b text)",
        "INSERT INTO numbered (b) VALUES ('x')",
        database=database,
    )
    dumped = dump_of(engine_of(mysql_lab, database), jobs=2)
    mysql_server.run("DROP TABLE numbered, orders", "DROP SEQUENCE invoice_numbers", database=database)
    others = mysql_lab.counts(database)
    chosen = LoadOptions(tables=("orders", "numbered"))
    engine = engine_of(mysql_lab, database)
    assert engine.examine_target(dumped.manifest, chosen, replace=False).occupancy
    warnings = engine.load(dumped.read(), dumped.manifest, Cancellation(), chosen)
    assert [text for text in warnings if "'of_customer' of 'orders' was left out" in text]
    assert mysql_lab.counts(database) == {**others, "orders": 2, "numbered": 1}
    mysql_server.run("INSERT INTO numbered (b) VALUES ('y')", database=database)
    assert [name for (name, *_) in mysql_server.run("SHOW TRIGGERS", database=database)] == ["log_orders"]
    with pytest.raises(TargetNotEmpty, match="numbered, orders"):
        engine.examine_target(dumped.manifest, chosen, replace=False)


def test_triggers_of_the_chosen_tables_keep_the_character_set_of_their_time_and_the_target_its_own(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, new_name: str
) -> None:
    mysql_server.run(
        "ALTER DATABASE CHARACTER SET latin1",
        "CREATE TRIGGER of_old BEFORE INSERT ON marks FOR EACH ROW SET @a = 'x'",
        "CREATE TRIGGER of_others BEFORE INSERT ON left_side FOR EACH ROW SET @a = 'x'",
        "ALTER DATABASE CHARACTER SET utf8mb4",
        database=database,
    )
    dumped = dump_of(engine_of(mysql_lab, database))
    mysql_server.run(
        f"CREATE DATABASE {new_name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        f"CREATE TABLE {new_name}.there_already (a int)",
    )
    target = engine_of(mysql_lab, new_name)
    chosen = LoadOptions(tables=("customers", "marks", "orders", "log"))
    assert target.load(dumped.read(), dumped.manifest, Cancellation(), chosen) == ()
    triggers = "SELECT trigger_name, database_collation FROM information_schema.triggers WHERE trigger_schema = "
    found = dict(mysql_server.run(f"{triggers} '{new_name}'"))
    assert found.keys() == {"log_orders", "of_old"}
    assert found["of_old"] == "latin1_swedish_ci"
    assert mysql_server.run("SELECT @@collation_database", database=new_name) == [("utf8mb4_unicode_ci",)]


def test_keys_among_the_chosen_tables_are_kept(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, dumped: Dumped, new_name: str
) -> None:
    target = engine_of(mysql_lab, database).create_database(new_name)
    chosen = LoadOptions(tables=("orders", "customers", "log"))
    assert target.load(dumped.read(), dumped.manifest, Cancellation(), chosen) == ()
    with pytest.raises(pymysql.err.IntegrityError):
        mysql_server.run("INSERT INTO orders (customer_id, quantity) VALUES (99, 1)", database=new_name)


# Loading where it stays


def test_a_load_that_fails_leaves_an_empty_database_empty(mysql_lab: MysqlLab, dumped: Dumped, database: str) -> None:
    empty = mysql_lab.create_empty()

    def content() -> Iterator[bytes]:
        yield from blocks(dumped.plain[: len(dumped.plain) * 9 // 10])
        raise ArtefactCorrupt("The hash is another one.")

    target = engine_of(mysql_lab, empty)
    with pytest.raises(ArtefactCorrupt):
        target.load([content()], dumped.manifest, Cancellation())
    occupancy = target.examine_target(dumped.manifest, LoadOptions(), replace=False).occupancy
    assert occupancy is not None
    assert occupancy.objects == 0
    target.load(dumped.read(), dumped.manifest, Cancellation())
    assert is_as_dumped(target, dumped)
    mysql_lab.drop(empty)


def test_a_failed_load_that_cannot_be_taken_back_is_told(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, dumped: Dumped
) -> None:
    empty = mysql_lab.create_empty()
    password = mysql_server.create_user("loader", f"ALL ON {empty}.*", "SET USER ON *.*")

    def content() -> Iterator[bytes]:
        yield from blocks(dumped.plain[: len(dumped.plain) * 9 // 10])
        mysql_server.run("ALTER USER loader ACCOUNT LOCK")
        raise ArtefactCorrupt("The hash is another one.")

    connection = mysql_server.connection(empty, user="loader", password=password)
    with pytest.raises(LoadFailed, match=r"The hash is another one. The database at .* is incomplete"):
        MysqlEngine(connection, mysql_lab.options).load([content()], dumped.manifest, Cancellation())
    mysql_lab.drop(empty)


def test_an_event_runs_when_its_database_is_in_place_and_not_before(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run(
        "CREATE EVENT often ON SCHEDULE EVERY 1 SECOND DO INSERT INTO log VALUES (now(), 'event')", database=database
    )
    engine = engine_of(mysql_lab, database)
    dumped = dump_of(engine)
    mysql_server.run("SET GLOBAL event_scheduler = ON")
    try:
        name, _ = beside(engine, dumped)
        assert status_of_events(mysql_server, name) == {"often": "SLAVESIDE_DISABLED", "forget": "DISABLED"}
        until(lambda: mysql_lab.counts(database)["log"])  # a second has passed
        assert mysql_lab.counts(name)["log"] == 0
        engine.replace_with(name, Cancellation())
        until(lambda: mysql_lab.counts(database)["log"])
    finally:
        mysql_server.run("SET GLOBAL event_scheduler = OFF")


def test_events_whose_time_has_passed_since_the_backup_hold_no_restore_back(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    def make(suffix: str, seconds: int) -> None:
        mysql_server.run(
            f"CREATE EVENT once_{suffix} ON SCHEDULE AT now() + INTERVAL {seconds} SECOND DO SELECT ' ENDS '",
            f"CREATE EVENT ending_{suffix} ON SCHEDULE EVERY 1 HOUR ENDS now() + INTERVAL {seconds} SECOND DO SELECT 1",
            database=database,
        )

    make("soon", 4)
    make("later", 3600)
    engine = engine_of(mysql_lab, database)
    dumped = dump_of(engine)
    name, warnings = beside(engine, dumped)
    assert not [text for text in warnings if "once_" in text]
    until(
        lambda: mysql_server.run(
            "SELECT now() > max(execute_at) FROM information_schema.events "
            f"WHERE event_name = 'once_soon' AND event_schema = '{database}'"
        )[0][0]
    )
    warnings = engine.replace_with(name, Cancellation())
    assert [text for text in warnings if "ending_soon, once_soon" in text]
    left = {"forget": "DISABLED", "once_later": "ENABLED", "ending_later": "ENABLED"}
    assert status_of_events(mysql_server, database) == left
    _, warnings = beside(engine, dumped)
    assert [text for text in warnings if "ending_soon, once_soon" in text]


def test_definers_whom_the_server_does_not_have_are_named(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str, new_name: str
) -> None:
    mysql_server.run("CREATE DEFINER = someone@afar PROCEDURE theirs() SELECT 1", database=database)
    dumped = dump_of(engine_of(mysql_lab, database))
    target = engine_of(mysql_lab, database).create_database(new_name)
    warnings = target.load(dumped.read(), dumped.manifest, Cancellation())
    assert [text for text in warnings if "1449" in text and "someone@afar" in text]
    assert not [text for text in warnings if "root@" in text]


def test_structures_replace_too(mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str) -> None:
    engine = engine_of(mysql_lab, database)
    structure = dump_of(engine, backup_type=BackupType.STRUCTURE)
    replace(engine, structure)
    assert set(mysql_lab.counts(database).values()) == {0}


# Questions


def test_a_question_cannot_write_by_a_procedure_either(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    mysql_server.run("CREATE PROCEDURE sly() BEGIN COMMIT; DELETE FROM marks; SELECT 1; END", database=database)
    with pytest.raises(SourceError, match="READ ONLY"):
        engine_of(mysql_lab, database).ask("CALL sly()", Cancellation())
    assert mysql_lab.counts(database)["marks"] == 3


def test_what_the_server_says_in_the_middle_of_a_check_is_an_error_of_ours(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, database: str
) -> None:
    password = mysql_server.create_user("rationed", f"SELECT ON {database}.*")
    mysql_server.run("ALTER USER rationed WITH MAX_QUERIES_PER_HOUR 1")
    connection = mysql_server.connection(database, user="rationed", password=password)
    with pytest.raises(SourceError, match="max_queries_per_hour"):
        MysqlEngine(connection, mysql_lab.options).check()
