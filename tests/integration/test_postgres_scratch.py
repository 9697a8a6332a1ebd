"""The private PostgreSQL server of a proof: unprivileged, unreachable, always gone; and honest about what it lacks."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from db_backup.comparison import compare
from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine, open_scratch
from db_backup.engines.postgres import scratch as scratch_module
from db_backup.engines.postgres.session import Connection, connected, rows, value
from db_backup.engines.postgres.tools import find
from db_backup.errors import Interrupted, LoadFailed, ScratchUnavailable, TargetNotEmpty
from db_backup.manifest import DatabaseObject, Inventory, ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from support.dumps import Dumped, dump_of, load
from support.factories import make_manifest
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("real_setup")]

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unlike pytest's own folders, unprivileged servers can pass through it."""
    with tempfile.TemporaryDirectory(prefix="scratch-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def server(postgres_lab: PostgresLab) -> ServerInfo:
    return PostgresEngine(postgres_lab.connection("postgres"), postgres_lab.options).check()


def engine(connection: ConnectionInfo, folder: Path) -> PostgresEngine:
    return PostgresEngine(connection, EngineOptions(staging_path=folder, scratch_path=folder))


def postmaster(connection: ConnectionInfo) -> int:
    """The process id in the lock file beside the socket."""
    return int((Path(connection.host) / ".s.PGSQL.5432.lock").read_text().split()[0])


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_the_server_is_private_and_unprivileged(folder: Path, server: ServerInfo) -> None:
    with open_scratch(server, folder, Cancellation()) as scratch:
        owner = Path(f"/proc/{postmaster(scratch)}").stat().st_uid
        assert owner != 0
        assert pwd.getpwuid(owner).pw_name in {"postgres", "nobody"} or os.geteuid() != 0
        (home,) = folder.iterdir()
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(scratch.host).stat().st_mode) == 0o700
        environment = Path(f"/proc/{postmaster(scratch)}/environ").read_bytes()
        assert b"AIRFLOW" not in environment
        with connected(scratch) as link:
            assert value(link, "SHOW listen_addresses") == ""
            assert value(link, "SELECT version()").startswith(f"PostgreSQL {server.version}")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("how", ["error", "cancellation"])
def test_however_the_block_is_left_the_server_and_its_folder_are_gone(
    folder: Path, server: ServerInfo, how: str
) -> None:
    cancellation = Cancellation()
    pids = []

    def work() -> None:
        with open_scratch(server, folder, cancellation) as scratch:
            pids.append(postmaster(scratch))
            if how == "cancellation":
                cancellation.cancel("enough")
                cancellation.check()
            raise LookupError("something else")

    with pytest.raises(Interrupted if how == "cancellation" else LookupError):
        work()
    assert not is_running(pids[0])
    assert list(folder.iterdir()) == []


