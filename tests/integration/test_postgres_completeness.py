"""A dump that is not whole is never taken for one: pg_dump's status, its structure, and the catalogue must agree."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine
from db_backup.engines.postgres import snapshot as snapshot_module
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated, DumpFailed, DumpIncomplete, Interrupted
from db_backup.manifest import Manifest
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.dumps import REQUEST, dump_of, read_to_end
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.integration

END_OF_TABLE = b"\\.\n\n\n" + bytes(5)  # COPY's end mark, pg_dump's empty lines, the chunk that ends a block
END_OF_COPY = b"\\.\n\n\n"
FOOTER = b"--\n-- PostgreSQL database dump complete\n"


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    return postgres_server.create_database(
        "CREATE TABLE one (a integer, b text)",
        "INSERT INTO one SELECT g, md5(g::text) FROM generate_series(1, 5000) g",
        "CREATE TABLE three (a integer)",
        "INSERT INTO three VALUES (1)",
        "CREATE TABLE two (a integer, b text)",
        "INSERT INTO two SELECT g, md5(g::text) FROM generate_series(1, 5000) g",
    )


@pytest.fixture
def engine(request: pytest.FixtureRequest, postgres_lab: PostgresLab, database: str) -> PostgresEngine:
    dump_format = getattr(request, "param", "custom")
    options: EngineOptions = dataclasses.replace(postgres_lab.options, postgres_format=dump_format)
    return PostgresEngine(postgres_lab.connection(database), options)


def put_liar_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, real: Path, expression: str) -> None:
    """A pg_dump that changes its ``output`` as the Python expression says, and ends with status 0."""
    body = (
        "import subprocess, sys\n"
        f"real = [{str(real)!r}, *sys.argv[1:]]\n"
        "done = subprocess.run(real, stdout=subprocess.PIPE, check=True)\n"
        "output = done.stdout\n"
        f"sys.stdout.buffer.write(output if '--version' in sys.argv else {expression})\n"
    )
    folder.mkdir()
    (folder / "liar.py").write_text(body)
    script = folder / "pg_dump"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I {shlex.quote(str(folder / "liar.py"))} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


CUTS = [
    ("custom", "output[:3]", "ends in its header"),
    ("custom", "output[:2000]", "ends in its table of contents"),
    ("custom", f"output[:output.index({END_OF_TABLE!r}) - 1000]", "ends in the data of table public.one"),
    (
        "custom",
        f"output[:output.index({END_OF_TABLE!r}) + {len(END_OF_TABLE)}]",
        "ends before the data of table public.three and of 1 more",
    ),
    (
        "custom",
        f"output[:output.rindex({END_OF_TABLE!r}) - 5] + bytes(5)",
        "has no end mark after the data of table public.two",
    ),
    ("plain", "output[:100]", "ends before its last line"),
    ("plain", f"output[:output.index({END_OF_COPY!r}) - 1000]", "ends in the data of table public.one"),
    ("plain", f"output[:output.index({END_OF_COPY!r}) + {len(END_OF_COPY)}]", "ends before its last line"),
    ("plain", f"output[:output.index({FOOTER!r})]", "ends before its last line"),
    ("tar", "output[:2000]", "ends in its table of contents"),
    ("tar", f"output[:output.index({END_OF_COPY!r}) - 1000]", "ends in the data of table public.one"),
    ("tar", "output[:-1024]", "ends before its last block"),
]


@pytest.mark.parametrize(("engine", "cut", "complaint"), CUTS, indirect=["engine"])
def test_a_dump_that_is_cut_with_status_0_is_incomplete(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres_lab: PostgresLab,
    engine: PostgresEngine,
    cut: str,
    complaint: str,
) -> None:
    whole = dump_of(engine)
    put_liar_on_path(monkeypatch, tmp_path / "bin", postgres_lab.real_dump_tool(), cut)
    with engine.open_backup(REQUEST, Cancellation()) as dump:
        plain = read_to_end(dump.streams[0])
        assert 0 < len(plain) < len(whole.plain)
        with pytest.raises(DumpIncomplete, match=f"status 0, but the dump {complaint}"):
            dump.complete()

    with pytest.raises(ArtefactTruncated, match=complaint):
        engine.read_archive([[plain]], whole.manifest, Cancellation())


@pytest.mark.parametrize("engine", ["custom", "plain", "directory"], indirect=True)
@pytest.mark.parametrize(
    ("option", "backup_type", "missed"),
    [
        ("--exclude-table=two", BackupType.FULL, r"does not create public\.two"),
        ("--exclude-table=two", BackupType.STRUCTURE, r"does not create public\.two"),
        ("--exclude-table-data=two", BackupType.FULL, r"does not hold the data of public\.two"),
        ("--exclude-table=two", BackupType.DATA, r"does not hold the data of public\.two"),
    ],
)
def test_a_table_that_pg_dump_leaves_out_is_missed_by_name(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres_lab: PostgresLab,
    engine: PostgresEngine,
    option: str,
    backup_type: BackupType,
    missed: str,
) -> None:
    real = postgres_lab.real_dump_tool()
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "pg_dump").write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} "$@"\nexec {real} {option} "$@"\n')
    (folder / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    with pytest.raises(DumpIncomplete, match=missed):
        dump_of(engine, backup_type=backup_type)


def test_a_dump_that_cannot_lock_a_table_in_time_fails_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer, engine: PostgresEngine, database: str
) -> None:
    monkeypatch.setattr(snapshot_module, "LOCK_WAIT_SECONDS", 1)
    with postgres_server.connect(database, autocommit=False) as blocker:
        blocker.execute("LOCK TABLE one IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DumpFailed, match="held its lock for 1 s") as failure:
            dump_of(engine)
    assert "Run it again" in str(failure.value.hint)


@pytest.mark.parametrize(("changes", "seconds", "begins"), [(12, 60, True), (1_000_000, 0, False)])
def test_a_dump_begins_when_tables_have_come_to_rest_and_fails_when_they_never_do(
    monkeypatch: pytest.MonkeyPatch,
    postgres_server: PostgresServer,
    engine: PostgresEngine,
    database: str,
    changes: int,
    seconds: float,
    begins: bool,
) -> None:
    left = list(range(changes))
    begin = snapshot_module._begin

    def begin_too_late(*arguments: Any) -> bool:
        if left:
            change = "CREATE TABLE passing ()" if left.pop() % 2 else "DROP TABLE passing"
            postgres_server.run(change, database=database)
        return begin(*arguments)

    monkeypatch.setattr(snapshot_module, "_begin", begin_too_late)
    monkeypatch.setattr(snapshot_module, "BEGIN_SECONDS", seconds)
    with nullcontext() if begins else pytest.raises(DumpFailed, match="did not begin within 0 s"):
        assert "public.one" in {item.name for item in dump_of(engine).manifest.inventory.objects}
    postgres_server.run("DROP TABLE IF EXISTS passing", database=database)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "statements",
    [
        ("TRUNCATE one", "INSERT INTO one SELECT g, '' FROM generate_series(1, 5000) g"),
        ("ALTER TABLE one ALTER a TYPE bigint",),
        ("DROP TABLE one", "CREATE TABLE one AS SELECT g AS a FROM generate_series(1, 5000) g"),
    ],
    ids=["refilled", "rewritten", "made anew"],
)
def test_a_table_that_is_rewritten_when_the_dump_begins_keeps_its_rows(
    postgres_server: PostgresServer, postgres_lab: PostgresLab, statements: tuple[str, ...], jobs: int
) -> None:
    database = postgres_server.create_database(
        "CREATE TABLE one (a integer, b text)",
        "INSERT INTO one SELECT g, '' FROM generate_series(1, 5000) g",
        "CREATE TABLE two (a integer)",
    )
    with postgres_server.connect(database, autocommit=False) as migration:
        for statement in statements:
            migration.execute(statement)
        committing = threading.Timer(1, migration.commit)
        committing.start()
        dumped = dump_of(postgres_lab.engine(database), jobs=jobs)
        committing.join()
    assert {table.name: table.rows for table in dumped.manifest.inventory.tables} == {
        "public.one": 5000,
        "public.two": 0,
    }


def test_a_dump_that_waits_for_a_lock_can_be_stopped(
    postgres_server: PostgresServer, engine: PostgresEngine, database: str
) -> None:
    cancellation = Cancellation()
    with postgres_server.connect(database, autocommit=False) as blocker:
        blocker.execute("LOCK TABLE one IN ACCESS EXCLUSIVE MODE")
        threading.Timer(0.5, cancellation.cancel, ["enough"]).start()
        with pytest.raises(Interrupted, match="enough"):
            dump_of(engine, cancellation)


def test_a_flipped_byte_in_the_structure_is_corruption(engine: PostgresEngine) -> None:
    whole = dump_of(engine)
    place = whole.plain.index(END_OF_TABLE) + len(END_OF_TABLE)  # the next block's kind
    damaged = whole.plain[:place] + b"\x07" + whole.plain[place + 1 :]
    with pytest.raises(ArtefactCorrupt, match="does not announce"):
        engine.read_archive([[damaged]], whole.manifest, Cancellation())


def test_what_only_pg_restore_sees_is_corruption_too(engine: PostgresEngine) -> None:
    whole = dump_of(engine)
    damaged = whole.plain.replace(b"standard_conforming_strings = 'on'", b"standard_conforming_strings = 'xx'")
    assert damaged != whole.plain
    with pytest.raises(ArtefactCorrupt, match="pg_restore cannot read"):
        engine.read_archive([[damaged]], whole.manifest, Cancellation())


@pytest.mark.parametrize("engine", ["plain"], indirect=True)
def test_a_script_that_goes_on_after_its_last_line_is_no_dump(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_lab: PostgresLab, engine: PostgresEngine
) -> None:
    expression = "output + b'DROP TABLE public.zz;'"
    put_liar_on_path(monkeypatch, tmp_path / "bin", postgres_lab.real_dump_tool(), expression + " + bytes([10])")
    with pytest.raises(DumpIncomplete, match="goes on after its last line"):
        dump_of(engine)


def read_source(engine: PostgresEngine, _: Manifest, cancellation: Cancellation) -> None:
    with engine.open_backup(REQUEST, cancellation) as dump:
        read_to_end(dump.streams[0])
        dump.complete()


@pytest.mark.parametrize("engine", ["custom", "directory"], indirect=True)
@pytest.mark.parametrize("read", [read_source, PostgresEngine.take_inventory])
def test_a_dump_that_is_stopped_is_interrupted_and_has_not_failed(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgres_lab: PostgresLab,
    engine: PostgresEngine,
    read: Callable[[PostgresEngine, Manifest, Cancellation], object],
) -> None:
    whole = dump_of(engine)
    folder, running = tmp_path / "bin", tmp_path / "running"
    folder.mkdir()
    (folder / "pg_dump").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {postgres_lab.real_dump_tool()} "$@"\n'
        f": > {running}\nexec sleep 1000\n"
    )
    (folder / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    cancellation = Cancellation()

    def stop() -> None:
        while not running.exists():
            time.sleep(0.01)
        cancellation.cancel("enough")

    stopper = threading.Thread(target=stop, daemon=True)
    stopper.start()
    with pytest.raises(Interrupted, match="enough"):
        read(engine, whole.manifest, cancellation)
    stopper.join()
