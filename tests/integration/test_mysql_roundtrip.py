"""Whole MariaDB databases, dumped and restored: everything comes back, under its own name and under another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.engine_contract import Dumped, blocks, dump_of, load
from db_backup.comparison import compare, compare_tables
from db_backup.engines.mysql import MysqlEngine, open_scratch
from db_backup.errors import LoadFailed, ScratchUnavailable
from db_backup.progress import Cancellation
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration

AWKWARD = Path(__file__).parents[1] / "support" / "awkward_mysql.sql"
CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook_mysql.sql"
ODD_NAME = "odd`name ö"  # an apostrophe as well is more than mariadb-dump can do (it escapes the name once too often)


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@pytest.fixture(scope="module")
def awkward(mysql_server: MariaDbServer) -> Iterator[str]:
    mysql_server.run(f"CREATE DATABASE {quoted(ODD_NAME)} CHARACTER SET latin1 COLLATE latin1_german1_ci")
    mysql_server.run_script(AWKWARD.read_text().replace("@DB@", quoted(ODD_NAME)), ODD_NAME)
    yield ODD_NAME
    mysql_server.run(f"DROP DATABASE {quoted(ODD_NAME)}")


@pytest.fixture(scope="module")
def dumped(mysql_lab: MysqlLab, awkward: str) -> Dumped:
    return dump_of(engine(mysql_lab, awkward))


@pytest.fixture
def new_name(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.fresh_name()
    yield name
    mysql_lab.drop(name)


def engine(lab: MysqlLab, database: str, **options: bool) -> MysqlEngine:
    return MysqlEngine(lab.connection(database), dataclasses.replace(lab.options, **options))


def differences(target: MysqlEngine, dumped: Dumped) -> tuple[object, ...]:
    return compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation()))


@pytest.mark.skipif(not CHINOOK.exists(), reason="needs ../shared/data/chinook_mysql.sql")
def test_chinook_restores_into_a_new_database_and_a_scratch_server(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, new_name: str
) -> None:
    mysql_server.run_script(CHINOOK.read_bytes())
    source = engine(mysql_lab, "Chinook")
    dumped = dump_of(source)
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert rows["Track"] == 3503
    assert rows["PlaylistTrack"] == 8715
    assert differences(load(source, new_name, dumped), dumped) == ()
    with open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        assert differences(load(MysqlEngine(scratch, source.options), "Chinook", dumped), dumped) == ()
    mysql_lab.drop("Chinook")


def test_everything_odd_is_counted(dumped: Dumped) -> None:
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert rows["ta`ble (1)"] == 4
    assert rows["all_bytes"] == 257
    assert rows["new\nline -- Dump completed"] == 4
    assert rows["not_transactional"] == 3
    assert rows["versioned"] == 2  # one of them is history
    assert rows["empty"] == 0
    assert "forged" not in rows
    kinds = {(item.kind, item.name) for item in dumped.manifest.inventory.objects}
    assert {
        ("package body", "pack"),
        ("sequence", "numbers"),
        ("event", "nightly"),
        ("view", "new\nview"),
        ("foreign key", "parent.of_child"),
        ("check", "child.positive"),
        ("index", "child.words"),
    } <= kinds


def test_everything_odd_comes_back_on_a_scratch_server(mysql_lab: MysqlLab, awkward: str, dumped: Dumped) -> None:
    source = engine(mysql_lab, awkward)
    found = source.read_archive(blocks(dumped.plain), dumped.manifest, Cancellation())
    assert compare_tables(dumped.manifest.inventory, found) == ()
    with open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        assert differences(load(MysqlEngine(scratch, source.options), awkward, dumped), dumped) == ()


def test_a_copy_beside_the_original_uses_its_own_sequence_functions_and_triggers(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, dumped: Dumped, new_name: str
) -> None:
    source = engine(mysql_lab, awkward)
    target = source.create_database(new_name)
    warnings = target.load(blocks(dumped.plain), dumped.manifest, Cancellation())
    assert differences(target, dumped) == ()
    before = mysql_server.run("SELECT next_not_cached_value FROM numbers", database=awkward)
    mysql_server.run("INSERT INTO numbered (b) VALUES ('copy')", database=new_name)
    assert mysql_server.run("SELECT next_not_cached_value FROM numbers", database=awkward) == before
    view = f"SELECT view_definition FROM information_schema.views WHERE table_schema = '{new_name}'"
    assert not [text for (text,) in mysql_server.run(view) if "odd" in text]
    for database in (awkward, new_name):
        triggers = mysql_server.run(
            f"SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{_text(database)}'"
        )
        assert set(triggers) == {("plain_name",), ("qualified",)}
    assert [warning for warning in warnings if "qualified_body" in warning]
    charset = f"SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = '{new_name}'"
    assert mysql_server.run(charset) == [("latin1_german1_ci",)]


def _text(value: str) -> str:
    return value.replace("'", "''")


def test_rows_larger_than_what_is_held_are_counted_and_come_back(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, new_name: str
) -> None:
    database = mysql_lab.create_empty()
    mysql_server.run(
        "CREATE TABLE large (id int, a longtext, b longblob, c text)",
        r"INSERT INTO large SELECT seq, repeat('it''s \\ ),(\n', 300000), repeat(x'00ff27', 700000), '),\n(' "
        "FROM seq_1_to_3",
        "INSERT INTO large VALUES (4, 'small', '', NULL)",
        database=database,
    )
    source = engine(mysql_lab, database)
    dumped = dump_of(source)
    assert [table.rows for table in dumped.manifest.inventory.tables] == [4]
    assert differences(load(source, new_name, dumped), dumped) == ()
    mysql_server.run("UPDATE large SET a = concat(a, '.') WHERE id = 2", database=new_name)
    assert len(differences(engine(mysql_lab, new_name), dumped)) == 1
    mysql_lab.drop(database)


def test_what_settings_leave_out_is_said_and_does_not_count_as_a_difference(mysql_lab: MysqlLab, new_name: str) -> None:
    database = mysql_lab.create_sample()
    source = engine(mysql_lab, database, mysql_routines=False, mysql_triggers=False, mysql_events=False)
    dumped = dump_of(source)
    for setting in ("MYSQL_BACKUP_ROUTINES", "MYSQL_BACKUP_TRIGGERS", "MYSQL_BACKUP_EVENTS"):
        assert [warning for warning in dumped.manifest.warnings if setting in warning]
    assert not {"trigger", "procedure", "function", "event"} & {item.kind for item in dumped.manifest.inventory.objects}
    assert differences(load(source, new_name, dumped), dumped) == ()
    mysql_lab.drop(database)


def test_tables_can_be_locked_instead_of_one_transaction(mysql_lab: MysqlLab, new_name: str) -> None:
    database = mysql_lab.create_sample()
    source = engine(mysql_lab, database, mysql_single_transaction=False)
    dumped = dump_of(source)
    assert dumped.manifest.consistency.snapshot == "tables locked"
    assert differences(load(source, new_name, dumped), dumped) == ()
    mysql_lab.drop(database)


def test_active_events_of_a_copy_are_reported(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, dumped: Dumped, awkward: str, new_name: str
) -> None:
    mysql_server.run("SET GLOBAL event_scheduler = ON")
    try:
        target = engine(mysql_lab, awkward).create_database(new_name)
        warnings = target.load(blocks(dumped.plain), dumped.manifest, Cancellation())
    finally:
        mysql_server.run("SET GLOBAL event_scheduler = OFF")
    assert [warning for warning in warnings if "1 events are now active" in warning]


def test_a_view_of_another_database_cannot_be_proved_on_a_scratch_server_and_restores_beside(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, new_name: str
) -> None:
    database, other = mysql_lab.create_sample(), mysql_lab.create_sample()
    mysql_server.run(f"CREATE VIEW elsewhere AS SELECT word FROM {other}.marks", database=database)
    source = engine(mysql_lab, database)
    dumped = dump_of(source)
    with (
        open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch,
        pytest.raises(ScratchUnavailable, match=f"refers to the database '{other}'"),
    ):
        load(MysqlEngine(scratch, source.options), database, dumped)
    assert differences(load(source, new_name, dumped), dumped) == ()
    mysql_lab.drop(other)
    with pytest.raises(LoadFailed) as caught:
        load(source, mysql_lab.fresh_name(), dumped)
    assert "another database" in caught.value.hint
    mysql_lab.drop(database)
