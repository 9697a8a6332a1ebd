"""Restoring over, beside and into a PostgreSQL database: what is refused, what takes whose place, what comes along."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db_backup.comparison import compare
from db_backup.engines.base import LoadOptions
from db_backup.engines.postgres import PostgresEngine, replacing
from db_backup.engines.postgres.contents import LARGE_OBJECTS
from db_backup.errors import (
    ArtefactCorrupt,
    FeatureNotAvailable,
    LoadFailed,
    PrivilegeMissing,
    Refused,
    SourceError,
    SourceUnsupported,
    StorageFull,
    TargetNotEmpty,
    UsageError,
)
from db_backup.manifest import DatabaseObject, Inventory, Manifest, ServerInfo
from db_backup.model import BackupType, EngineName
from db_backup.progress import Cancellation
from support.dumps import Dumped, blocks, dump_of, load
from support.factories import make_manifest
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.integration

EVERYTHING = LoadOptions()
MARKS = "CREATE TABLE marks (id integer PRIMARY KEY, word text)"


@pytest.fixture
def engine(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> Iterator[Callable[..., PostgresEngine]]:
    """``engine("statement", …)``: a new database in which they were run, dropped with its companions afterwards."""
    made = []

    def make(*script: str, dump_format: str = "custom") -> PostgresEngine:
        made.append(postgres_server.create_database(*script))
        options = dataclasses.replace(postgres_lab.options, postgres_format=dump_format)
        return PostgresEngine(postgres_lab.connection(made[-1]), options)

    yield make
    for name in made:
        for database in (name, f"{name}__db_backup_restoring", f"{name}__db_backup_replaced"):
            postgres_lab.drop(database)


def words(server: PostgresServer, database: str) -> list[str]:
    return [word for (word,) in server.run("SELECT word FROM marks ORDER BY 1", database=database)]


def restored_beside(target: PostgresEngine, dumped: Dumped) -> str:
    """The name of the replacement, loaded and ready to be put in place."""
    load(target, target.replacement_name(), dumped)
    return target.replacement_name()


def test_what_belongs_to_a_database_stays_when_its_contents_are_replaced(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    target = engine(MARKS, "INSERT INTO marks VALUES (1, 'backed up')")
    name = target.connection.database
    dumped = dump_of(target)
    owner, _ = postgres_server.create_user("CREATEDB")
    friend, _ = postgres_server.create_user()
    postgres_server.run(
        f"ALTER DATABASE {name} OWNER TO {owner}",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {friend} WITH GRANT OPTION",
        f"ALTER DATABASE {name} SET search_path TO 'Odd, \"schema\"', public",
        f"ALTER DATABASE {name} SET work_mem = '7MB'",
        f"ALTER DATABASE {name} SET my.greeting = 'it''s'",
        f"ALTER ROLE {friend} IN DATABASE {name} SET statement_timeout = '9s'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 17",
        f"COMMENT ON DATABASE {name} IS 'the shop''s own'",
    )
    postgres_server.run("UPDATE marks SET word = 'changed since'", database=name)
    before = belongings(postgres_server, name)
    assert "CONNECT" in str(before)

    with postgres_server.connect(name) as session:
        assert target.replace_with(restored_beside(target, dumped), Cancellation()) == ()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert words(postgres_server, name) == ["backed up"]
    assert belongings(postgres_server, name) == before
    assert databases_like(postgres_server, name) == [name]


def belongings(server: PostgresServer, database: str) -> list[object]:
    return [
        sorted(server.run(question.format(database)), key=str)
        for question in (
            "SELECT pg_get_userbyid(datdba), datconnlimit, datallowconn, shobj_description(oid, 'pg_database') "
            "FROM pg_database WHERE datname = '{}'",
            "SELECT (aclexplode(datacl)).* FROM pg_database WHERE datname = '{}'",
            "SELECT setrole, unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase "
            "WHERE datname = '{}'",
        )
    ]


def databases_like(server: PostgresServer, name: str) -> list[str]:
    return [
        found for (found,) in server.run(f"SELECT datname FROM pg_database WHERE datname LIKE '{name}%' ORDER BY 1")
    ]


def test_who_connects_again_and_again_does_not_keep_a_database_from_being_replaced(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    target = engine(MARKS)
    name = target.connection.database
    replacement = restored_beside(target, dump_of(target))
    done = threading.Event()
    seen: set[int] = set()

    def connect_again() -> None:
        while not done.is_set():
            with contextlib.suppress(psycopg.OperationalError), postgres_server.connect(name) as session:
                while not done.is_set():
                    session.execute("SELECT pg_sleep(0.01)")
                    seen.add(session.info.backend_pid)

    def wait_for(count: int) -> None:
        while len(seen) < count:
            time.sleep(0.01)

    crowd = [threading.Thread(target=connect_again) for _ in range(3)]
    for member in crowd:
        member.start()
    try:
        wait_for(3)
        target.replace_with(replacement, Cancellation())
        wait_for(6)  # they came back
    finally:
        done.set()
        for member in crowd:
            member.join()
    assert databases_like(postgres_server, name) == [name]


def test_a_database_that_is_new_only_gets_its_name(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], postgres_lab: PostgresLab
) -> None:
    source = engine(MARKS)
    target = PostgresEngine(postgres_lab.connection(postgres_lab.fresh_name()), source.options)
    dumped = dump_of(source)
    found = target.examine_target(dumped.manifest, EVERYTHING, replace=False)
    assert found.occupancy is None
    with postgres_server.connect(restored_beside(target, dumped)):
        target.replace_with(target.replacement_name(), Cancellation())
    assert words(postgres_server, target.connection.database) == []
    postgres_lab.drop(target.connection.database)


KILLED = """
import os, signal, sys
from pathlib import Path
import psycopg
from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine, replacing
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation

