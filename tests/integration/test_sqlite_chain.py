"""Chains of SQLite: beside the contract, what only a file of pages can get wrong."""

from __future__ import annotations

import dataclasses
import gzip
import pickle
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from db_backup.comparison import compare
from db_backup.engines import chain_engine_for
from db_backup.engines.base import EngineOptions, LoadOptions
from db_backup.engines.chain import ChainEngine
from db_backup.engines.sqlite import SqliteEngine, rebuilding
from db_backup.engines.sqlite.pages import PageHashes
from db_backup.errors import (
    ArtefactCorrupt,
    ArtefactError,
    ChainBroken,
    ConfigurationError,
    DumpFailed,
    PointOutOfReach,
    StorageFull,
    UsageError,
)
from db_backup.manifest import Chain, Manifest
from db_backup.model import Compression, ConnectionInfo, EngineName, utc_now
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from support import sqlite_writer
from support.chains import Taken, links, take_full, take_increment
from support.disks import Disk
from support.dumps import REQUEST, run_in_a_plain_shell
from support.lab_sqlite import SqliteLab
from support.project import Project

pytestmark = pytest.mark.integration

WRITERS = ("ada", "ben", "cleo")
PATIENCE_SECONDS = 60


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    options = EngineOptions(staging_path=tmp_path / "staging", scratch_path=tmp_path / "scratch")
    options.staging_path.mkdir()
    options.scratch_path.mkdir()
    return options


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    create(path)
    return path


@pytest.fixture
def chain(file: Path, options: EngineOptions) -> ChainEngine:
    return chain_of(file, options)


def connection_to(file: Path) -> ConnectionInfo:
    return ConnectionInfo(conn_id="shop_db", engine=EngineName.SQLITE, database=str(file))


def chain_of(file: Path, options: EngineOptions) -> ChainEngine:
    return chain_engine_for(connection_to(file), options)


def create(path: Path, *, rows: int = 2000, pragmas: str = "") -> None:
    """``items`` with about half a kilobyte a row."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(pragmas)
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, body BLOB)")
        insert(connection, rows)


def insert(connection: sqlite3.Connection, rows: int) -> None:
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items (body) VALUES (randomblob(?))", [(450,)] * rows)
    connection.execute("COMMIT")


def run(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=PATIENCE_SECONDS)) as connection:
        for statement in statements:
            connection.execute(statement).fetchall()


def query(file: Path, question: str) -> tuple[object, ...]:
    with closing(sqlite3.connect(file)) as connection:
        row: tuple[object, ...] = connection.execute(question).fetchone()
    return row


def exact_copy(file: Path) -> bytes:
    """What SQLite's own backup makes of the file."""
    copy = file.with_name("copy.sqlite")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    content = copy.read_bytes()
    copy.unlink()
    return content


def rebuilt_bytes(chain: ChainEngine, taken: list[Taken], point: Point | None = None) -> bytes:
    with chain.open_rebuilt(links(taken), point or Point(), Cancellation()) as rebuilt:
        return Path(rebuilt.connection.database).read_bytes()


def files_in(options: EngineOptions) -> list[Path]:
    return [*options.staging_path.rglob("*"), *options.scratch_path.rglob("*")]


# One moment of a file that is being written


@contextmanager
def writers_on(file: Path) -> Iterator[None]:
    with ExitStack() as stack:
        program = sqlite_writer.__file__
        processes = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-I", program, str(file), name], stdin=subprocess.PIPE)
            )
            for name in WRITERS
        ]
        yield
        for process in processes:
            assert process.stdin is not None
            assert process.poll() is None, "a writer has failed"
            process.stdin.close()


def committed(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(file, timeout=PATIENCE_SECONDS)) as connection:
        return sqlite_writer.counts(connection)


