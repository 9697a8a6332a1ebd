"""Whole PostgreSQL databases, dumped and restored: everything comes back, whatever the server's own settings."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from conformance.engine_contract import dump_of, load
from db_backup.comparison import compare, compare_tables
from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine, open_scratch
from db_backup.progress import Cancellation
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.integration

AWKWARD = Path(__file__).parents[1] / "support" / "awkward_postgres.sql"
CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook_postgres.sql"
FORMATS = ["custom", "plain"]


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

    found = source.read_archive([dumped.plain], dumped.manifest, Cancellation())
    assert compare_tables(dumped.manifest.inventory, found) == ()
    with open_scratch(dumped.manifest.server, postgres_lab.options.scratch_path, Cancellation()) as scratch:
        target = load(PostgresEngine(scratch, source.options), awkward, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_both_formats_count_and_hash_the_same_rows(postgres_lab: PostgresLab, awkward: str) -> None:
    custom, plain = (set(dump_of(engine(postgres_lab, awkward, name)).manifest.inventory.tables) for name in FORMATS)
    different = {table.name for table in custom ^ plain}
    assert different == {"pg_catalog.pg_largeobject"}  # its content is written in another way in each


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