_, host, port, database, moment = sys.argv
connection = ConnectionInfo("c", EngineName.POSTGRES, host, int(port), "postgres", sys.stdin.read(), database)
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if moment == "between the renames":
    real = psycopg.Connection.execute
    def execute(self, query, *rest, **more):
        text = query if isinstance(query, str) else query.as_string(self)
        if "RENAME TO" in text and text.endswith('"' + database + '"'):
            die()
        return real(self, query, *rest, **more)
    psycopg.Connection.execute = execute
else:
    setattr(replacing, {"before the renames": "_swap", "after the renames": "_drop_replaced"}[moment], die)
engine = PostgresEngine(connection, EngineOptions(Path("/tmp"), Path("/tmp")))
engine.replace_with(engine.replacement_name(), Cancellation())
"""


@pytest.mark.parametrize("moment", ["before the renames", "between the renames", "after the renames"])
def test_a_kill_at_any_moment_leaves_a_database_in_service_and_a_second_attempt_succeeds(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], moment: str
) -> None:
    target = engine(MARKS, "INSERT INTO marks VALUES (1, 'backed up')")
    connection = target.connection
    dumped = dump_of(target)
    postgres_server.run("UPDATE marks SET word = 'in service'", database=connection.database)
    restored_beside(target, dumped)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, connection.host, str(connection.port), connection.database, moment],
        input=connection.password,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    expected = ["backed up"] if moment == "after the renames" else ["in service"]
    assert words(postgres_server, connection.database) == expected

    target.drop_database(target.replacement_name())
    target.replace_with(restored_beside(target, dumped), Cancellation())
    assert words(postgres_server, connection.database) == ["backed up"]
    assert databases_like(postgres_server, connection.database) == [connection.database]


def test_a_database_that_cannot_be_freed_stays_as_it_was(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the server that stands still takes no notice of being ended."""
    monkeypatch.setattr(replacing, "_ATTEMPTS", 1)
    target = engine(MARKS, "INSERT INTO marks VALUES (1, 'in service')")
    name = target.connection.database
    before = belongings(postgres_server, name)
    target.create_database(target.replacement_name())
    with postgres_server.connect(name) as session:
        os.kill(session.info.backend_pid, signal.SIGSTOP)
        try:
            with pytest.raises(Refused, match=f"'{name}'.*sessions \\(of postgres\\).*nothing was changed"):
                target.replace_with(target.replacement_name(), Cancellation())
        finally:
            os.kill(session.info.backend_pid, signal.SIGCONT)
    assert words(postgres_server, name) == ["in service"]
    assert belongings(postgres_server, name) == before
    target.replace_with(target.replacement_name(), Cancellation())


# Workers that take their time over a table are in a database for as long as a test needs them.
VACUUMED = (
    "autovacuum_vacuum_insert_threshold = 1, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
)


def test_an_owner_who_is_no_superuser_replaces_and_drops_a_database_that_is_being_vacuumed(
    postgres_lab: PostgresLab,
) -> None:
    def fill(database: str) -> None:
        server.run(
            f"CREATE TABLE large WITH ({VACUUMED}) AS SELECT repeat('x', 500) FROM generate_series(1, 30000)",
            database=database,
        )

    def wait_for_workers(*databases: str) -> None:
        question = "SELECT datname FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
        while not {(name,) for name in databases}.issubset(server.run(question)):
            time.sleep(0.1)

    with PostgresServer.start(options=["-c", "autovacuum_naptime=1s"]) as server:
        user, password = server.create_user("CREATEDB")
        name = server.create_database()
        server.run(f"ALTER DATABASE {name} OWNER TO {user}")
        target = PostgresEngine(server.connection(name, user=user, password=password), postgres_lab.options)
        replacement = target.replacement_name()
        target.create_database(replacement)
        fill(name)
        fill(replacement)
        wait_for_workers(name, replacement)
        assert target.replace_with(replacement, Cancellation()) == ()
        assert databases_like(server, name) == [name]

        target.create_database(replacement)
        fill(replacement)
        wait_for_workers(replacement)
        target.drop_database(replacement)
        assert databases_like(server, name) == [name]


