"""Structure and data backups of MariaDB: what is awkward comes back, and what was there before stays as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import DumpRequest
from db_backup.engines.mysql import MysqlEngine, open_scratch
from db_backup.errors import ArtefactCorrupt, LoadFailed, PrivilegeMissing, TargetNotEmpty
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of, load
from support.lab_mysql import MysqlLab
from support.mysql_server import MariaDbServer

pytestmark = pytest.mark.integration

AWKWARD = Path(__file__).parents[1] / "support" / "awkward_mysql.sql"
TRIGGERS = """SELECT trigger_name, event_manipulation, event_object_table, action_order, action_timing,
    action_statement, sql_mode, definer, character_set_client, collation_connection, database_collation
    FROM information_schema.triggers WHERE trigger_schema = '{0}' ORDER BY trigger_name"""
ODD_TRIGGERS = """
SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', character_set_client = latin1,
    collation_connection = latin1_german1_ci;
ALTER DATABASE CHARACTER SET latin1;
DELIMITER //
CREATE DEFINER = somebody@nowhere TRIGGER "od`d; name" BEFORE INSERT ON marks FOR EACH ROW
BEGIN /* caf\xe9 '//' */ SET new.word = concat(new.word, '\\', "new"."id"); -- ;;
END//
CREATE TRIGGER log_first AFTER INSERT ON orders FOR EACH ROW PRECEDES log_orders INSERT INTO log (what) VALUES ('1')//
DELIMITER ;
ALTER DATABASE CHARACTER SET utf8mb4;
""".encode("latin1")


@pytest.fixture(scope="module")
def awkward(mysql_server: MariaDbServer, mysql_lab: MysqlLab) -> Iterator[str]:
    database = mysql_lab.create_empty()
    mysql_server.run_script(AWKWARD.read_text().replace("@DB@", database), database)
    yield database
    mysql_lab.drop(database)


@pytest.fixture
def sample(mysql_lab: MysqlLab) -> Iterator[str]:
    database = mysql_lab.create_sample()
    yield database
    mysql_lab.drop(database)


@pytest.fixture
def new_name(mysql_lab: MysqlLab) -> Iterator[str]:
    name = mysql_lab.fresh_name()
    yield name
    mysql_lab.drop(name)


def dumps_of(lab: MysqlLab, database: str) -> tuple[Dumped, Dumped]:
    """Its structure and its rows."""
    engine = lab.engine(database)
    return dump_of(engine, backup_type=BackupType.STRUCTURE), dump_of(engine, backup_type=BackupType.DATA)


def fill(lab: MysqlLab, database: str, rows: Dumped, connection: ConnectionInfo | None = None) -> tuple[str, ...]:
    engine = MysqlEngine(connection or lab.connection(database), lab.options)
    return engine.load([blocks(rows.plain)], rows.manifest, Cancellation())


def state_of(server: MariaDbServer, lab: MysqlLab, database: str) -> object:
    """Everything that a load that fails must leave as it was."""
    return (
        dump_of(lab.engine(database)).manifest.inventory,
        server.run(TRIGGERS.format(database)),
        sorted(
            server.run(
                "SELECT table_name, index_name, comment FROM information_schema.statistics "
                f"WHERE table_schema = '{database}'"
            )
        ),
    )


def test_everything_odd_comes_back_from_structure_and_rows(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, new_name: str
) -> None:
    structure, rows = dumps_of(mysql_lab, awkward)
    target = load(mysql_lab.engine(awkward), new_name, structure)
    assert compare(structure.manifest.inventory, target.take_inventory(structure.manifest, Cancellation())) == ()
    triggers = mysql_server.run(TRIGGERS.format(new_name))
    assert len(triggers) == 2
    fill(mysql_lab, new_name, rows)
    assert mysql_server.run(TRIGGERS.format(new_name)) == triggers
    assert compare(rows.manifest.inventory, target.take_inventory(rows.manifest, Cancellation())) == ()
    before, after = (dump_of(mysql_lab.engine(name)).manifest.inventory for name in (awkward, new_name))
    assert compare(before, after) == ()
    archive = target.read_archive([blocks(rows.plain)], rows.manifest, Cancellation())
    assert compare_tables(rows.manifest.inventory, archive) == ()


def test_everything_odd_comes_back_on_a_scratch_server(mysql_lab: MysqlLab, awkward: str) -> None:
    structure, rows = dumps_of(mysql_lab, awkward)
    with open_scratch(rows.manifest.server, mysql_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(MysqlEngine(scratch, mysql_lab.options), awkward, structure, rows)
        found = target.take_inventory(rows.manifest, Cancellation())
    assert compare(rows.manifest.inventory, found) == ()


def test_rows_of_oddly_named_versioned_and_partitioned_tables_can_be_left_out(
    mysql_lab: MysqlLab, awkward: str, new_name: str
) -> None:
    names = ("new\nline -- Dump completed", "partitioned", "ta`ble (1)", "versioned")
    structure, _ = dumps_of(mysql_lab, awkward)
    for backup_type in (BackupType.FULL, BackupType.DATA):
        dumped = dump_of(
            mysql_lab.engine(awkward), backup_type=backup_type, exclude=("ta*", "new*", "version*", "part*")
        )
        assert dumped.manifest.excluded_tables == names
        before = (structure,) if backup_type is BackupType.DATA else ()
        target = load(mysql_lab.engine(awkward), new_name, *before, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
        rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
        assert {name for name in names if rows[name]} == set()
        assert rows["all_bytes"] == 257
        mysql_lab.drop(new_name)


def test_counters_are_set_back_as_well_as_forth(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, new_name: str
) -> None:
    structure, rows = dumps_of(mysql_lab, awkward)
    target = load(mysql_lab.engine(awkward), new_name, structure)
    mysql_server.run(
        "ALTER TABLE counting_innodb AUTO_INCREMENT = 99",
        "ALTER TABLE counting_myisam AUTO_INCREMENT = 9999",
        "ALTER TABLE counting_aria AUTO_INCREMENT = 3",
        "DO SETVAL(behind, 123456, 0)",
        "ALTER SEQUENCE down RESTART -5",
        database=new_name,
    )
    fill(mysql_lab, new_name, rows)
    found = target.take_inventory(rows.manifest, Cancellation())
    assert compare(rows.manifest.inventory, found) == ()
    assert {("auto_increment", "`counting_innodb`: 4"), ("sequence value", "`behind`: 1000")} <= {
        (item.kind, item.name) for item in found.objects
    }


def test_triggers_are_put_back_as_they_were_and_none_fires(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str, new_name: str
) -> None:
    structure, rows = dumps_of(mysql_lab, sample)
    load(mysql_lab.engine(sample), new_name, structure)
    mysql_server.run_script(ODD_TRIGGERS, new_name)
    triggers = mysql_server.run(TRIGGERS.format(new_name))
    odd = next(trigger for trigger in triggers if trigger[0] == "od`d; name")
    assert odd[6:] == (
        "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
        "somebody@nowhere",
        "latin1",
        "latin1_german1_ci",
        "latin1_swedish_ci",
    )
    fill(mysql_lab, new_name, rows)
    assert mysql_server.run(TRIGGERS.format(new_name)) == triggers
    assert mysql_lab.counts(new_name) == mysql_lab.counts(sample)
    assert mysql_server.run("SELECT word FROM marks ORDER BY id", database=new_name) == [
        ("first",),
        ("doomed",),
        ("last",),
    ]


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.999])
def test_a_load_that_fails_leaves_tables_counters_and_triggers_as_they_were(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, awkward: str, new_name: str, kept: float
) -> None:
    structure, rows = dumps_of(mysql_lab, awkward)
    load(mysql_lab.engine(awkward), new_name, structure)
    mysql_server.run("ALTER TABLE counting_innodb AUTO_INCREMENT = 99", database=new_name)
    before = state_of(mysql_server, mysql_lab, new_name)

    def content() -> Iterator[bytes]:
        yield from blocks(rows.plain[: int(len(rows.plain) * kept)])
        raise ArtefactCorrupt("The hash is another one.")

    with pytest.raises(ArtefactCorrupt):
        MysqlEngine(mysql_lab.connection(new_name), mysql_lab.options).load([content()], rows.manifest, Cancellation())
    assert state_of(mysql_server, mysql_lab, new_name) == before


def test_a_load_that_fails_leaves_no_index_switched_off(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str, new_name: str
) -> None:
    mysql_server.run(
        "CREATE TABLE aged (a int, KEY (a)) ENGINE = MyISAM", "INSERT INTO aged VALUES (1)", database=sample
    )
    structure, rows = dumps_of(mysql_lab, sample)
    load(mysql_lab.engine(sample), new_name, structure)
    before = state_of(mysql_server, mysql_lab, new_name)

    def content() -> Iterator[bytes]:
        yield rows.plain[: rows.plain.index(b"INSERT INTO `aged`")]
        raise ArtefactCorrupt("The hash is another one.")

    with pytest.raises(ArtefactCorrupt):
        mysql_lab.engine(new_name).load([content()], rows.manifest, Cancellation())
    assert state_of(mysql_server, mysql_lab, new_name) == before


def test_a_load_of_which_the_client_complains_leaves_no_row(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str, new_name: str
) -> None:
    structure, rows = dumps_of(mysql_lab, sample)
    load(mysql_lab.engine(sample), new_name, structure)
    mysql_server.run("ALTER TABLE orders DROP COLUMN price, DROP COLUMN total", database=new_name)
    before = state_of(mysql_server, mysql_lab, new_name)
    with pytest.raises(LoadFailed, match=r"ERROR 1136.*Column count doesn't match") as caught:
        fill(mysql_lab, new_name, rows)
    assert "restore its structure first" in caught.value.hint
    assert state_of(mysql_server, mysql_lab, new_name) == before


@pytest.mark.parametrize(
    ("grants", "said"),
    [
        ("SELECT, INSERT, ALTER, CREATE, DROP", "cannot see which triggers would fire"),
        ("SELECT, INSERT, ALTER, CREATE, DROP, TRIGGER", "could not put its triggers back"),
    ],
)
def test_a_user_who_cannot_set_triggers_aside_loads_nothing(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str, new_name: str, grants: str, said: str
) -> None:
    structure, rows = dumps_of(mysql_lab, sample)
    load(mysql_lab.engine(sample), new_name, structure)
    before = state_of(mysql_server, mysql_lab, new_name)
    password = mysql_server.create_user("filler", f"{grants} ON {new_name}.*")
    with pytest.raises(LoadFailed, match=said):
        fill(mysql_lab, new_name, rows, mysql_server.connection(new_name, user="filler", password=password))
    assert state_of(mysql_server, mysql_lab, new_name) == before


def test_rows_take_fewer_privileges_than_definitions(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str
) -> None:
    password = mysql_server.create_user("reader", f"SELECT, SHOW VIEW, LOCK TABLES ON {sample}.*")
    reader = MysqlEngine(mysql_server.connection(sample, user="reader", password=password), mysql_lab.options)
    with pytest.raises(PrivilegeMissing):
        reader.preflight(DumpRequest("shop", BackupType.STRUCTURE))
    rows = dump_of(reader, backup_type=BackupType.DATA)
    assert rows.manifest.inventory == dump_of(mysql_lab.engine(sample), backup_type=BackupType.DATA).manifest.inventory


def test_a_row_that_a_structure_should_not_bring_shows(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str, new_name: str
) -> None:
    structure, _ = dumps_of(mysql_lab, sample)
    target = load(mysql_lab.engine(sample), new_name, structure)
    mysql_server.run("INSERT INTO marks VALUES (1, 'stray')", database=new_name)
    (difference,) = compare(structure.manifest.inventory, target.take_inventory(structure.manifest, Cancellation()))
    assert (difference.name, difference.expected, difference.found) == ("marks", "0 rows", "1 rows")


def test_definitions_are_not_loaded_over_others(mysql_lab: MysqlLab, sample: str) -> None:
    structure, _ = dumps_of(mysql_lab, sample)
    before = mysql_lab.counts(sample)
    for dumped in (structure, dump_of(mysql_lab.engine(sample))):
        with pytest.raises(TargetNotEmpty, match="customers"):
            mysql_lab.engine(sample).load([blocks(dumped.plain)], dumped.manifest, Cancellation())
    assert mysql_lab.counts(sample) == before


def test_a_structure_lists_every_kind_of_object_and_is_nobodys_base(mysql_lab: MysqlLab, sample: str) -> None:
    structure, _ = dumps_of(mysql_lab, sample)
    kinds = {item.kind for item in structure.manifest.inventory.objects}
    assert {"view", "trigger", "procedure", "function", "event", "sequence", "foreign key", "check"} <= kinds
    assert structure.manifest.consistency.binlog_file is None


def test_a_view_that_is_left_out_is_said_where_views_are_dumped(
    mysql_server: MariaDbServer, mysql_lab: MysqlLab, sample: str
) -> None:
    mysql_server.run(
        "CREATE TABLE gone (a int)", "CREATE VIEW broken AS SELECT a FROM gone", "DROP TABLE gone", database=sample
    )
    structure, rows = dumps_of(mysql_lab, sample)
    assert [warning for warning in structure.manifest.warnings if "'broken'" in warning]
    assert not [warning for warning in rows.manifest.warnings if "'broken'" in warning]