def test_when_we_are_killed_the_server_dies_and_the_next_one_sweeps(folder: Path, server: ServerInfo) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from db_backup.engines.postgres import open_scratch\n"
        "from db_backup.manifest import ServerInfo\n"
        "from db_backup.progress import Cancellation\n"
        "server = ServerInfo.model_validate_json(sys.argv[1])\n"
        "with open_scratch(server, Path(sys.argv[2]), Cancellation()) as scratch:\n"
        "    lock = Path(scratch.host) / '.s.PGSQL.5432.lock'\n"
        "    print(lock.read_text().split()[0], flush=True)\n"
        "    time.sleep(1000)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, server.model_dump_json(), str(folder)],
        env={**os.environ, "PYTHONPATH": str(PLUGINS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        assert is_running(pid)
        child.send_signal(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)

    (left,) = folder.iterdir()
    with open_scratch(server, folder, Cancellation()):
        assert not left.exists()


def test_a_living_servers_folder_is_not_swept(folder: Path, server: ServerInfo) -> None:
    with (
        open_scratch(server, folder, Cancellation()) as first,
        open_scratch(server, folder, Cancellation()),
        connected(first) as link,
    ):
        assert value(link, "SELECT 1") == 1


def test_a_folder_too_long_for_a_socket_is_no_obstacle(folder: Path, server: ServerInfo) -> None:
    long = folder / ("x" * 80) / ("y" * 80)
    long.mkdir(parents=True, mode=0o755)
    with open_scratch(server, long, Cancellation()) as scratch:
        sockets = Path(scratch.host)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        with connected(scratch) as link:
            assert value(link, "SELECT 1") == 1
    assert not sockets.exists()
    assert list(long.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as somebody else")
def test_a_folder_that_the_servers_user_cannot_enter_is_named(tmp_path: Path, server: ServerInfo) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o700)
    with (
        pytest.raises(ScratchUnavailable, match=r"may not enter .*BACKUP_SCRATCH_PATH"),
        open_scratch(server, locked, Cancellation()),
    ):
        pass


def test_a_version_that_is_not_installed_makes_no_server(folder: Path) -> None:
    unknown = ServerInfo(engine=EngineName.POSTGRES, flavour="PostgreSQL", version="99.1")
    with (
        pytest.raises(ScratchUnavailable, match=r"no PostgreSQL 99 server.*postgresql-99"),
        open_scratch(unknown, folder, Cancellation()),
    ):
        pass
    assert list(folder.iterdir()) == []


def test_a_locale_that_this_machine_lacks_falls_back_to_c(folder: Path, server: ServerInfo) -> None:
    elsewhere = server.model_copy(update={"collation": "tlh_KX.UTF-8", "character_type": "tlh_KX.UTF-8"})
    with open_scratch(elsewhere, folder, Cancellation()) as scratch:
        found = engine(scratch, folder).check()
    assert (found.encoding, found.collation) == ("UTF8", "C")


def test_a_database_called_postgres_can_be_restored(folder: Path, server: ServerInfo) -> None:
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = engine(scratch, folder).create_database("postgres")
        assert target.connection.database == "postgres"
        with pytest.raises(TargetNotEmpty, match="exists already"):
            engine(scratch, folder).create_database("postgres")


def test_a_dump_cannot_run_programs_while_it_is_proven(folder: Path, server: ServerInfo) -> None:
    script = b"CREATE TABLE public.t (a text);\nCOPY public.t FROM PROGRAM 'id';\n"
    manifest = make_manifest(format="pg_dump plain", server=server, inventory=Inventory())
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = engine(scratch, folder).create_database("victim")
        with pytest.raises(ScratchUnavailable, match=r"superuser|pg_execute_server_program|permission denied"):
            target.load([[script]], manifest, Cancellation())


def test_what_only_a_superuser_can_create_is_proven_too(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, folder: Path, server: ServerInfo
) -> None:
    database = postgres_server.create_database(
        "CREATE FUNCTION absolute(integer) RETURNS integer LANGUAGE internal STRICT AS 'int4abs'",
        "CREATE TABLE t (a integer)",
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$",
        "CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note()",
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "CREATE SUBSCRIPTION abroad CONNECTION 'host=nowhere.invalid' PUBLICATION p WITH (connect = false)",
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE CAST (text AS integer) WITH INOUT AS ASSIGNMENT",
        "CREATE OPERATOR CLASS backwards FOR TYPE integer USING btree AS OPERATOR 1 >, OPERATOR 5 <, "
        "FUNCTION 1 btint4cmp(integer, integer)",
    )
    source = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    dumped = dump_of(source)
    kinds = {item.kind for item in dumped.manifest.inventory.objects}
    assert {"untrusted function", "event trigger", "publication", "subscription", "cast", "operator class"} <= kinds
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = load(engine(scratch, folder), database, dumped)
        assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()


def test_an_ordinary_dump_is_loaded_by_an_ordinary_user(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, folder: Path, server: ServerInfo
) -> None:
    database = postgres_server.create_database("CREATE TABLE t (a integer)", "CREATE EXTENSION citext")
    dumped = dump_of(PostgresEngine(postgres_lab.connection(database), postgres_lab.options))
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = load(engine(scratch, folder), database, dumped)
        with connected(target.connection) as link:
            query = "SELECT r.rolsuper FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.relname = 't'"
            assert rows(link, query) == [(False,)]


def test_an_extension_that_is_not_installed_makes_the_proof_inconclusive(folder: Path, server: ServerInfo) -> None:
    inventory = Inventory(objects=(DatabaseObject(kind="extension", name="postgis"),))
    manifest = make_manifest(server=server, inventory=inventory)
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = engine(scratch, folder).create_database("shop")
        with pytest.raises(ScratchUnavailable, match="postgis"):
            target.load([[b""]], manifest, Cancellation())


def test_a_role_that_a_plain_dump_names_makes_the_proof_inconclusive(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, folder: Path, server: ServerInfo
) -> None:
    role, _ = postgres_server.create_user()
    database = postgres_server.create_database("CREATE TABLE t (a integer)", f"ALTER TABLE t OWNER TO {role}")
    options = EngineOptions(folder, folder, postgres_format="plain", postgres_no_owner=False)
    dumped = dump_of(PostgresEngine(postgres_lab.connection(database), options))
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = PostgresEngine(scratch, options).create_database(database)
        with pytest.raises(ScratchUnavailable, match=f'role "{role}" does not exist'):
            target.load([[dumped.plain]], dumped.manifest, Cancellation())


def test_a_load_that_fails_leaves_nothing_of_it(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE t (a integer)",
        "INSERT INTO t SELECT generate_series(1, 1000)",
        "CREATE FUNCTION checked() RETURNS boolean LANGUAGE sql AS 'SELECT count(*) > 0 FROM t'",
        "CREATE FUNCTION broken(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
        "CREATE FUNCTION outer_one(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE "
        "AS 'BEGIN RETURN broken($1); END'",
        "CREATE INDEX by_broken ON t (outer_one(a))",
    )
    source = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    dumped = dump_of(source)
    target = source.create_database(postgres_lab.fresh_name())
    with pytest.raises(LoadFailed, match=r"function broken\(integer\) does not exist"):
        target.load([[dumped.plain]], dumped.manifest, Cancellation())
    assert postgres_lab.counts(target.connection.database) == {}


def test_a_database_that_holds_something_is_never_loaded_into(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    database = postgres_server.create_database("CREATE TABLE t (a integer)")
    source = PostgresEngine(postgres_lab.connection(database), postgres_lab.options)
    dumped = dump_of(source)
    with pytest.raises(TargetNotEmpty, match="was not touched"):
        source.load([[dumped.plain]], dumped.manifest, Cancellation())


def test_a_user_who_may_not_create_databases_is_told_so(
    postgres_server: PostgresServer, postgres_lab: PostgresLab
) -> None:
    user, password = postgres_server.create_user()
    connection = postgres_server.connection("postgres", user=user, password=password)
    with pytest.raises(Exception, match=f"'{user}' may not do this.*create database"):
        PostgresEngine(connection, postgres_lab.options).create_database("not_mine")
    with psycopg.connect(
        f"host=127.0.0.1 port={postgres_server.port} dbname=postgres user={user} password={password}"
    ) as link:
        assert link.execute("SELECT FROM pg_database WHERE datname = 'not_mine'").fetchall() == []


@pytest.fixture(scope="module")
def large(postgres_server: PostgresServer, postgres_lab: PostgresLab) -> Dumped:
    """A dump that takes a while."""
    database = postgres_server.create_database(
        "CREATE TABLE t (a text)",
        "INSERT INTO t SELECT repeat(md5(g::text), 30) FROM generate_series(1, 50000) g",
    )
    return dump_of(PostgresEngine(postgres_lab.connection(database), postgres_lab.options))


def test_a_scratch_server_that_is_killed_during_the_load_proves_nothing(
    folder: Path, server: ServerInfo, large: Dumped
) -> None:
    def content(pid: int) -> Iterator[bytes]:
        half = len(large.plain) // 2
        yield large.plain[:half]
        os.killpg(pid, signal.SIGKILL)
        yield large.plain[half:]

    with open_scratch(server, folder, Cancellation()) as scratch:
        target = engine(scratch, folder).create_database("shop")
        with pytest.raises(ScratchUnavailable, match="scratch server was lost"):
            target.load([content(postmaster(scratch))], large.manifest, Cancellation())
        with pytest.raises(ScratchUnavailable, match="scratch server was lost"):
            target.take_inventory(large.manifest, Cancellation())


def test_a_scratch_server_that_ends_while_it_is_compared_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, server: ServerInfo, large: Dumped
) -> None:
    real = find("pg_dump", server.major).path
    with open_scratch(server, folder, Cancellation()) as scratch:
        target = load(engine(scratch, folder), "shop", large)
        program = tmp_path / "pg_dump"
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] || kill -QUIT {postmaster(scratch)}\nexec {real} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(ScratchUnavailable, match="scratch server was lost"):
            target.take_inventory(large.manifest, Cancellation())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_scratch_server_that_is_full_proves_nothing(folder: Path, server: ServerInfo, large: Dumped) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", str(folder)], check=False, stderr=subprocess.PIPE
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode()}")
    try:
        with open_scratch(server, folder, Cancellation()) as scratch:
            target = engine(scratch, folder).create_database("shop")
            (folder / "filler").write_bytes(bytes(shutil.disk_usage(folder).free - (2 << 20)))
            with pytest.raises(ScratchUnavailable, match="scratch server was lost"):
                target.load([[large.plain]], large.manifest, Cancellation())
            (folder / "filler").unlink()
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_scratch_server_that_a_stop_ends_while_it_starts_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, folder: Path, server: ServerInfo
) -> None:
    cancellation = Cancellation()

    def stopped(connection: ConnectionInfo) -> AbstractContextManager[Connection]:
        cancellation.cancel("enough")
        return connected(connection)

    monkeypatch.setattr(scratch_module, "connected", stopped)
    monkeypatch.setattr(scratch_module, "_STOP_SECONDS", 1)  # a server that starts may overhear the signal
    with pytest.raises(Interrupted, match="enough"), open_scratch(server, folder, cancellation):
        pass