@pytest.mark.parametrize("marked", [False, True])
def test_a_database_of_ours_that_was_replaced_goes_with_a_warning_and_a_persons_own_is_kept(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], marked: bool
) -> None:
    target = engine(MARKS, "INSERT INTO marks VALUES (1, 'in service')")
    dumped = dump_of(target)
    name = target.connection.database
    leftover = replacing.replaced_name(name)
    if marked:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(replacing, "_drop_replaced", lambda *_: [])
            target.replace_with(restored_beside(target, dumped), Cancellation())
        (warning,) = target.examine_target(dumped.manifest, EVERYTHING, replace=True).warnings
        assert f"'{leftover}'" in warning
        assert target.replace_with(restored_beside(target, dumped), Cancellation()) == ()
        assert databases_like(postgres_server, name) == [name]
        assert belongings(postgres_server, name)[0] == [("postgres", -1, True, None)]
        return
    postgres_server.run(f"CREATE DATABASE {leftover}")
    postgres_server.run(MARKS, "INSERT INTO marks VALUES (1, 'of a person')", database=leftover)
    with pytest.raises(Refused, match=f"'{leftover}'.*nothing was changed"):
        target.examine_target(dumped.manifest, EVERYTHING, replace=True)
    with pytest.raises(Refused, match=f"'{leftover}'.*nothing was changed"):
        target.replace_with(restored_beside(target, dumped), Cancellation())
    assert words(postgres_server, leftover) == ["of a person"]
    assert words(postgres_server, name) == ["in service"]


def test_long_names_get_replacements_of_their_own(postgres_lab: PostgresLab) -> None:
    names = {
        PostgresEngine(postgres_lab.connection(database), postgres_lab.options).replacement_name()
        for database in ("short", "é" * 31, "é" * 31 + "x", "a" * 63)
    }
    assert len(names) == 4
    assert "short__db_backup_restoring" in names
    assert all(len(name.encode()) <= 63 and name.endswith("__db_backup_restoring") for name in names)


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_the_servers_own_databases_are_not_replaced(postgres_lab: PostgresLab, database: str) -> None:
    target = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    with pytest.raises(Refused, match=f"'{database}'.*server's own"):
        target.examine_target(full_manifest(), EVERYTHING, replace=True)


def full_manifest(**overrides: Any) -> Manifest:
    server = ServerInfo(engine=EngineName.POSTGRES, flavour="PostgreSQL", version="15.20", encoding="UTF8")
    return make_manifest(**{"server": server, **overrides})


def test_what_would_be_lost_with_a_database_keeps_it_from_being_replaced(postgres_lab: PostgresLab) -> None:
    with PostgresServer.start(options=["-c", "wal_level=logical", "-c", "max_prepared_transactions=2"]) as server:
        database = server.create_database(MARKS)
        target = PostgresEngine(server.connection(database), postgres_lab.options)
        obstacles = {
            "prepared transactions: half done": (
                ["BEGIN", "INSERT INTO marks VALUES (1)", "PREPARE TRANSACTION 'half done'"],
                ["ROLLBACK PREPARED 'half done'"],
            ),
            "replication slots: listener": (
                ["SELECT pg_create_logical_replication_slot('listener', 'test_decoding')"],
                ["SELECT pg_drop_replication_slot('listener')"],
            ),
            "subscriptions: news": (
                [
                    "CREATE SUBSCRIPTION news CONNECTION 'dbname=nowhere' PUBLICATION p "
                    "WITH (connect = false, slot_name = NONE)"
                ],
                ["DROP SUBSCRIPTION news"],
            ),
        }
        for named, (make, remove) in obstacles.items():
            server.run(*make, database=database)
            with pytest.raises(Refused, match=named):
                target.examine_target(full_manifest(), EVERYTHING, replace=True)
            target.create_database(target.replacement_name())
            with pytest.raises(Refused, match=f"{named}.*nothing was changed"):
                target.replace_with(target.replacement_name(), Cancellation())
            target.drop_database(target.replacement_name())
            server.run(*remove, database=database)
        assert target.examine_target(full_manifest(), EVERYTHING, replace=True).occupancy is not None