def wait_for_more(file: Path, transactions: int = 12) -> None:
    before, deadline = committed(file), time.monotonic() + PATIENCE_SECONDS
    while any(committed(file).get(name, 0) < before.get(name, 0) + transactions for name in WRITERS):
        assert time.monotonic() < deadline, "the writers do not get on"
        time.sleep(0.01)


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_every_backup_of_a_chain_is_one_moment_of_three_writers_and_comes_back(
    tmp_path: Path, options: EngineOptions, journal_mode: str
) -> None:
    file = tmp_path / "shop.sqlite"
    run(file, f"PRAGMA journal_mode = {journal_mode}", sqlite_writer.TABLES)
    engine = chain_of(file, options)
    taken: list[Taken] = []
    bounds = []
    with writers_on(file):
        for _ in range(5):
            wait_for_more(file)
            at_least = committed(file)
            taken.append(take_increment(engine, taken[-1]) if taken else take_full(engine))
            bounds.append((at_least, committed(file)))

    found = []
    for number, (at_least, at_most) in enumerate(bounds):
        point = Point(time=taken[number].manifest.recovery_point)
        with engine.open_rebuilt(links(taken), point, Cancellation()) as rebuilt:
            assert rebuilt.position == taken[number].ends_at
            with closing(sqlite3.connect(rebuilt.connection.database)) as connection:
                held = sqlite_writer.counts(connection)
                assert sqlite_writer.content(connection) == sqlite_writer.replayed(held)
        assert all(at_least[name] <= held[name] <= at_most[name] for name in WRITERS)
        found.append(held)
    assert len({tuple(held.items()) for held in found}) == 5, "nothing changed between two backups"
    assert files_in(options) == []


def test_what_was_committed_while_the_backup_waited_for_the_file_is_before_its_recovery_point(
    file: Path, chain: ChainEngine
) -> None:
    parent = take_full(chain)
    written: list[datetime] = []
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO items (body) VALUES ('late')")

        def commit() -> None:
            written.append(utc_now())
            connection.execute("COMMIT")

        timer = threading.Timer(0.3, commit)
        timer.start()
        increment = take_increment(chain, parent)
        timer.join()
    assert increment.manifest.recovery_point > written[0]
    with (
        chain.open_rebuilt(links([parent, increment]), Point(), Cancellation()) as rebuilt,
        closing(sqlite3.connect(rebuilt.connection.database)) as connection,
    ):
        assert connection.execute("SELECT count(*) FROM items WHERE body = 'late'").fetchone() == (1,)


# Page by page


@pytest.mark.parametrize(
    "pragmas",
    [
        "PRAGMA page_size = 512; PRAGMA auto_vacuum = FULL",
        "PRAGMA page_size = 65536; PRAGMA auto_vacuum = FULL",
        "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL",
    ],
)
def test_a_file_that_grows_shrinks_and_changes_comes_back_to_the_byte(
    tmp_path: Path, options: EngineOptions, pragmas: str
) -> None:
    file = tmp_path / "shop.sqlite"
    create(file, rows=1000, pragmas=pragmas)
    engine = chain_of(file, options)
    steps = (
        ("UPDATE items SET body = 'new' WHERE id % 200 = 7",),
        ("INSERT INTO items (body) SELECT body FROM items LIMIT 200", "CREATE INDEX by_body ON items (body)"),
        ("DELETE FROM items WHERE id > 900", "PRAGMA incremental_vacuum"),
        ("DROP INDEX by_body",),
    )
    taken, copies = [take_full(engine)], [exact_copy(file)]
    for statements in steps:
        run(file, *statements)
        taken.append(take_increment(engine, taken[-1]))
        copies.append(exact_copy(file))
    for number, copy in enumerate(copies, 1):
        assert rebuilt_bytes(engine, taken[:number]) == copy
    assert len({len(copy) for copy in copies}) > 2


def test_an_increment_holds_what_changed_and_nothing_else(file: Path, chain: ChainEngine) -> None:
    full = take_full(chain)
    run(file, "UPDATE items SET body = 'new' WHERE id = 1000")
    increment = take_increment(chain, full)
    assert increment.manifest.format == "sqlite pages"
    assert len(increment.streams["main"]) < 5 * 4100 < len(full.streams["main"])
    assert len(increment.streams["pages"]) == len(full.streams["pages"])


def test_an_increment_in_which_nothing_changed_says_so(chain: ChainEngine) -> None:
    full = take_full(chain)
    increment = take_increment(chain, full)
    assert len(increment.streams["main"]) == 28
    assert increment.ends_at == full.ends_at
    assert rebuilt_bytes(chain, [full, increment]) == full.streams["main"]


def test_a_file_put_in_the_place_of_another_is_what_increments_lead_to(
    file: Path, chain: ChainEngine, tmp_path: Path
) -> None:
    full = take_full(chain)
    other = tmp_path / "other.sqlite"
    create(other, rows=40)
    other.replace(file)
    increment = take_increment(chain, full)
    assert rebuilt_bytes(chain, [full, increment]) == exact_copy(file)


# When a full is worth more


