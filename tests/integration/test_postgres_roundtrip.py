"""Whole PostgreSQL databases, dumped and restored: everything comes back, whatever the server's own settings."""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine, open_scratch
from db_backup.errors import ConfigurationError, LoadFailed, PrivilegeMissing, ServerUnreachable, UsageError
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import blocks, dump_of, load
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.integration

AWKWARD = Path(__file__).parents[1] / "support" / "awkward_postgres.sql"
CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook_postgres.sql"
FORMATS = ["custom", "plain", "tar", "directory"]


@pytest.fixture(scope="module")
def awkward(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database(AWKWARD.read_text())


def engine(lab: PostgresLab, database: str, dump_format: str = "custom", **options: bool) -> PostgresEngine:
    chosen: EngineOptions = dataclasses.replace(lab.options, postgres_format=dump_format, **options)
    return PostgresEngine(lab.connection(database), chosen)


@pytest.mark.parametrize("dump_format", FORMATS)
@pytest.mark.skipif(not CHINOOK.exists(), reason="needs ../shared/data/chinook_postgres.sql")
def test_chinook_restores_into_a_new_database_and_a_scratch_server(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, dump_format: str
) -> None:
    postgres_server.run_script(CHINOOK)
    source = engine(postgres_lab, "chinook", dump_format)
    dumped = dump_of(source)
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert rows["public.track"] == 3503
    assert rows["public.playlist_track"] == 8715

    beside = load(source, postgres_lab.fresh_name(), dumped)
    assert compare(dumped.manifest.inventory, beside.take_inventory(dumped.manifest, Cancellation())) == ()

    with open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(PostgresEngine(scratch, source.options), "chinook", dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


@pytest.mark.parametrize("dump_format", FORMATS)
def test_everything_odd_comes_back_as_it_was(postgres_lab: PostgresLab, awkward: str, dump_format: str) -> None:
    source = engine(postgres_lab, awkward, dump_format)
    dumped = dump_of(source)
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    assert rows["public.texts"] == 16
    assert rows["public.no_columns"] == 2
    assert rows["public.by_range"] == 3
    assert rows["public.by_mood"] == 3
    assert rows["public.parent"] == 0
    assert rows['My.Schema "q".Odd.Table "name"'] == 1
    assert rows["pg_catalog.pg_largeobject"] == 2

    found = source.read_archive([[dumped.plain]], dumped.manifest, Cancellation())
    assert compare_tables(dumped.manifest.inventory, found) == ()
    with open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(PostgresEngine(scratch, source.options), awkward, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


@pytest.mark.parametrize("dump_format", FORMATS)
def test_structure_and_data_bring_everything_odd_back(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, awkward: str, dump_format: str
) -> None:
    source = engine(postgres_lab, awkward, dump_format)
    full, structure, data = (
        dump_of(source, backup_type=backup_type)
        for backup_type in (BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA)
    )
    for dumped in (structure, data):
        found = source.read_archive([blocks(dumped.plain)], dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, found) == ()
    target = load(source, postgres_lab.fresh_name(), structure)
    *remarks, warning = target.load([blocks(data.plain)], data.manifest, Cancellation())
    assert remarks == []
    assert "public.gathered" in warning
    assert any("public.gathered" in warning for warning in data.manifest.warnings)
    for dumped in (full, data):
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    questions = (
        "SELECT last_value, is_called FROM downwards",
        "SELECT last_value, is_called FROM texts_id_seq",
        "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'noted'::regclass ORDER BY 1",
    )
    for question in questions:
        expected, restored = (
            postgres_server.run(question, database=name) for name in (awkward, target.connection.database)
        )
        assert restored == expected


def test_a_dump_cut_inside_a_name_with_a_line_end_is_read_alike(postgres_lab: PostgresLab, awkward: str) -> None:
    source = engine(postgres_lab, awkward, "plain")
    dumped = dump_of(source)
    for size in (1, 7, 61):
        pieces = [dumped.plain[start : start + size] for start in range(0, 4000, size)]
        rest = [dumped.plain[len(b"".join(pieces)) :]]
        found = source.read_archive([[*pieces, *rest]], dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, found) == ()


def test_rows_are_loaded_by_an_owner_who_is_no_superuser_where_nothing_fires(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    owner, password = postgres_server.create_user()
    database = postgres_server.create_database(
        "CREATE TABLE b_parents (id integer PRIMARY KEY)",
        "CREATE TABLE a_children (parent integer REFERENCES b_parents)",
        "INSERT INTO b_parents VALUES (1)",
        "INSERT INTO a_children VALUES (1)",
    )
    source = engine(postgres_lab, database)
    structure, data = (dump_of(source, backup_type=kind) for kind in (BackupType.STRUCTURE, BackupType.DATA))

    def restored(*more: str) -> PostgresEngine:
        name = load(source, postgres_lab.fresh_name(), structure).connection.database
        handing_over = [f"ALTER TABLE {table} OWNER TO {owner}" for table in ("a_children", "b_parents")]
        postgres_server.run(*handing_over, *more, database=name)
        connection = dataclasses.replace(postgres_lab.connection(name), login=owner, password=password)
        return PostgresEngine(connection, source.options)

    target = restored()
    target.load([blocks(data.plain)], data.manifest, Cancellation())
    assert compare(data.manifest.inventory, target.take_inventory(data.manifest, Cancellation())) == ()

    firing = restored(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
        "CREATE TRIGGER noting BEFORE INSERT ON a_children FOR EACH ROW EXECUTE FUNCTION note()",
    )
    with pytest.raises(LoadFailed, match=r"noting of public\.a_children") as caught:
        firing.load([blocks(data.plain)], data.manifest, Cancellation())
    assert "superuser" in caught.value.hint
    assert firing.take_inventory(data.manifest, Cancellation()).rows == 0


def test_a_trigger_that_fires_always_keeps_rows_from_being_loaded(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE noted (a integer)",
        "INSERT INTO noted VALUES (1)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$",
        "CREATE TRIGGER noting BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note()",
        "ALTER TABLE noted ENABLE ALWAYS TRIGGER noting",
    )
    source = engine(postgres_lab, database)
    structure, data = (dump_of(source, backup_type=kind) for kind in (BackupType.STRUCTURE, BackupType.DATA))
    target = load(source, postgres_lab.fresh_name(), structure)
    with pytest.raises(LoadFailed, match=r"noting of public\.noted"):
        target.load([blocks(data.plain)], data.manifest, Cancellation())


@pytest.mark.parametrize("dump_format", FORMATS)
@pytest.mark.parametrize("backup_type", [BackupType.FULL, BackupType.DATA])
def test_partitions_are_left_out_with_their_table_and_alone(
    postgres_lab: PostgresLab, awkward: str, dump_format: str, backup_type: BackupType
) -> None:
    source = engine(postgres_lab, awkward, dump_format)
    structure = dump_of(source, backup_type=BackupType.STRUCTURE)
    before = () if backup_type is BackupType.FULL else (structure,)
    for patterns, left_out, rows in (
        (("by_range*",), ("public.by_range",), 0),
        (("by_range_new",), ("public.by_range_new",), 1),
        (("*.by_range_old", "parts*"), ("public.by_range_old", "public.parts\nof"), 2),
    ):
        dumped = dump_of(source, backup_type=backup_type, exclude=patterns)
        assert dumped.manifest.excluded_tables == left_out
        counted = {table.name: table.rows for table in dumped.manifest.inventory.tables}
        assert counted["public.by_range"] == rows
        assert set(counted) == {
            table.name for table in dump_of(source, backup_type=backup_type).manifest.inventory.tables
        }
        found = source.read_archive([blocks(dumped.plain)], dumped.manifest, Cancellation())
        assert compare_tables(dumped.manifest.inventory, found) == ()
        target = load(source, postgres_lab.fresh_name(), *before, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_a_partition_that_a_foreign_key_needs_is_not_left_out(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE p (id integer PRIMARY KEY) PARTITION BY LIST (id)",
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1)",
        "CREATE TABLE refers (p integer REFERENCES p)",
    )
    with pytest.raises(ConfigurationError, match=r"public\.refers refers to"):
        dump_of(engine(postgres_lab, database), exclude=("p_1",))


def test_all_formats_count_and_hash_the_same_rows(postgres_lab: PostgresLab, awkward: str) -> None:
    custom, plain, tar, directory = (
        set(dump_of(engine(postgres_lab, awkward, name)).manifest.inventory.tables) for name in FORMATS
    )
    assert custom == tar == directory
    different = {table.name for table in custom ^ plain}
    assert different == {"pg_catalog.pg_largeobject"}  # its content is written in another way in a script


def test_an_awkward_database_name_is_dumped_and_restored(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    name = "dbname=x 'y\\z\" host=nowhere"
    source = engine(postgres_lab, "postgres").create_database(name)
    postgres_server.run("CREATE TABLE t (a integer)", "INSERT INTO t VALUES (1)", database=name)
    dumped = dump_of(source)
    source.drop_database(name)
    assert not source.database_exists(name)
    target = load(source, name, dumped)  # the bound database is gone: made from the maintenance database
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    target.drop_database(name)


def test_settings_of_database_and_role_do_not_change_a_checksum(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, awkward: str
) -> None:
    before = dump_of(engine(postgres_lab, awkward)).manifest.inventory
    settings = {
        "timezone": "'America/Caracas'",
        "datestyle": "'SQL, DMY'",
        "intervalstyle": "iso_8601",
        "bytea_output": "escape",
        "extra_float_digits": "-5",
        "xmlbinary": "hex",
        "client_encoding": "LATIN1",
        "search_path": "nowhere",
        "row_security": "off",
    }
    try:
        for name, value in settings.items():
            postgres_server.run(f"ALTER DATABASE {awkward} SET {name} = {value}")
        dumped = dump_of(engine(postgres_lab, awkward))
    finally:
        postgres_server.run(f"ALTER DATABASE {awkward} RESET ALL")
    assert dumped.manifest.inventory == before
    assert any("Settings of the database itself" in warning for warning in dumped.manifest.warnings)


def test_a_database_in_another_encoding_keeps_names_and_values(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database(
        'CREATE TABLE "prix_é" (v text)',
        "INSERT INTO \"prix_é\" VALUES ('à la carte')",
        options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    source = engine(postgres_lab, database)
    dumped = dump_of(source)
    assert [(table.name, table.rows) for table in dumped.manifest.inventory.tables] == [("public.prix_é", 1)]
    with open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(PostgresEngine(scratch, source.options), database, dumped)
        assert target.check().encoding == "LATIN1"
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_a_dump_holds_exactly_the_snapshot_while_writers_go_on(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE accounts (id integer PRIMARY KEY, money integer)",
        "INSERT INTO accounts SELECT g, 100 FROM generate_series(1, 1000) g",
        "CREATE TABLE moves (id bigserial, amount integer)",
    )
    stopping = threading.Event()

    def move_money() -> None:
        with postgres_server.connect(database) as link:
            while not stopping.is_set():
                link.execute(
                    "WITH m AS (INSERT INTO moves (amount) VALUES (1) RETURNING id), "
                    "a AS (UPDATE accounts SET money = money - 1 WHERE id = 1) "
                    "UPDATE accounts SET money = money + 1 WHERE id = 2"
                )

    writer = threading.Thread(target=move_money)
    writer.start()
    try:
        source = engine(postgres_lab, database)
        while not postgres_server.run("SELECT count(*) > 20 FROM moves", database=database)[0][0]:
            stopping.wait(0.01)
        dumped = dump_of(source)
    finally:
        stopping.set()
        writer.join()
    target = load(source, postgres_lab.fresh_name(), dumped)
    (balance,) = postgres_server.run(
        "SELECT sum(money), (SELECT 100 - money FROM accounts WHERE id = 1), (SELECT count(*) FROM moves) "
        "FROM accounts",
        database=target.connection.database,
    )
    assert balance[0] == 100_000
    assert balance[1] == balance[2]
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


@pytest.mark.parametrize("dump_format", FORMATS)
def test_owners_and_privileges_come_back_only_when_asked_for(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, dump_format: str
) -> None:
    owner, _ = postgres_server.create_user()
    database = postgres_server.create_database(
        "CREATE TABLE t (a integer)", f"ALTER TABLE t OWNER TO {owner}", "GRANT SELECT ON t TO PUBLIC"
    )
    question = "SELECT relowner::regrole::text, relacl IS NOT NULL FROM pg_class WHERE relname = 't'"
    for keep, expected in ((False, ("postgres", False)), (True, (owner, True))):
        source = engine(
            postgres_lab, database, dump_format, postgres_no_owner=not keep, postgres_no_privileges=not keep
        )
        target = load(source, postgres_lab.fresh_name(), dump_of(source))
        assert postgres_server.run(question, database=target.connection.database) == [expected]


def test_a_standby_can_be_dumped_and_its_unread_tables_are_told(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, awkward: str
) -> None:
    with postgres_server.standby() as standby:
        source = PostgresEngine(standby.connection(awkward), postgres_lab.options)
        dumped = dump_of(source)
    assert dumped.manifest.consistency.lsn is not None
    assert any("standby" in warning and "public.fleeting" in warning for warning in dumped.manifest.warnings)
    assert "public.fleeting" not in {table.name for table in dumped.manifest.inventory.tables}
    target = load(engine(postgres_lab, awkward), postgres_lab.fresh_name(), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


@pytest.mark.parametrize("dump_format", FORMATS)
def test_a_restored_sequence_that_stands_elsewhere_is_a_difference(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, dump_format: str
) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE orders (id serial, place integer GENERATED ALWAYS AS IDENTITY)",
        "INSERT INTO orders SELECT FROM generate_series(1, 42)",
        'CREATE SEQUENCE "It\'s ""unused""" START 7',
    )
    source = engine(postgres_lab, database, dump_format)
    dumped = dump_of(source)
    values = {item.name for item in dumped.manifest.inventory.objects if item.kind == "sequence value"}
    assert values == {
        "public.orders_id_seq: 42, called",
        "public.orders_place_seq: 42, called",
        'public.It\'s "unused": 7, not called',
    }
    target = load(source, postgres_lab.fresh_name(), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    postgres_server.run("SELECT setval('orders_id_seq', 41)", database=target.connection.database)
    differences = compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation()))
    assert {(item.kind, item.name, item.found) for item in differences} == {
        ("sequence value", "public.orders_id_seq: 41, called", "one"),
        ("sequence value", "public.orders_id_seq: 42, called", "none"),
    }


@pytest.mark.parametrize("dump_format", FORMATS)
def test_large_objects_are_restored_without_a_warning(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, dump_format: str
) -> None:
    database = postgres_server.create_database("SELECT lo_from_bytea(0, 'one'), lo_from_bytea(0, 'two')")
    source = engine(postgres_lab, database, dump_format)
    dumped = dump_of(source)
    target = source.create_database(postgres_lab.fresh_name())
    assert target.load([[dumped.plain]], dumped.manifest, Cancellation()) == ()
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_a_copy_that_the_user_cannot_read_was_restored_but_not_compared(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database("CREATE TABLE secrets (a integer)")
    source = engine(postgres_lab, database)
    dumped = dump_of(source)
    copy = load(source, postgres_lab.fresh_name(), dumped).connection.database
    user, password = postgres_server.create_user()
    reader = PostgresEngine(postgres_server.connection(copy, user=user, password=password), postgres_lab.options)
    with pytest.raises(
        PrivilegeMissing,
        match=rf"was restored to .*{copy}.*could not be compared.*'{user}' may not read public\.s",
    ):
        reader.take_inventory(dumped.manifest, Cancellation())


def test_a_copy_that_pg_dump_cannot_read_was_restored_but_not_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    source = engine(postgres_lab, postgres_server.create_database("CREATE TABLE t (a text)"))
    dumped = dump_of(source)
    copy = load(source, postgres_lab.fresh_name(), dumped)
    program = tmp_path / "pg_dump"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {postgres_lab.real_dump_tool()} "$@"\necho invalid page >&2\nexit 1\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(LoadFailed, match=r"was restored to .*, but could not be compared: pg_dump .*: invalid page"):
        copy.take_inventory(dumped.manifest, Cancellation())


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "a\0b"])
def test_a_name_that_postgresql_would_refuse_or_cut_is_a_wrong_request(postgres_lab: PostgresLab, name: str) -> None:
    unreachable = PostgresEngine(postgres_lab.unreachable("postgres"), postgres_lab.options)
    with pytest.raises(UsageError, match="cannot be named"):
        unreachable.create_database(name)


def test_the_longest_name_is_kept_whole(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> None:
    name = "é" * 31 + "x"
    source = engine(postgres_lab, "postgres")
    source.create_database(name)
    assert source.database_exists(name)
    source.drop_database(name)


def test_an_unreachable_server_is_told_in_whole_sentences(postgres_lab: PostgresLab) -> None:
    with pytest.raises(ServerUnreachable, match=r"Connection refused\. Check that") as caught:
        PostgresEngine(postgres_lab.unreachable("postgres"), postgres_lab.options).check()
    assert "?" not in str(caught.value)


@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_that_users_put_into_an_extension_s_table_are_loaded_with_the_others(
    postgres_lab: PostgresLab, jobs: int
) -> None:
    """As PostGIS' spatial_ref_sys; what CREATE EXTENSION would do for it is done by hand."""
    install = (
        "CREATE EXTENSION hstore",
        "CREATE TABLE settings (name text)",
        "ALTER EXTENSION hstore ADD TABLE settings",
        "UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid], extcondition = ARRAY[''] "
        "WHERE extname = 'hstore'",
        "CREATE TABLE own (a integer)",
        "CREATE TABLE other (a integer)",
    )
    database, name = postgres_lab.create_empty(), postgres_lab.fresh_name()
    postgres_lab.execute(database, *install, "INSERT INTO settings VALUES ('ours')", "INSERT INTO own VALUES (1)")
    source = postgres_lab.engine(database)
    dumped = dump_of(source, backup_type=BackupType.DATA, jobs=jobs)
    target = source.create_database(name)
    postgres_lab.execute(name, *install)
    target.load(dumped.read(), dumped.manifest, Cancellation())
    assert postgres_lab.counts(name) == {"public.settings": 1, "public.own": 1, "public.other": 0}