def test_the_examination_tells_what_is_there(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    empty, filled = (
        engine("CREATE EXTENSION hstore"),
        engine(MARKS, "INSERT INTO marks VALUES (1)", "CREATE VIEW v AS TABLE marks"),
    )
    nothing = empty.examine_target(full_manifest(), EVERYTHING, replace=False).occupancy
    assert nothing is not None
    assert (nothing.objects, nothing.rows, nothing.examples, nothing.sessions) == (0, False, (), 0)

    with postgres_server.connect(filled.connection.database):
        found = filled.examine_target(full_manifest(), EVERYTHING, replace=True)
    assert found.occupancy is not None
    assert (found.occupancy.objects, found.occupancy.rows, found.occupancy.sessions) == (2, True, 1)
    assert found.occupancy.examples == ("public.marks", "public.v")
    assert (found.occupancy.size_bytes or 0) > 1_000_000
    assert found.server.version.startswith("15.")
    postgres_server.run("DELETE FROM marks", database=filled.connection.database)
    emptied = filled.examine_target(full_manifest(), EVERYTHING, replace=True).occupancy
    assert emptied is not None
    assert not emptied.rows


def test_a_server_that_cannot_take_the_backup_is_refused(engine: Callable[..., PostgresEngine]) -> None:
    target = engine()
    server = full_manifest().server
    missing = Inventory(objects=(DatabaseObject(kind="extension", name="no_such_extension"),))
    refusals = [
        (full_manifest(server=server.model_copy(update={"version": "16.1"})), SourceUnsupported, "16.1"),
        (full_manifest(server=server.model_copy(update={"flavour": "Other"})), SourceUnsupported, "made on Other"),
        (full_manifest(inventory=missing), LoadFailed, "no_such_extension"),
    ]
    for manifest, error, text in refusals:
        with pytest.raises(error, match=text):
            target.examine_target(manifest, EVERYTHING, replace=False)


def test_another_encoding_or_collation_is_warned_of(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, engine: Callable[..., PostgresEngine]
) -> None:
    dumped = dump_of(engine(MARKS))
    other = postgres_server.create_database(options="ENCODING 'LATIN1' LOCALE 'C'")
    target = PostgresEngine(postgres_lab.connection(other), postgres_lab.options)
    found = target.examine_target(dumped.manifest, EVERYTHING, replace=False)
    assert "has the encoding 'LATIN1', and the backup's has 'UTF8'" in found.warnings[0]
    assert target.load(dumped.read(), dumped.manifest, Cancellation()) == found.warnings
    postgres_lab.drop(other)


@pytest.mark.parametrize(
    ("encoding", "collation", "warned"),
    [("LATIN1", "C", False), ("UTF8", "C.UTF-8", False), ("LATIN1", "C.UTF-8", True), ("UTF8", "xx_XX", True)],
)
def test_a_locale_that_a_new_database_cannot_get_is_told_before_it_is_made(
    postgres_lab: PostgresLab, encoding: str, collation: str, warned: bool
) -> None:
    name = postgres_lab.fresh_name()
    server = full_manifest().server.model_copy(
        update={"encoding": encoding, "collation": collation, "character_type": collation}
    )
    target = PostgresEngine(postgres_lab.connection(name), postgres_lab.options)
    warnings = target.examine_target(full_manifest(server=server), EVERYTHING, replace=False).warnings
    assert [encoding in warning and collation in warning for warning in warnings] == [True] * warned
    assert not postgres_lab.exists(name)


def test_what_a_user_may_not_do_is_known_before_anything_is_changed(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    target = engine(MARKS)
    database = target.connection.database
    user, password = postgres_server.create_user()

    def refused(text: str, name: str = database, *, replace: bool) -> None:
        modest = PostgresEngine(postgres_server.connection(name, user=user, password=password), target.options)
        with pytest.raises(PrivilegeMissing, match=text):
            modest.examine_target(full_manifest(), EVERYTHING, replace=replace)

    refused("may not create anything", replace=False)
    refused("may not create a database", replace=True)
    refused("may not create a database", "not_there_at_all", replace=False)
    postgres_server.run(f"ALTER ROLE {user} CREATEDB")
    refused("may not replace this database", replace=True)
    roles = "Roles are not in the backup, and these own or may use something in it: no_such_role."
    with pytest.raises(PrivilegeMissing, match="may not make the roles no_such_role"):
        PostgresEngine(
            postgres_server.connection("not_there_at_all", user=user, password=password), target.options
        ).examine_target(full_manifest(warnings=(roles,)), LoadOptions(with_owners=True), replace=False)
    postgres_server.run(f"ALTER DATABASE {database} OWNER TO {user}")
    modest = PostgresEngine(postgres_server.connection(database, user=user, password=password), target.options)
    with postgres_server.connect(database):
        refused("may not end the sessions of postgres", replace=True)
        modest.create_database(modest.replacement_name())
        with pytest.raises(PrivilegeMissing):
            modest.replace_with(modest.replacement_name(), Cancellation())
        assert words(postgres_server, database) == []
    postgres_server.run(
        f"ALTER DATABASE {database} SET log_min_messages = 'error'", f"ALTER DATABASE {database} SET work_mem = '9MB'"
    )
    (warning,) = modest.replace_with(modest.replacement_name(), Cancellation())
    assert "log_min_messages" in warning
    assert "work_mem=9MB" in str(belongings(postgres_server, database))
    assert databases_like(postgres_server, database) == [database]


def test_a_check_reads_one_value_and_cannot_write(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    target = engine(
        MARKS,
        "INSERT INTO marks VALUES (1, '50%')",
        "CREATE FUNCTION sneak() RETURNS integer LANGUAGE sql AS 'DELETE FROM public.marks; SELECT 1'",
        "CREATE SEQUENCE tickets",
    )
    assert target.ask("SELECT count(*), 'more' FROM marks", Cancellation()) == 1
    assert target.ask("SELECT word FROM marks WHERE word LIKE '%\\%' -- why;", Cancellation()) == "50%"
    assert target.ask("SELECT 1 WHERE false;", Cancellation()) is None
    for query in (
        "DELETE FROM marks",
        "WITH gone AS (DELETE FROM marks RETURNING 1) SELECT count(*) FROM gone",
        "SELECT 1; DELETE FROM marks",
        "COMMIT; DELETE FROM marks",
        "SET TRANSACTION READ WRITE",
        "SELECT sneak()",
        "SELECT set_config('transaction_read_only', 'off', true), sneak()",
        "SELECT nextval('tickets')",
        "SELECT nonsense",
    ):
        with pytest.raises(SourceError):
            target.ask(query, Cancellation())
    assert words(postgres_server, target.connection.database) == ["50%"]


def test_statistics_are_refreshed(postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]) -> None:
    target = engine(MARKS, "INSERT INTO marks SELECT i FROM generate_series(1, 500) AS n (i)")
    target.refresh_statistics(Cancellation())
    question = "SELECT reltuples::integer FROM pg_class WHERE relname = 'marks'"
    assert postgres_server.run(question, database=target.connection.database) == [(500,)]


SHOP = (
    "CREATE TYPE state AS ENUM ('new', 'paid')",
    "CREATE SCHEMA sales",
    'CREATE TABLE sales."customers of" (id integer PRIMARY KEY)',
    "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
    "CREATE FUNCTION is_high(numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 100'",
    "CREATE SEQUENCE shared",
    "CREATE TABLE sales.orders (id serial PRIMARY KEY, number integer GENERATED ALWAYS AS IDENTITY, state state, "
    "price numeric CHECK (price >= 0), ticket bigint DEFAULT nextval('shared'), "
    'customer integer REFERENCES sales."customers of")',
    "CREATE TABLE sales.lines (order_id integer REFERENCES sales.orders, text text)",
    'INSERT INTO sales."customers of" VALUES (7)',
    "INSERT INTO sales.orders (state, price, customer) VALUES ('new', 1, 7), ('paid', 200, 7)",
    "INSERT INTO sales.lines VALUES (1, 'a'), (2, 'b')",
    "CREATE INDEX high_orders ON sales.orders (id) WHERE public.is_high(price)",
    "CREATE STATISTICS sales.together ON state, price FROM sales.orders",
    'CREATE TRIGGER "noting ON x" BEFORE INSERT OR UPDATE OF price, state ON sales.orders '
    "FOR EACH ROW EXECUTE FUNCTION note()",
    "CREATE RULE quiet AS ON DELETE TO sales.orders DO INSTEAD NOTHING",
    "ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY seen ON sales.orders USING (true)",
    "COMMENT ON COLUMN sales.orders.price IS 'net'",
    "COMMENT ON INDEX sales.high_orders IS 'dear'",
    "CREATE VIEW sales.sums AS SELECT sum(price) FROM sales.orders",
    "CREATE TABLE measures (at date PRIMARY KEY, value integer) PARTITION BY RANGE (at)",
    "CREATE TABLE measures_old PARTITION OF measures FOR VALUES FROM ('2000-01-01') TO ('2020-01-01')",
    "CREATE TABLE measures_rest PARTITION OF measures DEFAULT",
    "CREATE INDEX ON measures (value)",
    "INSERT INTO measures VALUES ('2010-01-01', 1), ('2026-01-01', 2)",
)


@pytest.mark.parametrize("shape", ["custom", "tar", "directory", "in pieces"])
@pytest.mark.parametrize("into", ["a new database", "the damaged database"])
def test_chosen_tables_come_back_with_all_that_is_their_own(
    postgres_server: PostgresServer,
    postgres_lab: PostgresLab,
    engine: Callable[..., PostgresEngine],
    shape: str,
    into: str,
) -> None:
    in_pieces = shape == "in pieces"
    source = engine(*SHOP, dump_format="custom" if in_pieces else shape)
    dumped = dump_of(source, jobs=3 if in_pieces else 1)
    chosen = LoadOptions(tables=("sales.orders", "sales.lines", "public.measures"))
    expected = objects_of(postgres_server, source.connection.database)
    if into == "a new database":
        target = source.create_database(source.replacement_name())
    else:
        target = source
        drop = "DROP TABLE sales.lines, sales.orders, measures CASCADE"
        postgres_server.run(drop, "SELECT setval('shared', 99)", database=source.connection.database)
    warnings = target.load(dumped.read(), dumped.manifest, Cancellation(), chosen)

    found = target.take_inventory(dumped.manifest, Cancellation())
    wanted = {table.name: table for table in dumped.manifest.inventory.tables if table.name in chosen.tables}
    assert {table.name: table for table in found.tables if table.name in chosen.tables} == wanted
    name = target.connection.database
    assert objects_of(postgres_server, name) == [thing for thing in expected if "customers" not in str(thing)]
    assert "sales.orders orders_customer_fkey to sales.customers of" in warnings[0]
    assert postgres_server.run(
        "SELECT nextval('sales.orders_id_seq'), nextval('sales.orders_number_seq')", database=name
    ) == [(3, 3)]
    along = " ".join(warnings[1:])
    assert ("type public.state" in along) == (into == "a new database")
    shared = postgres_server.run("SELECT last_value FROM shared", database=name)
    assert shared == [(2,)] if into == "a new database" else [(99,)]
    with pytest.raises(TargetNotEmpty, match=r"sales\.orders"):
        target.load(dumped.read(), dumped.manifest, Cancellation(), chosen)


def objects_of(server: PostgresServer, database: str) -> list[tuple[str, ...]]:
    """What belongs to the three tables."""
    return server.run(
        """SELECT 'index', i::text, pg_get_indexdef(i) FROM (SELECT indexrelid::regclass FROM pg_index
            WHERE indrelid::regclass::text ~ 'orders|lines|measures') AS n (i)
        UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid::regclass::text ~ 'orders|lines|measures'
        UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT 'rule', tablename, definition FROM pg_rules WHERE schemaname = 'sales'
        UNION ALL SELECT 'policy', polname, polrelid::regclass::text FROM pg_policy
        UNION ALL SELECT 'statistics', stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
        UNION ALL SELECT 'comment', objoid::regclass::text, description FROM pg_description
            WHERE classoid = 'pg_class'::regclass AND objoid >= 16384
        UNION ALL SELECT 'default', adrelid::regclass::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef
        UNION ALL SELECT 'security', relname::text, relrowsecurity::text FROM pg_class WHERE relrowsecurity
        ORDER BY 1, 2, 3""",
        database=database,
    )


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_was_said_of_a_tables_own_things_comes_back_too(
    postgres_lab: PostgresLab, engine: Callable[..., PostgresEngine], jobs: int
) -> None:
    source = engine(
        "CREATE DOMAIN positive AS integer",
        "CREATE TABLE measures (value positive, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE measures_rest PARTITION OF measures DEFAULT",
        "INSERT INTO measures VALUES (-1, '2026-01-01')",
        "CREATE FUNCTION is_positive(integer) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 0'",
        "ALTER DOMAIN positive ADD CONSTRAINT is_so CHECK (is_positive(VALUE)) NOT VALID",
        "COMMENT ON CONSTRAINT is_so ON DOMAIN positive IS 'of late'",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$",
        "CREATE TRIGGER noting BEFORE INSERT ON measures FOR EACH ROW EXECUTE FUNCTION note()",
        "ALTER TABLE measures_rest DISABLE TRIGGER noting",
        "CREATE STATISTICS together ON value, at FROM measures",
        "ALTER STATISTICS together SET STATISTICS 55",
        "COMMENT ON STATISTICS together IS 'fine'",
    )
    dumped = dump_of(source, jobs=jobs)
    target = source.create_database(source.replacement_name())
    target.load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=("public.measures",)))
    assert postgres_lab.stock_dump(target.connection.database) == postgres_lab.stock_dump(source.connection.database)


