"""What only the SQLite engine can get wrong: files, locks, journals, staging and landing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import EngineOptions
from db_backup.engines.sqlite import SqliteEngine, source, staging
from db_backup.engines.sqlite import compacting as compacting_module
from db_backup.errors import (
    AccessDenied,
    ArtefactCorrupt,
    ArtefactTruncated,
    BackupError,
    ConfigurationError,
    DumpFailed,
    DumpIncomplete,
    Interrupted,
    LoadFailed,
    ServerUnreachable,
    SourceUnsupported,
    StorageFull,
    TargetNotEmpty,
    UsageError,
)
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from support.dumps import REQUEST, blocks, dump_of, finish, load

pytestmark = pytest.mark.unit

CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sqlite"
NOBODY = 65534


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    (tmp_path / "scratch").mkdir()
    return EngineOptions(staging_path=tmp_path / "staging", scratch_path=tmp_path / "scratch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the databases lie, and nothing else."""
    path = tmp_path / "databases"
    path.mkdir()
    return path


def engine_on(path: Path, options: EngineOptions) -> SqliteEngine:
    return SqliteEngine(ConnectionInfo(conn_id="shop", engine=EngineName.SQLITE, database=str(path)), options)


def create(path: Path, *, journal_mode: str = "delete", rows: int = 3) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, value BLOB)")
        with connection:
            connection.executemany("INSERT INTO t (value) VALUES (?)", ((bytes(1000),) for _ in range(rows)))
    return path


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The source


@pytest.mark.parametrize("journal_mode", ["delete", "truncate", "persist", "wal"])
def test_a_backup_changes_neither_the_file_nor_its_folder(
    folder: Path, options: EngineOptions, journal_mode: str
) -> None:
    path = create(folder / "shop.sqlite", journal_mode=journal_mode)
    before = path.read_bytes(), path.stat().st_mtime_ns, names_in(folder)
    dump_of(engine_on(path, options))
    assert (path.read_bytes(), path.stat().st_mtime_ns, names_in(folder)) == before