def test_vacuum_makes_a_full_of_the_next_increment(tmp_path: Path, options: EngineOptions) -> None:
    file = tmp_path / "shop.sqlite"
    create(file, rows=8000)
    engine = chain_of(file, options)
    run(file, "DELETE FROM items WHERE id % 3 = 0")
    full = take_full(engine)
    run(file, "VACUUM")
    with pytest.raises(ChainBroken, match="pages have changed since") as caught:
        take_increment(engine, full)
    assert caught.value.worth_a_full
    assert files_in(options) == []


def test_a_small_file_is_never_worth_a_full(tmp_path: Path, options: EngineOptions) -> None:
    file = tmp_path / "shop.sqlite"
    create(file, rows=20)
    engine = chain_of(file, options)
    full = take_full(engine)
    run(file, "UPDATE items SET body = zeroblob(450)")
    assert rebuilt_bytes(engine, [full, take_increment(engine, full)]) == exact_copy(file)


def test_pages_of_another_size_break_the_chain(file: Path, chain: ChainEngine) -> None:
    full = take_full(chain)
    run(file, "PRAGMA page_size = 8192", "VACUUM")
    for attempt in (lambda: chain.prove_chain(full.manifest), lambda: take_increment(chain, full)):
        with pytest.raises(ChainBroken, match="Pages of 4096 bytes have become pages of 8192") as caught:
            attempt()
        assert caught.value.worth_a_full


def test_another_path_breaks_the_chain(file: Path, chain: ChainEngine, options: EngineOptions) -> None:
    full = take_full(chain)
    moved = file.rename(file.with_name("moved.sqlite"))
    with pytest.raises(ChainBroken, match=str(file)) as caught:
        chain_of(moved, options).prove_chain(full.manifest)
    assert not caught.value.worth_a_full


def test_a_full_without_hashes_is_no_base(file: Path, chain: ChainEngine, options: EngineOptions) -> None:
    full = take_full(chain)
    plain = full.manifest.model_copy(update={"chain": None, "parts": full.manifest.parts[:1]})
    with pytest.raises(ChainBroken, match="does not say what the pages of its file were") as caught:
        chain.prove_chain(plain)
    assert caught.value.worth_a_full


def test_a_parent_whose_hashes_are_damaged_breaks_the_chain(chain: ChainEngine) -> None:
    full = take_full(chain)
    hashes = bytearray(full.streams["pages"])
    hashes[40] ^= 1
    with pytest.raises(ChainBroken, match="the list of its page hashes") as caught:
        take_increment(chain, full.with_stream("pages", bytes(hashes)))
    assert not caught.value.worth_a_full


def test_fulls_of_a_chain_are_exact_whatever_the_setting_says(file: Path, options: EngineOptions) -> None:
    engine = chain_of(file, dataclasses.replace(options, sqlite_vacuum=True))
    run(file, "DELETE FROM items WHERE id < 1000")
    full = take_full(engine)
    assert any("BACKUP_SQLITE_VACUUM does not hold for 'shop'" in warning for warning in full.manifest.warnings)
    assert full.streams["main"] == exact_copy(file)
    run(file, "DELETE FROM items WHERE id < 1100")
    increment = take_increment(engine, full)
    assert increment.manifest.warnings == ()
    assert rebuilt_bytes(engine, [full, increment]) == exact_copy(file)


# Damage that no hash of a part has shown


@pytest.fixture
def two(file: Path, chain: ChainEngine) -> list[Taken]:
    """A full and an increment of a few pages."""
    full = take_full(chain)
    run(file, "UPDATE items SET body = 'new' WHERE id % 400 = 1")
    return [full, take_increment(chain, full)]


def flipped(plain: bytes, place: int) -> bytes:
    damaged = bytearray(plain)
    damaged[place] ^= 0x40
    return bytes(damaged)