@pytest.mark.parametrize("jobs", [1, 3])
def test_everything_that_belongs_to_a_table_is_found_whatever_its_name(postgres_lab: PostgresLab, jobs: int) -> None:
    database, name = postgres_lab.create_nasty(), postgres_lab.fresh_name()
    source = postgres_lab.engine(database)
    dumped = dump_of(source, jobs=jobs)
    tables = tuple(table.name for table in dumped.manifest.inventory.tables)
    target = source.create_database(name)
    chosen = LoadOptions(tables=tuple(table for table in tables if table != LARGE_OBJECTS))
    published, left_behind, along = target.load(dumped.read(), dumped.manifest, Cancellation(), chosen)
    assert "public.texts to news" in published
    assert "public.gathered, view public.only_small, view public.seen." in left_behind
    assert "extension hstore" in along
    kinds = {"table", "partition", "index", "constraint", "trigger", "rule", "policy", "statistics", "enum"}
    missing = compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation()))
    assert {item.name for item in missing if item.kind in kinds} == {
        LARGE_OBJECTS,
        "public.gathered_n",  # of a materialized view
        "public.seen.ignore",  # of a view
    }
    with pytest.raises(UsageError):
        target.examine_target(dumped.manifest, LoadOptions(tables=(LARGE_OBJECTS,)), replace=False)
    postgres_lab.drop(name)
    postgres_lab.drop(database)