def test_what_is_only_in_the_wal_is_in_the_backup_and_stays_in_the_wal(folder: Path, options: EngineOptions) -> None:
    path = create(folder / "shop.sqlite", journal_mode="wal")
    with closing(sqlite3.connect(path)) as application:
        application.execute("PRAGMA wal_autocheckpoint = 0")
        with application:
            application.execute("INSERT INTO t (value) VALUES ('only in the wal')")
        main = path.read_bytes()
        dumped = dump_of(engine_on(path, options))
        assert dumped.manifest.inventory.rows == 4
        assert path.read_bytes() == main
        assert (folder / "shop.sqlite-wal").stat().st_size > 0
    assert "wal" in dumped.manifest.consistency.snapshot


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_the_image_is_one_moment_while_a_writer_commits_during_every_step(
    folder: Path, options: EngineOptions, journal_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that changes every page between the steps of the copy, wherever SQLite lets it."""
    path = create(folder / "shop.sqlite", journal_mode=journal_mode, rows=2000)
    monkeypatch.setattr(staging, "_BYTES_PER_STEP", 64 * 1024)
    attempts: list[str] = []

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=0)) as writer:
            try:
                with writer:
                    writer.execute("UPDATE t SET value = printf('%d %.*c', ?, 1000, 'x')", (len(attempts),))
                attempts.append("committed")
            except sqlite3.OperationalError:
                attempts.append("locked")

    dumped = dump_of(engine_on(path, options), CancellationThat(write))
    assert len(attempts) > 10
    assert attempts[0] == "committed"  # before the first read
    assert set(attempts[1:]) == ({"locked"} if journal_mode == "delete" else {"committed"})
    restored = load(engine_on(path, options), str(folder / "new.sqlite"), dumped)
    with closing(sqlite3.connect(restored.path)) as connection:
        versions = connection.execute("SELECT DISTINCT substr(value, 1, 2) FROM t").fetchall()
    assert versions == [("0 ",)]


class CancellationThat(Cancellation):
    """Does something whenever it is asked whether to stop."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def check(self) -> None:
        self._act()
        super().check()


def test_a_cancellation_ends_the_copy_between_two_steps(
    folder: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(folder / "shop.sqlite", rows=2000)
    monkeypatch.setattr(staging, "_BYTES_PER_STEP", 64 * 1024)
    steps = []

    def act() -> None:
        steps.append(1)
        if len(steps) == 5:
            cancellation.cancel("the test says so")

    cancellation = CancellationThat(act)
    with pytest.raises(Interrupted):
        dump_of(engine_on(path, options), cancellation)
    assert len(steps) == 5
    assert names_in(options.staging_path) == set()


def test_a_locked_database_is_waited_for(folder: Path, options: EngineOptions) -> None:
    path = create(folder / "shop.sqlite")
    locked = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN EXCLUSIVE")
            locked.set()
            waiting.wait(30)
            writer.execute("COMMIT")

    waiting = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait(30)
    dumped = dump_of(engine_on(path, options), CancellationThat(waiting.set))
    holder.join()
    assert dumped.manifest.inventory.rows == 3


def test_a_database_that_stays_locked_is_an_error_that_says_so(
    folder: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(folder / "shop.sqlite")
    monkeypatch.setattr(source, "BUSY_SECONDS", 0)
    monkeypatch.setattr(source, "_BUSY_STEP_SECONDS", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ServerUnreachable, match="locked") as caught:
            engine_on(path, options).check()
    assert str(path) in caught.value.message


def test_a_path_with_signs_that_mean_something_in_a_uri_is_read(folder: Path, options: EngineOptions) -> None:
    path = create(folder / "100%25 of?mode=rw&#shop;ü.sqlite")
    assert dump_of(engine_on(path, options)).manifest.inventory.rows == 3


def test_a_symbolic_link_is_followed(folder: Path, options: EngineOptions) -> None:
    path = create(folder / "shop.sqlite", journal_mode="wal")
    link = folder / "link.sqlite"
    link.symlink_to(path)
    before = names_in(folder)
    assert dump_of(engine_on(link, options)).manifest.inventory.rows == 3
    assert names_in(folder) == before


def missing(folder: Path) -> Path:
    return folder / "missing.sqlite"


def below_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "shop.sqlite"


def a_folder(folder: Path) -> Path:
    return folder


def empty(folder: Path) -> Path:
    (folder / "empty.sqlite").touch()
    return folder / "empty.sqlite"


def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("These are not the bytes that you are looking for.\n" * 100)
    return folder / "notes.txt"


def encrypted(folder: Path) -> Path:
    (folder / "secret.sqlite").write_bytes(os.urandom(8192))
    return folder / "secret.sqlite"


def cut(folder: Path) -> Path:
    path = create(folder / "cut.sqlite", rows=100)
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def overwritten(folder: Path) -> Path:
    path = create(folder / "overwritten.sqlite", rows=100)
    content = bytearray(path.read_bytes())
    content[40_000:60_000] = bytes(20_000)
    path.write_bytes(content)
    return path


def crashed(folder: Path) -> Path:
    """A program that was killed in the middle of writing a transaction to the file."""
    path = folder / "crashed.sqlite"
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA cache_size = 5');"
        "c.execute('CREATE TABLE t (a)'); c.execute('INSERT INTO t VALUES (1)'); c.commit();"
        "c.executemany('INSERT INTO t VALUES (?)', (('x' * 500,) for _ in range(5000))); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("make", "expected", "says"),
    [
        (missing, ServerUnreachable, "no file"),
        (below_a_file, ServerUnreachable, "no file"),
        (a_folder, SourceUnsupported, "not a file"),
        (empty, SourceUnsupported, "empty"),
        (text, SourceUnsupported, "not an SQLite database"),
        (encrypted, SourceUnsupported, "encrypted"),
        (cut, DumpFailed, "damaged"),
        (overwritten, DumpFailed, "damaged"),
        (crashed, SourceUnsupported, "half a transaction"),
    ],
)
def test_what_cannot_be_backed_up_is_told_in_words_and_left_alone(
    folder: Path, options: EngineOptions, make: Callable[[Path], Path], expected: type[BackupError], says: str
) -> None:
    path = make(folder)
    before = names_in(folder)
    with pytest.raises(expected, match=says) as caught:
        dump_of(engine_on(path, options))
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert names_in(folder) == before
    assert not options.staging_path.exists() or names_in(options.staging_path) == set()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sqlite-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def as_nobody(act: Callable[[], object]) -> str:
    """What the act raises when an unprivileged user does it, as "class: message"; in a child of ours."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            act()
            outcome = "nothing"
        except BaseException as error:  # noqa: BLE001 - told to the parent
            outcome = f"{type(error).__name__}: {error}"
        os.write(writing, outcome.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        outcome = pipe.read()
    os.waitpid(child, 0)
    return outcome


def test_a_file_without_read_permission_is_named(public_folder: Path, options: EngineOptions) -> None:
    path = create(public_folder / "shop.sqlite")
    path.chmod(0)
    outcome = as_nobody(engine_on(path, options).check)
    assert outcome.startswith(AccessDenied.__name__)
    assert f"{path} may not be read" in outcome


def test_a_read_only_file_in_a_read_only_folder_is_read(public_folder: Path, options: EngineOptions) -> None:
    path = create(public_folder / "shop.sqlite")
    path.chmod(0o444)
    public_folder.chmod(0o555)
    assert as_nobody(engine_on(path, options).check) == "nothing"


def test_a_wal_database_in_a_folder_that_may_not_be_written_says_what_is_missing(
    public_folder: Path, options: EngineOptions
) -> None:
    path = create(public_folder / "shop.sqlite", journal_mode="wal")
    path.chmod(0o444)
    public_folder.chmod(0o555)
    outcome = as_nobody(engine_on(path, options).check)
    assert outcome.startswith(AccessDenied.__name__)
    assert "shop.sqlite-shm" in outcome


# Staging


def test_the_image_is_exact(folder: Path, options: EngineOptions, tmp_path: Path) -> None:
    path = folder / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-16le';"
            "CREATE TABLE t (a); INSERT INTO t (rowid, a) VALUES (77, 'ü'), (-5, 5e-324);"
            "PRAGMA user_version = 42; PRAGMA application_id = 4711;"
        )
    target = load(engine_on(path, options), str(tmp_path / "new.sqlite"), dump_of(engine_on(path, options)))
    with closing(sqlite3.connect(target.path)) as connection:
        asked = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "auto_vacuum", "encoding", "user_version", "application_id")
        }
        rows = connection.execute("SELECT rowid, a FROM t ORDER BY rowid").fetchall()
    assert asked == {
        "page_size": 8192,
        "auto_vacuum": 2,
        "encoding": "UTF-16le",
        "user_version": 42,
        "application_id": 4711,
    }
    assert rows == [(-5, 5e-324), (77, "ü")]


def compacting(path: Path, options: EngineOptions) -> SqliteEngine:
    return engine_on(path, dataclasses.replace(options, sqlite_vacuum=True))


def with_room_inside(path: Path, journal_mode: str = "delete") -> Path:
    """A file most of whose pages nothing uses any more."""
    create(path, journal_mode=journal_mode, rows=1000)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM t WHERE id % 10")
    return path


def test_compacting_does_not_hide_that_an_index_has_lost_rows_of_its_table(
    folder: Path, options: EngineOptions
) -> None:
    """It would make the index anew, and nobody would learn that the disk forgets."""
    path = with_room_inside(folder / "shop.sqlite")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX aside ON t (id, id)")
        definition = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'aside'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'aside'")
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("DELETE FROM t WHERE id = 10")  # its entry in the index stays
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", definition)
    dumped = dump_of(compacting(path, options))
    assert dumped.plain == dump_of(engine_on(path, options)).plain
    assert any("not compacted: SQLite finds damage" in warning for warning in dumped.manifest.warnings)
    with pytest.raises(ArtefactCorrupt, match="aside"):
        compacting(path, options).read_archive(dumped.read(), dumped.manifest, Cancellation())


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_compacted_image_is_smaller_and_holds_the_same(
    folder: Path, options: EngineOptions, tmp_path: Path, journal_mode: str
) -> None:
    path = with_room_inside(folder / "shop.sqlite", journal_mode)
    before = path.read_bytes(), names_in(folder)
    exact, compacted = dump_of(engine_on(path, options)), dump_of(compacting(path, options))
    assert (path.read_bytes(), names_in(folder)) == before
    assert len(compacted.plain) < len(exact.plain) / 5
    assert compacted.manifest.inventory == exact.manifest.inventory
    assert compacted.manifest.warnings == ()
    estimate = compacting(path, options).preflight(REQUEST).estimated_plain_bytes
    assert estimate is not None
    assert estimate < len(exact.plain) / 2
    target = load(compacting(path, options), str(tmp_path / "new.sqlite"), compacted)
    found = target.take_inventory(compacted.manifest, Cancellation())
    assert compare(compacted.manifest.inventory, found) == ()
    assert names_in(options.staging_path) == set()
    with closing(sqlite3.connect(target.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (journal_mode,)


def test_a_compacted_image_keeps_what_lies_beside_the_rows(
    folder: Path, options: EngineOptions, tmp_path: Path
) -> None:
    path = folder / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-16le';"
            "CREATE TABLE t (a); INSERT INTO t (rowid, a) VALUES (77, 'ü'), (-5, 5e-324);"
            "CREATE TABLE pairs (a TEXT, b INT, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;"
            "PRAGMA user_version = 42; PRAGMA application_id = 4711;"
        )
    dumped = dump_of(compacting(path, options))
    assert dumped.manifest.warnings == ()
    target = load(compacting(path, options), str(tmp_path / "new.sqlite"), dumped)
    with closing(sqlite3.connect(target.path)) as connection:
        asked = [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "auto_vacuum", "encoding", "user_version", "application_id")
        ]
        rows = connection.execute("SELECT rowid, a FROM t ORDER BY rowid").fetchall()
    assert asked == [8192, 2, "UTF-16le", 42, 4711]
    assert rows == [(-5, 5e-324), (77, "ü")]


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        ("CREATE TABLE odd (a CHECK (a > 0)); INSERT INTO odd (rowid, a) VALUES (7, 1), (9, 2);", "rows of 'odd'"),
        ("CREATE TABLE odd (a, b AS (a + 1), CHECK (a > 0)); INSERT INTO odd (a) VALUES (7);", "vacuum_db.odd"),
        ("CREATE TABLE odd (word TEXT COLLATE of_the_application PRIMARY KEY);", "of_the_application"),
    ],
)
def test_an_image_that_compacting_would_change_stays_exact_and_says_why(
    folder: Path, options: EngineOptions, odd: str, says: str
) -> None:
    """What SQLite 3.40 trips over; a newer one may compact it, and then keeps the numbers."""
    path = with_room_inside(folder / "shop.sqlite")
    with closing(sqlite3.connect(path)) as application:
        application.create_collation("of_the_application", lambda a, b: (a > b) - (a < b))
        application.executescript(odd)
    exact, compacted = dump_of(engine_on(path, options)), dump_of(compacting(path, options))
    assert compacted.manifest.inventory == exact.manifest.inventory
    told = [warning for warning in compacted.manifest.warnings if "not compacted" in warning]
    if compacted.plain == exact.plain:
        assert len(told) == 1
        assert says in told[0]
    else:
        assert told == []
        assert sqlite3.sqlite_version_info > (3, 40, 1)
    assert names_in(options.staging_path) == set()


def test_a_cancellation_ends_the_compacting(
    folder: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(folder / "shop.sqlite", rows=2000)
    cancellation = Cancellation()

    def compact(file: Path, cancellation: Cancellation) -> compacting_module.Compacting:
        cancellation.cancel("the test says so")
        return compacting_module.compact_image(file, cancellation)

    monkeypatch.setattr(staging, "compact_image", compact)
    with pytest.raises(Interrupted):
        dump_of(compacting(path, options), cancellation)
    assert names_in(options.staging_path) == set()


def test_the_staged_image_has_no_name_while_it_is_read(folder: Path, options: EngineOptions) -> None:
    """So a killed process leaves nothing in the staging folder."""
    engine = engine_on(create(folder / "shop.sqlite"), options)
    with engine.open_backup(REQUEST, Cancellation()) as dump:
        assert names_in(options.staging_path) == set()
        assert finish(engine, dump).manifest.inventory.rows == 3


def test_too_little_room_for_the_image_names_the_setting(
    folder: Path, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(folder / "shop.sqlite")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=1000))
    with pytest.raises(StorageFull, match=r"1\.0 kB left") as caught:
        dump_of(engine_on(path, options))
    assert "BACKUP_STAGING_PATH" in caught.value.hint


@dataclasses.dataclass
class Usage:
    free: int


def test_a_staging_folder_that_is_none_names_the_setting(folder: Path, options: EngineOptions) -> None:
    path = create(folder / "shop.sqlite")
    options.staging_path.write_text("a file")
    with pytest.raises(ConfigurationError, match="not a folder") as caught:
        dump_of(engine_on(path, options))
    assert "BACKUP_STAGING_PATH" in caught.value.hint


def test_a_dump_that_was_not_read_to_its_end_is_incomplete(folder: Path, options: EngineOptions) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    with engine.open_backup(REQUEST, Cancellation()) as dump, pytest.raises(DumpIncomplete):
        dump.complete()


# Landing


def test_a_restored_file_is_readable_by_its_group_and_nobody_else(folder: Path, options: EngineOptions) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    mask = os.umask(0o077)
    try:
        target = load(engine, str(folder / "new.sqlite"), dump_of(engine))
    finally:
        os.umask(mask)
    assert target.path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_a_new_database_never_takes_over_files_of_another(folder: Path, options: EngineOptions, suffix: str) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    leftover = folder / f"new.sqlite{suffix}"
    leftover.write_bytes(b"somebody's")
    with pytest.raises(TargetNotEmpty, match=leftover.name):
        engine.create_database(str(folder / "new.sqlite"))
    assert leftover.read_bytes() == b"somebody's"


def test_a_file_that_appears_during_the_restore_is_not_overwritten(folder: Path, options: EngineOptions) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    dumped = dump_of(engine)
    target = engine.create_database(str(folder / "new.sqlite"))

    def content() -> Iterator[bytes]:
        yield from blocks(dumped.plain)
        target.path.write_bytes(b"somebody's")

    with pytest.raises(TargetNotEmpty):
        target.load([content()], dumped.manifest, Cancellation())
    assert target.path.read_bytes() == b"somebody's"
    assert names_in(folder) == {"shop.sqlite", "new.sqlite"}


def test_a_failed_restore_leaves_no_file(folder: Path, options: EngineOptions) -> None:
    engine = engine_on(create(folder / "shop.sqlite", rows=100), options)
    dumped = dump_of(engine)
    target = engine.create_database(str(folder / "new.sqlite"))
    with pytest.raises(LoadFailed, match="cut off"):
        target.load([blocks(dumped.plain[:50_000])], dumped.manifest, Cancellation())
    assert names_in(folder) == {"shop.sqlite"}


def test_a_new_database_needs_its_folder(folder: Path, options: EngineOptions) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    with pytest.raises(UsageError, match="no folder"):
        engine.create_database(str(folder / "missing" / "new.sqlite"))


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_what_is_no_path_of_a_new_file_is_a_wrong_request(folder: Path, options: EngineOptions, name: str) -> None:
    engine = engine_on(create(folder / "shop.sqlite"), options)
    with pytest.raises(UsageError, match="not the path of a new file"):
        engine.create_database(name)


@pytest.mark.parametrize(
    ("damage", "expected", "says"),
    [
        (lambda plain: b"", ArtefactTruncated, "ends after 0 bytes"),
        (lambda plain: plain[:60], ArtefactTruncated, "within the header"),
        (lambda plain: plain[:-1], ArtefactTruncated, "bytes"),
        (lambda plain: plain + b"\x00", ArtefactCorrupt, "its header says"),
        (lambda plain: b"x" + plain[1:], ArtefactCorrupt, "does not begin"),
        (lambda plain: plain[:4096] + bytes(4096) + plain[8192:], ArtefactCorrupt, "damaged"),
    ],
)
def test_a_damaged_image_is_told_from_a_truncated_one(
    folder: Path,
    options: EngineOptions,
    damage: Callable[[bytes], bytes],
    expected: type[BackupError],
    says: str,
) -> None:
    engine = engine_on(create(folder / "shop.sqlite", rows=100), options)
    dumped = dump_of(engine)
    with pytest.raises(expected, match=says):
        engine.read_archive([blocks(damage(dumped.plain))], dumped.manifest, Cancellation())


@pytest.mark.skipif(not CHINOOK.exists(), reason="needs ../shared/data/chinook.sqlite")
def test_chinook_comes_back_whole(folder: Path, options: EngineOptions) -> None:
    path = Path(shutil.copy(CHINOOK, folder / "chinook.sqlite"))
    dumped = dump_of(engine_on(path, options))
    target = load(engine_on(path, options), str(folder / "new.sqlite"), dumped)
    assert compare(dumped.manifest.inventory, target.take_inventory(dumped.manifest, Cancellation())) == ()
    rows = {table.name: table.rows for table in dumped.manifest.inventory.tables}
    with closing(sqlite3.connect(CHINOOK)) as connection:
        assert rows["Track"] == connection.execute("SELECT count(*) FROM Track").fetchone()[0]
