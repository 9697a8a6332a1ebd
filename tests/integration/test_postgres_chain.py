"""Chains of a PostgreSQL server: writers beside them, what breaks them, whom they refuse, what is rebuilt of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db_backup.engines import engine_for, scratch_home
from db_backup.engines.base import Dump, DumpRequest, DumpSummary, EngineOptions
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain import PostgresChain, source, tablespaces
from db_backup.engines.postgres.chain.position import Position, parse_lsn
from db_backup.engines.postgres.chain.wal_records import WalRecords
from db_backup.engines.postgres.session import connected
from db_backup.engines.scratch_home import unprivileged_user
from db_backup.errors import (
    AccessDenied,
    ArtefactCorrupt,
    ChainBroken,
    DumpFailed,
    Interrupted,
    LoadFailed,
    PointOutOfReach,
    PrivilegeMissing,
    ScratchUnavailable,
    SourceError,
    SourceUnsupported,
    StorageFull,
)
from db_backup.manifest import Part, ServerInfo
from db_backup.model import BackupType, Compression, ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from support.chains import ENTRY, Taken, links, take_full, take_increment
from support.disks import Disk
from support.dumps import dump_of
from support.ports import free_port
from support.postgres_server import PostgresServer, missing_binaries
from support.tars import tar_members

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(missing_binaries()), reason=missing_binaries())]

_FULL = DumpRequest(ENTRY)
_INCREMENT = DumpRequest(ENTRY, BackupType.INCREMENTAL)
_NOWHERE = ConnectionInfo(conn_id="", engine=EngineName.POSTGRES)
_LOGGED_AHEAD = 32  # values of a sequence that one record of WAL pays for: SEQ_LOG_VALS, commands/sequence.c


@pytest.fixture(scope="module")
def options() -> Iterator[EngineOptions]:
    with tempfile.TemporaryDirectory(prefix="chain-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield EngineOptions(staging_path=folder, scratch_path=folder)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer.start() as running:
        running.run("ALTER SYSTEM SET max_prepared_transactions = 5")  # which copies of it must have, too
        running.stop()
        running.start_again()
        yield running


@pytest.fixture
def chain(server: PostgresServer, options: EngineOptions) -> Iterator[PostgresChain]:
    """Without a chain yet; what a test leaves of one goes with it."""
    yield PostgresChain(server.connection("postgres"), options)
    server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")


def published_full(chain: PostgresChain) -> Taken:
    full = take_full(chain)
    chain.published(full.manifest)
    return full


def drain(dump: Dump) -> DumpSummary:
    """Read what is left of it, as the create job does."""
    (stream,) = dump.streams
    while block := os.read(stream.fileno(), 1 << 20):
        stream.observe(memoryview(block))
    return dump.complete()


def end_of(taken: Taken) -> Position:
    return Position.parse(taken.ends_at)


def slots(server: PostgresServer) -> dict[str, int]:
    """The LSN from which on each keeps WAL."""
    return {
        name: parse_lsn(lsn)
        for name, lsn in server.run("SELECT slot_name, restart_lsn::text FROM pg_replication_slots")
    }


def fill_a_segment(server: PostgresServer) -> None:
    server.run("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000))", "SELECT pg_switch_wal()")


@contextmanager
def looking_into(connection: ConnectionInfo, database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        host=connection.host, port=connection.port, user=connection.login, dbname=database, autocommit=True
    ) as link:
        yield link


# Writers beside it


@dataclass(frozen=True)
class Truth:
    """Every table of both databases by its name: rows, and a sum over their hashes; where sequences stand."""

    lsn: str
    time: datetime
    tables: Mapping[str, tuple[int, int]]
    sequences: Mapping[str, int]


_TABLES = """SELECT n.nspname, c.relname, c.relpersistence FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2"""
_DIGEST = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::numeric FROM {} t"


def contents(link: psycopg.Connection[Any]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Of one database; unlogged tables count as empty, which they are in what is rebuilt."""
    tables = {}
    for schema, name, persistence in link.execute(_TABLES).fetchall():
        digest = link.execute(_DIGEST.format(f'"{schema}"."{name}"')).fetchone()
        assert digest is not None
        tables[f"{link.info.dbname}.{schema}.{name}"] = (0, 0) if persistence == "u" else (digest[0], int(digest[1]))
    sequences = link.execute("SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences").fetchall()
    return tables, {f"{link.info.dbname}.{name}": value for name, value in sequences}