def test_a_load_of_tables_that_fails_at_its_very_end_leaves_nothing(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    source = engine(*SHOP)
    dumped = dump_of(source, jobs=3)
    postgres_server.run("DROP TABLE measures", database=source.connection.database)

    def damaged(plain: bytes) -> Iterator[bytes]:
        yield from blocks(plain)
        raise ArtefactCorrupt("The hash is another one.")

    *whole, last = dumped.streams
    streams = [*map(blocks, whole), damaged(last)]
    with pytest.raises(ArtefactCorrupt):
        source.load(streams, dumped.manifest, Cancellation(), LoadOptions(tables=("public.measures",)))
    relations = "SELECT relname FROM pg_class WHERE relname ~ 'measures'"
    assert postgres_server.run(relations, database=source.connection.database) == []


KILLED_LOAD = """
import os, signal, sys, time
from pathlib import Path
from db_backup.engines.base import EngineOptions, LoadOptions
from db_backup.engines.postgres import PostgresEngine
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation

_, host, port, database, folder, *tables = sys.argv
manifest = Manifest.from_json((Path(folder) / "manifest.json").read_bytes(), source="the test")
plain = (Path(folder) / "dump").read_bytes()

def content():
    for start in range(0, len(plain), 10_000):
        yield plain[start : start + 10_000]
    time.sleep(0.5)  # psql has read all that it was given
    os.kill(os.getpid(), signal.SIGKILL)

connection = ConnectionInfo("c", EngineName.POSTGRES, host, int(port), "postgres", sys.stdin.read(), database)
engine = PostgresEngine(connection, EngineOptions(Path("/tmp"), Path("/tmp")))
engine.load([content()], manifest, Cancellation(), LoadOptions(tables=tuple(tables)))
"""


@pytest.mark.parametrize("dump_format", ["plain", "custom"])
def test_a_kill_in_mid_load_leaves_an_empty_database_as_it_was(
    postgres_server: PostgresServer,
    postgres_lab: PostgresLab,
    engine: Callable[..., PostgresEngine],
    tmp_path: Path,
    dump_format: str,
) -> None:
    source = engine(
        MARKS,
        "INSERT INTO marks SELECT i, repeat('x', 99) FROM generate_series(1, 999) AS n (i)",
        dump_format=dump_format,
    )
    dumped = dump_of(source)
    (tmp_path / "dump").write_bytes(dumped.plain)
    (tmp_path / "manifest.json").write_bytes(dumped.manifest.to_json())
    target = source.create_database(source.replacement_name()).connection
    tables = [] if dump_format == "plain" else ["public.marks"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_LOAD, target.host, str(target.port), target.database, str(tmp_path), *tables],
        input=target.password,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    sessions = f"SELECT FROM pg_stat_activity WHERE datname = '{target.database}'"
    while postgres_server.run(sessions):
        time.sleep(0.01)
    assert postgres_lab.counts(target.database) == {}


def test_a_table_that_others_are_built_on_must_be_chosen_or_there(engine: Callable[..., PostgresEngine]) -> None:
    source = engine("CREATE TABLE parent (a integer)", "CREATE TABLE child () INHERITS (parent)")
    dumped = dump_of(source)
    target = source.create_database(source.replacement_name())
    with pytest.raises(LoadFailed, match=r"table public\.parent"):
        target.load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=("public.child",)))
    both = LoadOptions(tables=("public.child", "public.parent"))
    target.load(dumped.read(), dumped.manifest, Cancellation(), both)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_tables_that_cannot_be_had_are_refused_before_anything_is_loaded(engine: Callable[..., PostgresEngine]) -> None:
    target = engine(MARKS)

    def refused(error: type[Exception], text: str, tables: tuple[str, ...], **fields: Any) -> None:
        with pytest.raises(error, match=text):
            target.examine_target(full_manifest(**fields), LoadOptions(tables=tables), replace=False)

    refused(UsageError, r"no table 'public.order'.*mean public\.orders", ("public.order",))
    refused(UsageError, "no table 'orders'.*mean public\\.orders", ("orders",))
    refused(FeatureNotAvailable, "plain SQL script", ("public.orders",), format="pg_dump plain")
    structure = {"type": BackupType.STRUCTURE, "format": "pg_dump custom, structure"}
    refused(FeatureNotAvailable, "structure backup", ("public.orders",), **structure)
    marks = Inventory(tables=(full_manifest().inventory.tables[0].model_copy(update={"name": "public.marks"}),))
    refused(TargetNotEmpty, r"public\.marks already", ("public.marks",), inventory=marks)


