"""Whole MariaDB databases, dumped and restored: everything comes back, under its own name and under another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import Engine
from db_backup.engines.mysql import MysqlEngine, open_scratch
from db_backup.errors import LoadFailed, ScratchUnavailable, UsageError
from db_backup.manifest import Difference
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of, load
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


def differences(target: Engine, dumped: Dumped) -> tuple[Difference, ...]:
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


def test_where_counters_stand_is_recorded(dumped: Dumped) -> None:
    assert {
        (item.kind, item.name)
        for item in dumped.manifest.inventory.objects
        if item.name.startswith(("`counting", "`exhausted", "`down", "`behind"))
    } == {
        ("auto_increment", "`counting_innodb`: 4"),
        ("auto_increment", "`counting_myisam`: 500"),
        ("auto_increment", "`counting_aria`: 500"),
        ("auto_increment", "`counting_memory`: 77"),
        ("auto_increment", "`counting_parts`: 900"),
        ("auto_increment", "`counting_to_the_end`: 128"),
        ("auto_increment", "`counting_ahead`: 5001"),
        ("sequence value", "`exhausted`: 4"),
        ("sequence value", "`down`: -3005"),
        ("sequence value", "`behind`: 2000"),  # a dump cannot set it back to 1000
    }


def test_a_counter_that_a_restore_did_not_bring_back_shows(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, dumped: Dumped, new_name: str
) -> None:
    target = load(engine(mysql_lab, awkward), new_name, dumped)
    mysql_server.run(
        "ALTER TABLE counting_myisam AUTO_INCREMENT = 1", "DO SETVAL(numbers, 99999, 0)", database=new_name
    )
    kinds = {(difference.kind, difference.name) for difference in differences(target, dumped)}
    assert ("auto_increment", "`counting_myisam`: 500") in kinds
    assert ("sequence value", "`numbers`: 99999") in kinds


_TYPED = (
    "create trigger tr1 before insert on t for each row set new.w = '1'",
    "Create Trigger tr2 before update on t for each row begin /* kept */ end",
    "CREATE TRIGGER /* c */ tr3 after update on t for each row begin -- kept\n end",
    "CREATE TRIGGER -- c\n tr4 after delete on t for each row begin end",
    "create or replace trigger tr5 before delete on t for each row begin end",
    "CREATE trigger if not exists tr6 after insert on t for each row begin end",
    "create trigger /*a*/ if /*b*/ not /*c*/ exists /*d*/ `tr7` /*e*/ before /*f*/ insert /*g*/ on /*h*/ u "
    "for each row begin end",
    "create definer = current_user trigger`tr8`before update on u for each row begin end",
    "/* c */ create /*!50003 trigger tr9 after update on u for each row begin end */",
    "create trigger @DB@ /* c */ . tr10 before delete on @DB@ . u for each row begin end # end",
    "create procedure p1() begin end",
    "CREATE OR REPLACE /* c */ Procedure /* d */ p2 /* e */ () begin /* kept */ end -- end",
    "create function if not exists f1() returns int return 1",
    "create aggregate function f2(x int) returns int begin declare continue handler for not found return 1; "
    "loop fetch group next row; end loop; end",
    "create event e1 on schedule every 1 day disable do select 1",
    "create /* c */ event /* d */ if not exists e2 on schedule every 1 day disable do select /* kept */ 1",
)
_BODIES = (
    "SELECT action_statement FROM information_schema.triggers WHERE trigger_schema = '{0}' ORDER BY trigger_name",
    "SELECT routine_definition FROM information_schema.routines WHERE routine_schema = '{0}' ORDER BY routine_name",
    "SELECT event_definition FROM information_schema.events WHERE event_schema = '{0}' ORDER BY event_name",
)


def test_code_comes_back_however_its_author_typed_it(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, new_name: str
) -> None:
    database = mysql_lab.create_empty()
    mysql_server.run("CREATE TABLE t (w varchar(9))", "CREATE TABLE u (w varchar(9))", database=database)
    for statement in _TYPED:
        mysql_server.run(statement.replace("@DB@", database), database=database)
    source = engine(mysql_lab, database)
    dumped = dump_of(source)
    names = {item.name for item in dumped.manifest.inventory.objects}
    assert names >= {"p1", "p2", "f1", "f2", "e1", "e2", *(f"tr{number}" for number in range(1, 11))}
    with open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        assert differences(load(MysqlEngine(scratch, source.options), database, dumped), dumped) == ()
    assert differences(load(source, new_name, dumped), dumped) == ()
    for bodies in _BODIES:
        assert mysql_server.run(bodies.format(new_name)) == mysql_server.run(bodies.format(database))
    mysql_lab.drop(database)


def test_a_failed_load_shows_nobodys_rows(mysql_server: MariaDbServer, mysql_lab: MysqlLab, new_name: str) -> None:
    database = mysql_lab.create_empty()
    mysql_server.run(
        "CREATE TABLE people (name varchar(40)) ENGINE = MyISAM",
        "INSERT INTO people VALUES ('secret'), ('secret')",
        database=database,
    )
    source = engine(mysql_lab, database)
    dumped = dump_of(source)
    plain = dumped.plain.replace(b"`name` varchar(40) DEFAULT NULL", b"`name` varchar(40) PRIMARY KEY")
    with pytest.raises(LoadFailed) as caught:
        load(source, new_name, dataclasses.replace(dumped, streams=(plain,)))
    assert "ERROR 1062" in caught.value.message
    assert "for key" in caught.value.message
    assert "secret" not in str(caught.value)
    mysql_lab.drop(database)


@pytest.mark.parametrize("name", ["", "x" * 65, "ends in a space ", "nul\0", "😀"])
def test_a_name_that_no_server_takes_is_refused(mysql_lab: MysqlLab, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        MysqlEngine(mysql_lab.unreachable("shop"), mysql_lab.options).create_database(name)
    assert caught.value.hint


def test_everything_odd_comes_back_on_a_scratch_server(mysql_lab: MysqlLab, awkward: str, dumped: Dumped) -> None:
    source = engine(mysql_lab, awkward)
    found = source.read_archive([blocks(dumped.plain)], dumped.manifest, Cancellation())
    assert compare_tables(dumped.manifest.inventory, found) == ()
    with open_scratch(dumped.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        assert differences(load(MysqlEngine(scratch, source.options), awkward, dumped), dumped) == ()


def test_a_copy_beside_the_original_uses_its_own_sequence_functions_and_triggers(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, dumped: Dumped, new_name: str
) -> None:
    source = engine(mysql_lab, awkward)
    target = source.create_database(new_name)
    warnings = target.load([blocks(dumped.plain)], dumped.manifest, Cancellation())
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
        warnings = target.load([blocks(dumped.plain)], dumped.manifest, Cancellation())
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