@pytest.mark.parametrize("stream", ["main", "pages"])
@pytest.mark.parametrize("which", [0, 1], ids=["the full", "the increment"])
def test_a_flipped_bit_is_found_wherever_it_is(two: list[Taken], chain: ChainEngine, stream: str, which: int) -> None:
    plain = two[which].streams[stream]
    for place in {0, 17, 21, 25, 29, 33, len(plain) // 2, len(plain) - 1}:
        damaged = two[which].with_stream(stream, flipped(plain, place))
        with pytest.raises(ArtefactError):
            chain.read_archive(damaged.read(), damaged.manifest, Cancellation())
        if damaged is two[-1] or stream == "main":  # of what is in between, the pages alone are needed
            with pytest.raises(ArtefactError):
                rebuilt_bytes(chain, [*two[:which], damaged, *two[which + 1 :]])


@pytest.mark.parametrize("stream", ["main", "pages"])
def test_an_increment_that_is_cut_off_or_longer_is_refused(
    two: list[Taken], chain: ChainEngine, options: EngineOptions, stream: str
) -> None:
    full, increment = two
    plain = increment.streams[stream]
    for size in (0, 10, 27, 28, 30, len(plain) // 2, len(plain) - 16, len(plain) - 1, len(plain) + 1):
        damaged = increment.with_stream(stream, (plain + b"\0")[:size])
        with pytest.raises(ArtefactError, match=increment.manifest.id):
            chain.read_archive(damaged.read(), damaged.manifest, Cancellation())
        with pytest.raises(ArtefactError):
            rebuilt_bytes(chain, [full, damaged])
    assert files_in(options) == []


def test_pages_in_another_order_or_beyond_the_file_are_refused(two: list[Taken], chain: ChainEngine) -> None:
    full, increment = two
    plain = increment.streams["main"]
    head, one, other, rest = plain[:28], plain[28:4128], plain[4128:8228], plain[8228:]
    for disorder in (other + one, one + one, bytes(4) + one[4:] + other, one + b"\x01" + other[1:]):
        damaged = increment.with_stream("main", head + disorder + rest)
        with pytest.raises(ArtefactCorrupt, match=r"page \d+ follows page \d+ in it"):
            chain.read_archive(damaged.read(), damaged.manifest, Cancellation())
        with pytest.raises(ArtefactCorrupt, match=r"page \d+ follows page \d+ in it"):
            rebuilt_bytes(chain, [full, damaged])


def test_an_increment_on_a_base_that_is_not_its_own_is_refused(
    file: Path, two: list[Taken], chain: ChainEngine
) -> None:
    """Even where the manifests agree."""
    run(file, "UPDATE items SET body = 'other' WHERE id = 1900")
    other = take_full(chain)
    pretender = dataclasses.replace(other, manifest=two[0].manifest)
    with pytest.raises(ArtefactError, match=r"page \d+ of the rebuilt file is not the one that was backed up"):
        rebuilt_bytes(chain, [pretender, two[1]])


# Moments


def at(manifest: Manifest, seconds: float) -> Point:
    return Point(time=manifest.recovery_point + timedelta(seconds=seconds))


def test_a_time_leads_to_the_newest_backup_up_to_it(two: list[Taken], chain: ChainEngine) -> None:
    full, increment = (taken.manifest for taken in two)
    for point, expected in (
        (at(full, 0), 0),
        (at(increment, -1e-6), 0),
        (at(increment, 0), 1),
        (at(increment, 9e6), 1),
    ):
        with chain.open_rebuilt(links(two), point, Cancellation()) as rebuilt:
            assert (rebuilt.position, rebuilt.time) == (two[expected].ends_at, two[expected].manifest.recovery_point)
    with pytest.raises(PointOutOfReach, match="is before that"):
        rebuilt_bytes(chain, two, at(full, -1e-6))


def test_what_came_after_the_clock_went_back_is_later_than_it_says(two: list[Taken], chain: ChainEngine) -> None:
    full, increment = two
    third = take_increment(chain, increment)
    earlier = full.manifest.recovery_point + timedelta(seconds=-100)
    back = dataclasses.replace(third, manifest=third.manifest.model_copy(update={"recovery_point": earlier}))
    with chain.open_rebuilt(links([full, increment, back]), at(full.manifest, 0), Cancellation()) as rebuilt:
        assert rebuilt.position == full.ends_at


@pytest.mark.parametrize("point", [Point(lsn="0/1"), Point(gtid="0-1-1"), Point(position="bin.000001:4")])
def test_a_file_has_no_log_with_places(two: list[Taken], chain: ChainEngine, point: Point) -> None:
    with pytest.raises(UsageError, match="which has no log"):
        rebuilt_bytes(chain, two, point)


# By hand, and by what knows nothing of chains


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_the_stock_commands_alone_rebuild_the_file_and_refuse_a_wrong_order(
    tmp_path: Path, options: EngineOptions, sqlite_lab: SqliteLab, journal_mode: str
) -> None:
    file = tmp_path / "shop.sqlite"
    create(file, pragmas=f"PRAGMA journal_mode = {journal_mode}")
    engine = chain_of(file, options)
    taken = [take_full(engine)]
    for number in range(2):
        run(
            file, f"UPDATE items SET body = 'new' WHERE id % 300 = {number}", f"DELETE FROM items WHERE id < {number}00"
        )
        taken.append(take_increment(engine, taken[-1]))
    folder = tmp_path / "by hand"
    folder.mkdir()

    def by_hand(backup: Taken) -> None:
        parts = []
        for part in backup.manifest.parts:
            stored = part.model_copy(update={"path": f"{part.path}'s.gz", "compression": Compression.GZIP})
            (folder / stored.path).write_bytes(gzip.compress(backup.streams[part.stream], 1))
            parts.append(stored)
        for step in engine.stock_commands(parts, backup.manifest.format):
            run_in_a_plain_shell(step.command, folder, sqlite_lab)

    by_hand(taken[0])
    with pytest.raises(AssertionError, match="The file is not what was backed up"):
        by_hand(taken[2])
    for backup in taken:
        by_hand(backup)
    assert (folder / "restored.sqlite").read_bytes() == exact_copy(file)


def test_the_ordinary_engine_takes_a_full_of_a_chain_for_any_other(
    file: Path, two: list[Taken], options: EngineOptions, tmp_path: Path
) -> None:
    full = two[0]
    manifest = full.manifest
    ordinary = SqliteEngine(connection_to(tmp_path / "restored.sqlite"), options)
    assert compare(manifest.inventory, ordinary.read_archive(full.read(), manifest, Cancellation())) == ()
    ordinary.load(full.read(), manifest, Cancellation())
    assert compare(manifest.inventory, ordinary.take_inventory(manifest, Cancellation())) == ()

    one_table = SqliteEngine(connection_to(tmp_path / "one_table.sqlite"), options)
    run(tmp_path / "one_table.sqlite", "CREATE TABLE other (id)")
    one_table.load(full.read(), manifest, Cancellation(), LoadOptions(tables=("items",)))
    assert compare(manifest.inventory, one_table.take_inventory(manifest, Cancellation()))[0].name == "other"

    (unpack, _) = ordinary.stock_commands(manifest.parts, manifest.format)
    assert "pages" not in unpack.command


def test_a_backup_of_the_whole_file_leaves_no_table_out(chain: ChainEngine, two: list[Taken]) -> None:
    request = dataclasses.replace(REQUEST, exclude_tables=("items",))
    with pytest.raises(ConfigurationError, match="leaves no table out"):
        chain.preflight(request)
    with pytest.raises(ConfigurationError, match="leaves no table out"):
        chain.open_increment(request, two[0].link, Cancellation()).__enter__()


# A damaged source, and killed processes


def with_rows_in_disorder(image: bytes) -> bytes:
    """The first two rows of a page have changed places, which SQLite tells when it is asked to look."""
    damaged = bytearray(image)
    cells = 20 * 4096 + 8
    damaged[cells : cells + 4] = damaged[cells + 2 : cells + 4] + damaged[cells : cells + 2]
    return bytes(damaged)


def test_a_file_that_is_damaged_gets_no_increment(file: Path, two: list[Taken], chain: ChainEngine) -> None:
    file.write_bytes(with_rows_in_disorder(file.read_bytes()))
    with pytest.raises(DumpFailed, match="out of order"):
        take_increment(chain, two[-1])


def test_a_damaged_image_is_not_given_out_because_its_hashes_are_right(
    two: list[Taken], chain: ChainEngine, options: EngineOptions
) -> None:
    image, hashes = with_rows_in_disorder(two[0].streams["main"]), PageHashes(4096)
    listed = hashes.of(image)
    position = Chain(to_position=str(hashes.position))
    damaged = Taken(two[0].manifest.model_copy(update={"chain": position}), {"main": image, "pages": listed})
    with pytest.raises(ArtefactCorrupt, match="out of order"):
        rebuilt_bytes(chain, [damaged])
    assert files_in(options) == []


def test_a_staging_folder_without_room_for_the_hashes_is_told_and_left_empty(
    tmp_path: Path, options: EngineOptions
) -> None:
    file = tmp_path / "shop.sqlite"
    create(file, rows=8000, pragmas="PRAGMA page_size = 512")
    full = take_full(chain_of(file, options))
    size_kilobytes = file.stat().st_size // 1024 + 64
    with Disk.mounted(tmp_path / "small", size_kilobytes=size_kilobytes) as small:
        engine = chain_of(file, dataclasses.replace(options, staging_path=small.folder))
        with pytest.raises(StorageFull, match="was filled by the hashes"):
            take_increment(engine, full)
        assert list(small.folder.iterdir()) == []


def test_a_scratch_folder_without_room_for_the_file_is_told_before_and_in_the_middle(
    file: Path, tmp_path: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = chain_of(file, options)
    full = take_full(engine)
    run(file, "INSERT INTO items (body) SELECT randomblob(450) FROM items")
    increment = take_increment(engine, full)
    size_kilobytes = len(full.streams["main"]) // 1024 + 200
    with Disk.mounted(tmp_path / "small", size_kilobytes=size_kilobytes) as small:
        cramped = chain_of(file, dataclasses.replace(options, scratch_path=small.folder))
        with pytest.raises(StorageFull, match="The database of "):
            rebuilt_bytes(cramped, [full, increment])
        monkeypatch.setattr(rebuilding, "check_room", lambda *_, **__: None)
        with pytest.raises(StorageFull, match="No space left"):
            rebuilt_bytes(cramped, [full, increment])
        assert list(small.folder.iterdir()) == []


_CAPTURE = """
import pickle, sys, time
from db_backup.engines import chain_engine_for
from db_backup.engines.base import DumpRequest
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.disks import Disk
from support.chains import Taken
connection, options, parent = pickle.load(sys.stdin.buffer)
engine = chain_engine_for(connection, options)
request = DumpRequest("shop", BackupType.INCREMENTAL)
with engine.open_increment(request, parent.link, Cancellation()):
    print("captured", flush=True)
    time.sleep(1000)
"""


def test_a_killed_capture_leaves_nothing_and_holds_nobody_up(
    file: Path, two: list[Taken], chain: ChainEngine, options: EngineOptions
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _CAPTURE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps((connection_to(file), options, two[-1])))
        process.stdin.close()
        assert process.stdout.readline() == b"captured\n"
        run(file, "UPDATE items SET body = 'meanwhile' WHERE id = 5")  # the file was let go of
        process.send_signal(signal.SIGKILL)
    assert files_in(options) == []
    increment = take_increment(chain, two[-1])
    assert rebuilt_bytes(chain, [*two, increment]) == exact_copy(file)


# The commands


def test_fulls_and_increments_of_a_file_work_with_every_command(
    file: Path, tmp_path: Path, sqlite_lab: SqliteLab
) -> None:
    project = Project(tmp_path / "project", {"shop": connection_to(file)}, as_process=False)
    entry = {"conn_id": "shop_db", "types": ["full", "incremental"], "compression": "gzip", "level": 1}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": {"shop": entry}}))
    (full,) = project.json("create", "shop")["backups"]
    run(file, "UPDATE items SET body = 'new' WHERE id % 400 = 1")
    (increment,) = project.json("create", "shop", "--type", "incremental")["backups"]
    assert (increment["type"], increment["parent_id"], increment["verified"]) == ("incremental", full["id"], True)

    for command in (
        ("verify", full["id"], "--level", "restore"),
        ("verify", increment["id"], "--level", "archive"),
        ("restore", full["id"], "--as", str(tmp_path / "full.sqlite")),
        ("restore", full["id"], "--as", str(tmp_path / "table.sqlite"), "--table", "items"),
        ("restore", full["id"], "--test"),
        ("restore", increment["id"], "--as", str(tmp_path / "increment.sqlite")),
        ("download", full["id"], "-o", str(tmp_path / "full.tar")),
        ("download", increment["id"], "--raw", "-o", str(tmp_path / "increment.tar")),
        ("catalog", "reindex"),
        ("list", "--detailed"),
    ):
        done = project.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert query(tmp_path / "full.sqlite", "SELECT count(*) FROM items WHERE body = 'new'") == (0,)
    assert query(tmp_path / "increment.sqlite", "SELECT count(*) FROM items WHERE body = 'new'") == (5,)
    assert query(tmp_path / "table.sqlite", "SELECT count(*) FROM items") == (2000,)
    with tarfile.open(tmp_path / "full.tar") as tar:
        assert tar.getmembers()[1].size == len(exact_copy(file))

    folder = project.storage / "database"
    for backup in (full, increment):
        for step in project.manifest(backup["id"])["stock_restore"]:
            run_in_a_plain_shell(step["command"], folder, sqlite_lab)
    assert (folder / "restored.sqlite").read_bytes() == exact_copy(file)