def test_whose_the_restored_things_will_be_is_told_also_where_grants_come_along(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    owner, _ = postgres_server.create_user()
    made = engine(MARKS, f"ALTER TABLE marks OWNER TO {owner}")
    options = dataclasses.replace(made.options, postgres_no_owner=True, postgres_no_privileges=False)
    target = PostgresEngine(made.connection, options)
    (warning,) = target.examine_target(dump_of(target).manifest, EVERYTHING, replace=True).warnings
    assert "will belong to 'postgres'" in warning
    assert owner in warning


@pytest.mark.parametrize("jobs", [1, 3])
def test_owners_and_grants_come_back_and_missing_roles_are_made_without_login(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], jobs: int
) -> None:
    owner, reader, policy, default = (postgres_server.create_user()[0] for _ in range(4))
    source = engine(
        MARKS,
        "CREATE TABLE other (a integer)",
        f"ALTER TABLE marks OWNER TO {owner}",
        f"GRANT SELECT ON marks TO {reader} WITH GRANT OPTION",
        f"SET ROLE {reader}; GRANT SELECT ON marks TO PUBLIC; RESET ROLE",
        f"CREATE POLICY p ON marks TO {policy}, {owner} USING (true)",
        f"ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO {default}",
    )
    dumped = dump_of(source, jobs=jobs)
    question = (
        "SELECT relname, pg_get_userbyid(relowner), relacl::text FROM pg_class WHERE relname IN ('marks', 'other')"
    )
    expected = sorted(postgres_server.run(question, database=source.connection.database))
    policies = postgres_server.run("SELECT roles::text FROM pg_policies", database=source.connection.database)
    postgres_server.run(
        f"DROP OWNED BY {policy}, {default}",
        "DROP TABLE marks",
        f"DROP ROLE {policy}, {default}",
        database=source.connection.database,
    )
    target = source.create_database(source.replacement_name())
    wanted = LoadOptions(with_owners=True)
    without = target.examine_target(dumped.manifest, EVERYTHING, replace=False)
    assert any("belong to 'postgres'" in warning and owner in warning for warning in without.warnings)
    found = target.examine_target(dumped.manifest, wanted, replace=False)
    assert any(policy in warning and default in warning and owner not in warning for warning in found.warnings)

    warnings = target.load(dumped.read(), dumped.manifest, Cancellation(), wanted)
    assert any(policy in warning and default in warning and owner not in warning for warning in warnings)
    assert sorted(postgres_server.run(question, database=target.connection.database)) == expected
    assert postgres_server.run("SELECT roles::text FROM pg_policies", database=target.connection.database) == policies
    logins = postgres_server.run(f"SELECT rolcanlogin FROM pg_roles WHERE rolname IN ('{policy}', '{default}')")
    assert logins == [(False,), (False,)]