class Writers:
    """Three of them, in two databases, each in a transaction of its own at any moment; ``paused`` stops all between."""

    def __init__(self, server: PostgresServer, *databases: str) -> None:
        self.server = server
        self.databases = databases
        self.failures: list[BaseException] = []
        self._locks = [threading.Lock() for _ in range(3)]
        self._stopped = threading.Event()
        works: tuple[Callable[[random.Random, int], None], ...] = (self._rows, self._odd_rows, self._definitions)
        self._threads = [
            threading.Thread(target=self._run, args=(lock, work, seed))
            for seed, (lock, work) in enumerate(zip(self._locks, works, strict=True))
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in self._threads:
                thread.join()
        assert self.failures == []

    @contextmanager
    def paused(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            yield

    def truth(self) -> Truth:
        tables: dict[str, tuple[int, int]] = {}
        sequences: dict[str, int] = {}
        with self.paused():
            for database in self.databases:
                with self.server.connect(database) as link:
                    found = contents(link)
                    tables |= found[0]
                    sequences |= found[1]
            ((lsn, moment),) = self.server.run("SELECT pg_current_wal_insert_lsn()::text, clock_timestamp()")
        return Truth(lsn, moment, tables, sequences)

    def _run(self, lock: threading.Lock, work: Callable[[random.Random, int], None], seed: int) -> None:
        chance = random.Random(seed)
        number = 0
        try:
            while not self._stopped.is_set():
                number += 1
                with lock:
                    work(chance, number)
                time.sleep(0.002)
        except BaseException as error:  # noqa: BLE001 - the test asserts that there was none
            self.failures.append(error)

    def _rows(self, chance: random.Random, number: int) -> None:
        with self.server.connect(self.databases[0]) as link, link.transaction():
            link.execute("INSERT INTO orders (body) SELECT repeat('x', %s) FROM generate_series(1, 20)", [number % 300])
            link.execute("UPDATE orders SET body = body || 'y' WHERE id %% 7 = %s", [chance.randrange(7)])
            link.execute("DELETE FROM orders WHERE id %% 50 = %s", [chance.randrange(50)])
            if number % 5 == 0:
                raise psycopg.Rollback

    def _odd_rows(self, chance: random.Random, number: int) -> None:
        with self.server.connect(self.databases[1]) as link, link.transaction():
            link.execute("CREATE TEMP TABLE passing ON COMMIT DROP AS SELECT generate_series(1, 50) AS id")
            link.execute("INSERT INTO cache SELECT id, 'never in the WAL' FROM passing")
            link.execute("SELECT nextval('tickets') FROM passing")
            link.execute("INSERT INTO ledger SELECT nextval('tickets'), md5(id::text) FROM passing")
            if number % 10 == 0:
                link.execute("TRUNCATE ledger")

    def _definitions(self, chance: random.Random, number: int) -> None:
        with self.server.connect(chance.choice(self.databases)) as link, link.transaction():
            link.execute(f"CREATE TABLE made_{number} (id serial PRIMARY KEY, word text)")
            link.execute(f"INSERT INTO made_{number} (word) SELECT 'w' || g FROM generate_series(1, 30) g")
            link.execute(f"ALTER TABLE made_{number} ADD COLUMN extra int DEFAULT {number}")
            if number % 3 == 0:
                link.execute(f"DROP TABLE made_{number}")
            elif number % 3 == 1:
                link.execute(f"ALTER TABLE made_{number} RENAME TO kept_{number}")


def test_with_three_writers_every_recorded_moment_is_rebuilt_table_by_table(
    server: PostgresServer, chain: PostgresChain, options: EngineOptions
) -> None:
    shop = server.create_database("CREATE TABLE orders (id bigserial PRIMARY KEY, body text)")
    books = server.create_database(
        "CREATE SEQUENCE tickets",
        "CREATE UNLOGGED TABLE cache (id int, t text)",
        "CREATE TABLE ledger (id int, t text)",
    )
    chance = random.Random(5)
    writers = Writers(server, shop, books)
    taken: list[Taken] = []
    truths: list[Truth] = []
    with writers.running():
        time.sleep(0.3)
        taken.append(published_full(chain))
        for number in range(4):
            time.sleep(chance.uniform(0.1, 0.4))
            truths.append(writers.truth())
            time.sleep(chance.uniform(0.1, 0.4))
            if number == 2:
                server.run("SELECT pg_switch_wal()")  # as an archive_timeout does it
            taken.append(take_increment(chain, taken[-1]))
            chain.published(taken[-1].manifest)
        truths.append(writers.truth())
    taken.append(take_increment(chain, taken[-1]))
    assert any("come back empty" in warning for warning in taken[0].manifest.warnings)
    rebuilding = PostgresChain(_NOWHERE, options)
    for number, truth in enumerate(truths):
        point = Point(lsn=truth.lsn) if number % 2 else Point(time=truth.time)
        with rebuilding.open_rebuilt(links(taken), point, Cancellation()) as rebuilt:
            tables: dict[str, tuple[int, int]] = {}
            sequences: dict[str, int] = {}
            for database in (shop, books):
                with looking_into(rebuilt.connection, database) as link:
                    found = contents(link)
                    tables |= found[0]
                    sequences |= found[1]
            assert tables == truth.tables, point
            assert sequences.keys() == truth.sequences.keys()
            for name, value in truth.sequences.items():
                assert value <= sequences[name]
                # The next commit ends the replay to a time: sequences that were asked before it have moved on.
                assert point.lsn is None or sequences[name] <= value + _LOGGED_AHEAD
            assert rebuilt.time <= truth.time
            if number == 0:  # what a restore takes out of it
                connection = dataclasses.replace(rebuilt.connection, database=shop)
                dumped = dump_of(engine_for(connection, options)).manifest.inventory
                assert {table.name: table.rows for table in dumped.tables} == {
                    name.partition(".")[2]: rows for name, (rows, _) in truth.tables.items() if name.startswith(shop)
                }


# What it holds


def test_the_pieces_of_increments_are_the_servers_own_segments_byte_for_byte(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)
    first = take_increment(chain, full)
    fill_a_segment(server)
    fill_a_segment(server)
    second = take_increment(chain, first)
    folder = server.folder / "data" / "pg_wal"
    compared = 0
    for taken in (first, second):
        for name, data in tar_members(taken.streams["main"]).items():
            segment, _, offset = name.partition(".")
            start = int(offset, 16)
            assert (folder / segment).read_bytes()[start : start + len(data)] == data
            compared += len(data)
    assert compared == end_of(second).lsn - end_of(full).lsn
    assert compared > end_of(full).segment_bytes


def test_commits_that_do_not_wait_for_the_disk_are_in_the_next_increment_and_open_ones_do_not_hold_it_up(
    server: PostgresServer, chain: PostgresChain
) -> None:
    database = server.create_database("CREATE TABLE t (x text)")
    full = published_full(chain)
    with server.connect(database) as lazy, server.connect(database, autocommit=False) as unfinished:
        lazy.execute("SET synchronous_commit = off")
        lazy.execute("INSERT INTO t VALUES ('committed')")
        unfinished.execute("INSERT INTO t VALUES ('not committed')")
        ((written,),) = server.run("SELECT pg_current_wal_insert_lsn()::text")
        increment = take_increment(chain, full)
    assert end_of(increment).lsn >= parse_lsn(written)


def test_on_a_quiet_server_an_increment_is_empty_and_moves_the_recovery_point(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)
    server.run("CHECKPOINT")
    busy = take_increment(chain, full)
    empty = take_increment(chain, busy)
    assert empty.ends_at == busy.ends_at
    assert tar_members(empty.streams["main"]) == {}
    assert empty.manifest.recovery_point > busy.manifest.recovery_point


def test_a_clock_that_went_back_is_told_of(chain: PostgresChain) -> None:
    full = published_full(chain)
    later = full.manifest.model_copy(update={"recovery_point": full.manifest.recovery_point + timedelta(hours=1)})
    increment = take_increment(chain, Taken(later, full.streams))
    assert any("clock went back" in warning for warning in increment.manifest.warnings)


def test_what_was_prepared_and_not_committed_is_not_in_what_is_rebuilt_and_holds_nothing_up(
    server: PostgresServer, chain: PostgresChain
) -> None:
    database = server.create_database("CREATE TABLE t (x int)")
    with server.connect(database, autocommit=False) as link:
        link.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        link.execute("INSERT INTO t VALUES (1)")
        link.execute("PREPARE TRANSACTION 'half'")
        link.commit()
    try:
        full = published_full(chain)
    finally:
        server.run("ROLLBACK PREPARED 'half'", database=database)
    with (
        chain.open_rebuilt(links([full]), Point(), Cancellation()) as rebuilt,
        looking_into(rebuilt.connection, database) as link,
    ):
        assert link.execute("SELECT count(*) FROM t").fetchone() == (0,)
        assert any("prepared and not committed" in warning for warning in rebuilt.warnings)


def test_roles_settings_and_libraries_of_the_source_do_not_stand_in_the_way_of_rebuilding(
    options: EngineOptions,
) -> None:
    with PostgresServer.start() as hardened:
        database = hardened.create_database(
            "CREATE TABLE t AS SELECT 1 AS x",
            # as if it came with something that is not installed here
            "UPDATE pg_extension SET extname = 'nowhere' WHERE extname = 'plpgsql'",
        )
        hardened.run(
            "CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'kept'",
            f"ALTER DATABASE {database} SET default_transaction_read_only = on",
            "ALTER DATABASE template1 SET default_transaction_read_only = on",
            "ALTER DATABASE template1 ALLOW_CONNECTIONS false",
            "ALTER SYSTEM SET shared_preload_libraries = 'nowhere_to_be_found'",
            "ALTER SYSTEM SET listen_addresses = '*'",
            "ALTER SYSTEM SET archive_mode = 'always'",
            "ALTER ROLE postgres NOLOGIN",
        )
        connection = hardened.connection("postgres", user="keeper", password="kept")
        full = take_full(PostgresChain(connection, options))
    rebuilding = PostgresChain(_NOWHERE, options)
    with (
        rebuilding.open_rebuilt(links([full]), Point(), Cancellation()) as rebuilt,
        looking_into(rebuilt.connection, database) as link,
    ):
        assert link.execute("SELECT x FROM t").fetchone() == (1,)
        assert link.execute("SHOW listen_addresses").fetchone() == ("",)
        assert link.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        assert any("not installed on this machine" in warning for warning in rebuilt.warnings)


def test_a_database_that_was_dropped_is_there_at_any_moment_before_also_where_nothing_else_happened_since(
    options: EngineOptions,
) -> None:
    with PostgresServer.start() as quiet:  # in which nobody else commits
        chain = PostgresChain(quiet.connection("postgres"), options)
        kept = quiet.create_database("CREATE TABLE t AS SELECT 1 AS x")
        full = published_full(chain)
        first = take_increment(chain, full)  # with nothing in it
        made = quiet.create_database("CREATE TABLE t AS SELECT 2 AS x")
        ((before,),) = quiet.run("SELECT clock_timestamp()")
        quiet.run(f"DROP DATABASE {made}")
        ((between,),) = quiet.run("SELECT clock_timestamp()")
        quiet.run(f"DROP DATABASE {kept}")
        second = take_increment(chain, first)
    chained = links([full, first, second])
    moments = (
        (full.manifest.recovery_point, {kept: 1}),
        (first.manifest.recovery_point, {kept: 1}),
        (before, {kept: 1, made: 2}),
        (between, {kept: 1}),
        (second.manifest.recovery_point, {}),
    )
    for moment, databases in moments:
        with chain.open_rebuilt(chained, Point(time=moment), Cancellation()) as rebuilt:
            assert set(rebuilt.databases) == {"postgres", *databases}, moment
            assert rebuilt.warnings == ()
            assert rebuilt.time <= moment
            for database, value in databases.items():
                with looking_into(rebuilt.connection, database) as link:
                    assert link.execute("SELECT x FROM t").fetchone() == (value,)


def test_a_time_falls_between_transactions_that_were_prepared_and_ended_later(
    server: PostgresServer, chain: PostgresChain
) -> None:
    database = server.create_database("CREATE TABLE t (x int)")
    full = published_full(chain)
    moments = []
    with server.connect(database) as link:
        for number, end in enumerate(("COMMIT", "ROLLBACK", "COMMIT")):
            link.execute("BEGIN")
            link.execute("INSERT INTO t VALUES (%s)", [number])
            link.execute(f"PREPARE TRANSACTION 'number {number}'")
            moments.append(
                (server.run("SELECT clock_timestamp()")[0][0], server.run("SELECT x FROM t", database=database))
            )
            link.execute(f"{end} PREPARED 'number {number}'")
            moments.append(
                (server.run("SELECT clock_timestamp()")[0][0], server.run("SELECT x FROM t", database=database))
            )
    chained = links([full, take_increment(chain, full)])
    assert [len(seen) for _, seen in moments] == [0, 1, 1, 1, 1, 2]
    for moment, seen in (moments[0], *moments[-2:]):
        with (
            chain.open_rebuilt(chained, Point(time=moment), Cancellation()) as rebuilt,
            looking_into(rebuilt.connection, database) as link,
        ):
            assert link.execute("SELECT x FROM t").fetchall() == seen, moment
            assert rebuilt.time <= moment


def test_damage_in_the_middle_of_the_wal_is_no_end_of_the_chain(server: PostgresServer, chain: PostgresChain) -> None:
    """PostgreSQL itself takes it for one."""
    database = server.create_database("CREATE TABLE t (x text)")
    full = published_full(chain)
    server.run("INSERT INTO t SELECT 'needle' || g FROM generate_series(1, 20) g", database=database)
    increment = take_increment(chain, full)
    plain = bytearray(increment.streams["main"])
    plain[plain.index(b"needle7")] = ord("N")
    damaged = increment.with_stream("main", bytes(plain))
    chain.read_archive(damaged.read(), damaged.manifest, Cancellation())  # nothing but a replay can see it
    with (
        pytest.raises(ArtefactCorrupt, match="replays to"),
        chain.open_rebuilt(links([full, damaged]), Point(), Cancellation()),
    ):
        pass


def test_points_outside_the_chain_are_answered_with_the_nearest_one(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)
    fill_a_segment(server)
    chained = links([full, take_increment(chain, full)])
    second = timedelta(seconds=1)
    for point, nearest in (
        (Point(lsn="0/100"), full.ends_at.split()[0]),
        (Point(lsn="FF/100"), chained[1].manifest.consistency.lsn),
        (Point(time=full.manifest.recovery_point - second), f"{full.manifest.recovery_point:%Y-%m-%d %H:%M:%S.%f}"),
        (
            Point(time=chained[1].manifest.recovery_point + second),
            f"{chained[1].manifest.recovery_point:%Y-%m-%d %H:%M:%S.%f}",
        ),
    ):
        with pytest.raises(PointOutOfReach) as caught, chain.open_rebuilt(chained, point, Cancellation()):
            pass
        assert nearest is not None
        assert nearest in caught.value.hint


def test_without_a_server_of_the_same_major_version_nothing_can_be_rebuilt_and_that_is_said(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)
    other = ServerInfo(**{**full.manifest.server.model_dump(), "version": "99.1"})
    elsewhere = Taken(full.manifest.model_copy(update={"server": other}), full.streams)
    with (
        pytest.raises(ScratchUnavailable, match="PostgreSQL 99"),
        chain.open_rebuilt(links([elsewhere]), Point(), Cancellation()),
    ):
        pass


@pytest.mark.parametrize(("share", "stage"), [(0.5, "unpacked"), (1.1, "replayed")])
def test_a_scratch_folder_that_fills_up_says_nothing_of_the_chain_and_keeps_nothing(
    server: PostgresServer, chain: PostgresChain, monkeypatch: pytest.MonkeyPatch, share: float, stage: str
) -> None:
    full = published_full(chain)
    with (
        tempfile.TemporaryDirectory(prefix="small-") as name,
        Disk.mounted(Path(name) / "disk", size_kilobytes=int(full.manifest.plain_bytes * share) >> 10) as small,
    ):
        Path(name).chmod(0o755)
        cramped = PostgresChain(_NOWHERE, EngineOptions(small.folder, small.folder))
        with (
            pytest.raises(ScratchUnavailable, match="needs"),
            cramped.open_rebuilt([full.link], Point(), Cancellation()),
        ):
            pass
        monkeypatch.setattr(scratch_home, "check_folder", lambda *_, **__: None)
        with pytest.raises(StorageFull) as caught, cramped.open_rebuilt([full.link], Point(), Cancellation()):
            pass
        assert str(small.folder) in caught.value.message
        assert stage in caught.value.message
        assert list(small.folder.iterdir()) == []


def test_a_person_rebuilds_the_server_with_the_stock_commands_alone(
    server: PostgresServer, chain: PostgresChain
) -> None:
    database = server.create_database("CREATE TABLE t (x int)", "INSERT INTO t VALUES (1)")
    taken = [published_full(chain)]
    for number in (2, 3):
        server.run(f"INSERT INTO t VALUES ({number})", database=database)
        taken.append(take_increment(chain, taken[-1]))
    user = unprivileged_user("postgres", "nobody")
    with tempfile.TemporaryDirectory(prefix="person-") as name:
        folder = Path(name)
        port = free_port()

        def person(command: str) -> None:
            subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=folder,
                env={**os.environ, "PATH": f"{server.bin}:{os.environ['PATH']}", "PGPORT": str(port)},
                check=True,
                stdout=subprocess.DEVNULL,
                **({"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}),
            )

        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        steps = []
        for each in taken:
            part = _stored(each, folder)
            steps.append([step.command for step in chain.stock_commands([part], each.manifest.format)])
        (unpack, recover, start), *increments = steps
        person(unpack)
        for (place,) in increments:
            person(place)
        person(recover)
        with (folder / "restored" / "postgresql.auto.conf").open("a") as settings:
            settings.write("unix_socket_directories = ''\nrecovery_target_action = 'promote'\n")
        person(f"{start} --log=log")
        try:
            with psycopg.connect(
                host="127.0.0.1", port=port, user="postgres", password=server.password, dbname=database
            ) as link:
                assert link.execute("SELECT array_agg(x ORDER BY x) FROM t").fetchone() == ([1, 2, 3],)
        finally:
            person("pg_ctl --pgdata=restored --mode=immediate stop")


def _stored(taken: Taken, folder: Path) -> Part:
    """Its bytes as a file there, not compressed."""
    (part,) = taken.manifest.parts
    (folder / part.path).write_bytes(taken.streams["main"])
    return part.model_copy(update={"compression": Compression.NONE})


# What the source keeps


def test_the_slot_is_there_before_the_full_and_moves_only_when_something_is_published(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = take_full(chain)
    (made,) = slots(server).values()
    assert made < end_of(full).lsn
    chain.published(full.manifest)
    (after_full,) = slots(server).values()
    assert made < after_full <= end_of(full).lsn
    fill_a_segment(server)
    increment = take_increment(chain, full)
    assert [*slots(server).values()] == [after_full]
    chain.published(increment.manifest)
    chain.published(increment.manifest)  # told again, for the first time may have been lost
    (after_increment,) = slots(server).values()
    assert after_full < after_increment <= end_of(increment).lsn


def test_a_full_that_fails_leaves_no_slot_but_the_one_that_was_there(
    server: PostgresServer, chain: PostgresChain
) -> None:
    with pytest.raises(ZeroDivisionError), chain.open_full(_FULL, Cancellation()):
        raise ZeroDivisionError
    assert slots(server) == {}
    full = published_full(chain)
    before = slots(server)
    with pytest.raises(ZeroDivisionError), chain.open_full(_FULL, Cancellation()):
        raise ZeroDivisionError
    assert slots(server) == before
    chain.prove_chain(full.manifest)


def test_a_slot_that_is_gone_when_something_was_published_is_told_of(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = take_full(chain)
    server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    with pytest.raises(SourceError, match="replication slot"):
        chain.published(full.manifest)


# What breaks it


def assert_broken(chain: PostgresChain, parent: Taken, reason: str) -> None:
    for attempt in (lambda: chain.prove_chain(parent.manifest), lambda: take_increment(chain, parent)):
        with pytest.raises(ChainBroken, match=reason) as caught:
            attempt()
        assert caught.value.message.count(".") <= 3
        assert not caught.value.worth_a_full


@contextmanager
def keeping_little(server: PostgresServer) -> Iterator[None]:
    """max_slot_wal_keep_size is 1 MB meanwhile."""

    def configure(statement: str, expected: str) -> None:
        server.run(statement)
        server.run("SELECT pg_reload_conf()")
        while server.run("SHOW max_slot_wal_keep_size") != [(expected,)]:
            time.sleep(0.02)

    configure("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "1MB")
    try:
        yield
    finally:
        configure("ALTER SYSTEM RESET max_slot_wal_keep_size", "-1")


def test_wal_that_the_server_gave_up_breaks_the_chain_and_a_new_full_makes_the_slot_anew(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)
    with keeping_little(server):
        for _ in range(4):
            fill_a_segment(server)
        assert any("gives it up after" in warning for warning in chain.preflight(_INCREMENT).warnings)
        server.run("CHECKPOINT")
        assert server.run("SELECT wal_status FROM pg_replication_slots") == [("lost",)]
        assert_broken(chain, full, "gave up its replication slot")
    again = published_full(chain)
    take_increment(chain, again)
    # Somebody puts a new slot in the old one's place: it looks well, and the WAL is gone.
    (name,) = slots(server)
    for _ in range(3):
        fill_a_segment(server)
    server.run(f"SELECT pg_drop_replication_slot('{name}')", "CHECKPOINT")
    server.run(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    assert_broken(chain, again, "already been removed")


def test_wal_that_the_server_gives_up_during_the_full_fails_it_and_names_the_setting(
    server: PostgresServer, chain: PostgresChain
) -> None:
    def overtaken_full() -> None:
        with chain.open_full(_FULL, Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 100)
            for _ in range(4):
                fill_a_segment(server)
            server.run("CHECKPOINT")
            drain(dump)

    with keeping_little(server), pytest.raises(DumpFailed) as caught:
        overtaken_full()
    assert "max_slot_wal_keep_size" in caught.value.hint


def test_wal_that_increments_let_go_of_during_the_full_fails_it_and_says_what_to_do(
    server: PostgresServer, chain: PostgresChain
) -> None:
    full = published_full(chain)

    def overtaken_full() -> None:
        with chain.open_full(_FULL, Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 100)
            for _ in range(3):
                fill_a_segment(server)
            chain.published(take_increment(chain, full).manifest)
            server.run("CHECKPOINT")
            drain(dump)

    with pytest.raises(DumpFailed, match="already been removed") as caught:
        overtaken_full()
    assert "no other backup" in caught.value.hint


def test_another_cluster_at_the_same_address_breaks_the_chain(
    chain: PostgresChain, postgres_server: PostgresServer, options: EngineOptions
) -> None:
    full = published_full(chain)
    assert_broken(PostgresChain(postgres_server.connection("postgres"), options), full, "another PostgreSQL cluster")


def test_a_standby_is_refused_and_once_it_is_promoted_a_new_chain_begins(
    server: PostgresServer, chain: PostgresChain, options: EngineOptions
) -> None:
    full = published_full(chain)
    with server.standby() as standby:
        replica = PostgresChain(standby.connection("postgres"), options)
        with pytest.raises(SourceUnsupported, match="standby"):
            replica.preflight(_INCREMENT)
        standby.run("SELECT pg_promote()")
        assert_broken(replica, full, "timeline 1 to 2")
        again = published_full(replica)
        standby.run("CREATE TABLE after_the_failover AS SELECT 1 AS x")
        increment = take_increment(replica, again)
        with (
            replica.open_rebuilt(links([again, increment]), Point(), Cancellation()) as rebuilt,
            looking_into(rebuilt.connection, "postgres") as link,
        ):
            assert link.execute("SELECT x FROM after_the_failover").fetchone() == (1,)


def test_a_server_that_was_put_back_to_an_older_state_breaks_the_chain_however_far_it_has_come_since(
    options: EngineOptions,
) -> None:
    with PostgresServer.start() as reset:
        chain = PostgresChain(reset.connection("postgres"), options)
        full = published_full(chain)
        data, older = reset.folder / "data", reset.folder / "older"
        reset.stop()
        subprocess.run(["cp", "-a", str(data), str(older)], check=True)
        reset.start_again()
        reset.run("SELECT pg_logical_emit_message(false, 'test', repeat('one history ', 1000))")
        increment = take_increment(chain, full)
        reset.stop()
        shutil.rmtree(data)
        older.rename(data)
        reset.start_again()
        assert_broken(chain, increment, "older state")
        reset.run("SELECT pg_logical_emit_message(false, 'test', repeat('another one ', 9000))", "CHECKPOINT")
        assert_broken(chain, increment, "its WAL before .* is another")
        take_increment(chain, full)  # from before the two histories parted


# Whom it refuses, and whom it does not


def test_a_user_who_may_replicate_and_nothing_else_is_enough(server: PostgresServer, options: EngineOptions) -> None:
    database = server.create_database("CREATE TABLE secret (x int)")
    closed = server.create_database("CREATE TABLE hidden (x int)")
    name, password = server.create_user("REPLICATION")
    server.run(f"REVOKE CONNECT ON DATABASE {closed} FROM public")
    try:
        modest = PostgresChain(server.connection("postgres", user=name, password=password), options)
        full = published_full(modest)
        modest.published(take_increment(modest, full).manifest)
        names = {item.name for item in full.manifest.inventory.objects}
        assert f"{database}.public.secret" in names
        assert f"{closed}.public.hidden" not in names
        assert any(closed in warning for warning in full.manifest.warnings)
        with modest.open_rebuilt(links([full]), Point(), Cancellation()) as rebuilt:
            assert modest.take_inventory(rebuilt, full.manifest, Cancellation()) == full.manifest.inventory
            with looking_into(rebuilt.connection, closed) as link:
                assert link.execute("SELECT count(*) FROM hidden").fetchone() == (0,)
    finally:
        server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_limits_of_time_that_a_role_has_do_not_hold_for_backups(server: PostgresServer, options: EngineOptions) -> None:
    name, password = server.create_user("REPLICATION")
    limits = {
        "statement_timeout": "1ms",
        "lock_timeout": "1ms",
        "idle_in_transaction_session_timeout": "1ms",
        "idle_session_timeout": "1min",  # one that ends a session before it can be lifted, nobody could work with
    }
    server.run(*(f"ALTER ROLE {name} SET {limit} = '{value}'" for limit, value in limits.items()))
    connection = server.connection("postgres", user=name, password=password)
    try:
        chain = PostgresChain(connection, options)
        take_increment(chain, published_full(chain))
        with connected(connection) as link:
            assert [link.execute(f"SHOW {limit}").fetchone() for limit in limits] == [("0",)] * len(limits)
    finally:
        server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def test_a_user_who_may_not_replicate_is_told_what_to_grant_or_that_the_service_grants_it_to_nobody(
    server: PostgresServer, options: EngineOptions
) -> None:
    name, password = server.create_user()
    chain = PostgresChain(server.connection("postgres", user=name, password=password), options)
    with pytest.raises(PrivilegeMissing) as caught:
        chain.preflight(_FULL)
    assert f'ALTER ROLE "{name}" REPLICATION' in caught.value.hint
    server.run("CREATE ROLE rds_superuser")
    try:
        with pytest.raises(SourceUnsupported, match="Amazon RDS"):
            chain.preflight(_FULL)
    finally:
        server.run("DROP ROLE rds_superuser")


def test_a_server_without_a_line_for_replication_in_its_pg_hba_conf_is_named(
    server: PostgresServer, chain: PostgresChain
) -> None:
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text("host all all all scram-sha-256\n")
        server.run("SELECT pg_reload_conf()")
        while not refused(chain):  # until it has read them again
            time.sleep(0.02)
        with pytest.raises(AccessDenied, match="replication connection") as caught:
            chain.preflight(_FULL)
        assert "pg_hba.conf" in caught.value.hint
    finally:
        rules.write_text(before)
        server.run("SELECT pg_reload_conf()")
        while refused(chain):
            time.sleep(0.02)


def refused(chain: PostgresChain) -> bool:
    try:
        chain.preflight(_FULL)
    except AccessDenied:
        return True
    return False


def test_a_server_that_keeps_no_history_is_refused(options: EngineOptions) -> None:
    settings = ["-c", "wal_level=minimal", "-c", "max_wal_senders=0"]
    with PostgresServer.start(options=settings) as minimal:
        chain = PostgresChain(minimal.connection("postgres"), options)
        for attempt in (lambda: chain.preflight(_FULL), lambda: take_full(chain)):
            with pytest.raises(SourceUnsupported, match="wal_level is minimal") as caught:
                attempt()
            assert "wal_level = replica" in caught.value.hint


def test_a_server_without_a_free_slot_is_refused_before_anything_is_read(
    server: PostgresServer, chain: PostgresChain
) -> None:
    ((most,),) = server.run("SELECT current_setting('max_replication_slots')::int")
    for number in range(most):
        server.run(f"SELECT pg_create_physical_replication_slot('taken_{number}')")
    with pytest.raises(SourceUnsupported, match="replication slots"):
        chain.preflight(_FULL)


def test_a_server_without_a_free_connection_for_replication_is_refused(
    server: PostgresServer, chain: PostgresChain
) -> None:
    ((most,),) = server.run("SELECT current_setting('max_wal_senders')::int")
    with contextlib.ExitStack() as stack:
        for _ in range(most):
            stack.enter_context(contextlib.closing(server.connect(replication="true")))
        with pytest.raises(SourceUnsupported, match="max_wal_senders"):
            chain.preflight(_INCREMENT)


@contextmanager
def tablespace(server: PostgresServer) -> Iterator[Path]:
    """One that is called ``elsewhere``, empty again when the block ends; its folder."""
    folder = server.folder / "elsewhere"
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, *(str(item) for item in (folder.parent.owner(), folder.parent.group())))
    server.run(f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
    try:
        yield folder
    finally:
        server.run("DROP TABLESPACE elsewhere")


def test_tablespaces_are_refused_by_name_for_fulls_and_increments(server: PostgresServer, chain: PostgresChain) -> None:
    full = published_full(chain)
    with tablespace(server):
        attempts: tuple[Callable[[], object], ...] = (
            lambda: chain.preflight(_FULL),
            lambda: chain.preflight(_INCREMENT),
            lambda: take_increment(chain, full),
        )
        for attempt in attempts:
            with pytest.raises(SourceUnsupported, match="elsewhere") as caught:
                attempt()
            assert "take a full backup" in caught.value.hint


def test_a_tablespace_in_the_wal_is_never_replayed_into_the_files_of_the_live_server(
    server: PostgresServer, chain: PostgresChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = server.create_database("CREATE TABLE t AS SELECT 1 AS x")
    full = published_full(chain)
    ((before,),) = server.run("SELECT pg_current_wal_insert_lsn()::text")
    monkeypatch.setattr(source, "refuse_tablespaces", lambda *_: None)  # as if it was made right after the question
    with tablespace(server) as folder:
        server.run("CREATE TABLE big TABLESPACE elsewhere AS SELECT generate_series(1, 1000) AS x", database=database)
        server.run("CHECKPOINT")
        increment = take_increment(chain, full)
        server.run("INSERT INTO big SELECT generate_series(1001, 9000)", "VACUUM FREEZE big", database=database)
        server.run("CHECKPOINT")
        files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for point in (Point(), Point(time=increment.manifest.recovery_point)):
            with (
                pytest.raises(LoadFailed, match="tablespace at") as caught,
                chain.open_rebuilt(links([full, increment]), point, Cancellation()),
            ):
                pass
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
        server.run("DROP TABLE big", database=database)
    dropped = take_increment(chain, increment)  # the server has none any more, and the WAL tells all the same
    nearest = caught.value.hint.partition("is ")[2].partition(".")[0]
    with (
        pytest.raises(LoadFailed, match=f"tablespace at {nearest}"),
        chain.open_rebuilt(links([full, increment, dropped]), Point(), Cancellation()),
    ):
        pass
    for lsn in (before, nearest):
        with (
            chain.open_rebuilt(links([full, increment]), Point(lsn=lsn), Cancellation()) as rebuilt,
            looking_into(rebuilt.connection, database) as link,
        ):
            assert link.execute("SELECT x FROM t").fetchone() == (1,)


def test_a_full_with_links_to_tablespaces_starts_no_server(chain: PostgresChain, tmp_path: Path) -> None:
    base = published_full(chain).manifest
    (tmp_path / "pg_tblspc").mkdir()
    (tmp_path / "tablespace_map").touch()  # as in every full
    tablespaces.refuse_linked(tmp_path, base)
    (tmp_path / "tablespace_map").write_text("16384 /somewhere\n")
    with pytest.raises(LoadFailed, match="holds tablespaces"):
        tablespaces.refuse_linked(tmp_path, base)
    (tmp_path / "tablespace_map").unlink()
    (tmp_path / "pg_tblspc" / "16384").mkdir()
    with pytest.raises(LoadFailed, match="holds tablespaces"):
        tablespaces.refuse_linked(tmp_path, base)


def test_wal_that_cannot_be_looked_into_is_not_taken_for_wal_without_tablespaces(
    server: PostgresServer, tmp_path: Path
) -> None:
    major = server.bin.parent.name
    records = WalRecords(
        tools.find("pg_waldump", major), tmp_path, None, tablespaces.MANAGER, timeline=1, start=1 << 24, end=1 << 25
    )
    with pytest.raises(ScratchUnavailable, match="pg_waldump failed"):
        list(records.read(Cancellation()))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as somebody else")
def test_a_rebuilt_server_runs_as_a_user_to_whom_the_files_of_a_source_are_closed(
    server: PostgresServer, chain: PostgresChain
) -> None:
    with (
        chain.open_rebuilt(links([published_full(chain)]), Point(), Cancellation()) as rebuilt,
        looking_into(rebuilt.connection, "postgres") as link,
    ):
        folder = link.execute("SHOW data_directory").fetchone()
        assert folder is not None
        owner = Path(folder[0]).stat().st_uid
        assert owner not in {0, (server.folder / "data").stat().st_uid}


def test_a_slot_without_a_limit_is_warned_of(chain: PostgresChain) -> None:
    full = published_full(chain)
    for taken in (full, take_increment(chain, full)):
        assert any("max_slot_wal_keep_size is not set" in warning for warning in taken.manifest.warnings)


# Faults


def test_a_base_backup_that_the_server_ends_is_told_in_its_words(server: PostgresServer, chain: PostgresChain) -> None:
    def interrupted_full() -> None:
        with chain.open_full(_FULL, Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 100)
            server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
            drain(dump)

    with pytest.raises(DumpFailed, match="status 1") as caught:
        interrupted_full()
    assert server.password not in str(caught.value)
    assert slots(server) == {}


def test_a_server_that_stands_still_can_be_cancelled_and_left(server: PostgresServer, chain: PostgresChain) -> None:
    full = published_full(chain)
    server.run("SELECT pg_logical_emit_message(false, 'test', repeat('much more than pipes hold', 400000))")
    openings: tuple[Callable[[Cancellation], AbstractContextManager[Dump]], ...] = (
        lambda cancellation: chain.open_full(_FULL, cancellation),
        lambda cancellation: chain.open_increment(_INCREMENT, full.link, cancellation),
    )

    def cancelled(opening: Callable[[Cancellation], AbstractContextManager[Dump]]) -> None:
        cancellation = Cancellation()
        with opening(cancellation) as dump:
            os.read(dump.streams[0].fileno(), 100)
            server.freeze()
            cancellation.cancel("the test says so")
            drain(dump)

    def left(opening: Callable[[Cancellation], AbstractContextManager[Dump]]) -> None:
        with opening(Cancellation()) as dump:
            os.read(dump.streams[0].fileno(), 100)
            server.freeze()
            raise ZeroDivisionError

    for opening in openings:
        for attempt, expected in ((cancelled, Interrupted), (left, ZeroDivisionError)):
            try:
                with pytest.raises(expected):
                    attempt(opening)
            finally:
                server.thaw()