def test_a_role_that_only_a_policy_names_is_told_with_the_way_out(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine]
) -> None:
    role, _ = postgres_server.create_user()
    source = engine(MARKS, f"CREATE POLICY p ON marks TO {role} USING (true)")
    dumped = dump_of(source)
    postgres_server.run(f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=source.connection.database)
    target = source.create_database(source.replacement_name())
    with pytest.raises(LoadFailed, match=f'role "{role}" does not exist.*--with-owners'):
        target.load(dumped.read(), dumped.manifest, Cancellation())
    target.load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(with_owners=True))


@pytest.mark.parametrize("dump_format", ["plain", "custom"])
def test_owners_come_back_out_of_a_script_and_with_chosen_tables(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], dump_format: str
) -> None:
    owner, _ = postgres_server.create_user()
    made = engine(MARKS, f"ALTER TABLE marks OWNER TO {owner}", dump_format=dump_format)
    options = dataclasses.replace(made.options, postgres_no_owner=False, postgres_no_privileges=False)
    dumped = dump_of(PostgresEngine(made.connection, options))
    postgres_server.run(f"DROP OWNED BY {owner}", f"DROP ROLE {owner}", database=made.connection.database)
    target = made.create_database(made.replacement_name())
    wanted = LoadOptions(tables=() if dump_format == "plain" else ("public.marks",), with_owners=True)
    examined = target.examine_target(dumped.manifest, wanted, replace=False).warnings
    assert any("plain dump names owners" in warning for warning in examined) == (dump_format == "plain")
    (warning,) = target.load(dumped.read(), dumped.manifest, Cancellation(), wanted)
    assert f"made without login: {owner}" in warning
    found = postgres_server.run(
        "SELECT tableowner FROM pg_tables WHERE tablename = 'marks'", database=target.connection.database
    )
    assert found == [(owner,)]


@pytest.mark.parametrize("tables", [(), ("public.marks",)])
def test_roles_that_stay_behind_a_failed_load_are_named(
    postgres_server: PostgresServer, engine: Callable[..., PostgresEngine], tables: tuple[str, ...]
) -> None:
    owner, _ = postgres_server.create_user()
    source = engine(MARKS, f"ALTER TABLE marks OWNER TO {owner}")
    dumped = dump_of(source)
    postgres_server.run(f"DROP OWNED BY {owner}", f"DROP ROLE {owner}", database=source.connection.database)
    target = source.create_database(source.replacement_name())

    def damaged() -> Iterator[bytes]:
        yield from blocks(dumped.plain)
        raise ArtefactCorrupt("The hash is another one.")

    wanted = LoadOptions(tables=tables, with_owners=True)
    with pytest.raises(ArtefactCorrupt) as caught:
        target.load([damaged()], dumped.manifest, Cancellation(), wanted)
    assert postgres_server.run(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{owner}'") == [(False,)]
    assert [owner in note for note in caught.value.__notes__] == [True]


@pytest.mark.parametrize("in_pieces", [False, True])
def test_several_jobs_load_a_staged_archive_whole_and_leave_no_file(postgres_lab: PostgresLab, in_pieces: bool) -> None:
    database = postgres_lab.create_sample()
    source = postgres_lab.engine(database)
    dumped = dump_of(source, jobs=3 if in_pieces else 1)
    target = source.create_database(postgres_lab.fresh_name())
    assert target.load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(jobs=2)) == ()
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    assert list(postgres_lab.options.staging_path.iterdir()) == []
    postgres_lab.drop(target.connection.database)
    postgres_lab.drop(database)


def test_several_jobs_load_nothing_before_the_hash_is_checked(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, engine: Callable[..., PostgresEngine]
) -> None:
    source = engine(MARKS)
    dumped = dump_of(source)
    target = source.create_database(source.replacement_name())

    def damaged() -> Iterator[bytes]:
        yield dumped.plain
        raise ArtefactCorrupt("The hash is another one.")

    with pytest.raises(ArtefactCorrupt):
        target.load([damaged()], dumped.manifest, Cancellation(), LoadOptions(jobs=2))
    assert postgres_lab.counts(target.connection.database) == {}
    assert list(postgres_lab.options.staging_path.iterdir()) == []

    huge = dumped.manifest.parts[0].model_copy(update={"plain_bytes": 1 << 60})
    manifest = dumped.manifest.model_copy(update={"parts": (huge,)})
    with pytest.raises(StorageFull, match="which several jobs load from a file"):
        target.examine_target(manifest, LoadOptions(jobs=2), replace=False)


def test_a_parallel_load_that_fails_says_that_the_database_is_incomplete(
    postgres_lab: PostgresLab, engine: Callable[..., PostgresEngine]
) -> None:
    source = engine(MARKS, "CREATE TABLE stamps (word text)", "INSERT INTO stamps VALUES ('a'), ('a')")
    dumped = dump_of(source)
    unique = dumped.plain.replace(
        b"ADD CONSTRAINT marks_pkey PRIMARY KEY (id)", b"ADD CONSTRAINT marks_pkey PRIMARY KEY (xx)"
    )
    target = source.create_database(source.replacement_name())
    with pytest.raises(LoadFailed, match=r"pg_restore could not load.*database is incomplete"):
        target.load([[unique]], dumped.manifest, Cancellation(), LoadOptions(jobs=2))
    assert "public.stamps" in postgres_lab.counts(target.connection.database)
