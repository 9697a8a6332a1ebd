"""What only SQLite can get wrong about a restore: files that others have open, journals that are left, owners."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.engines.base import EngineOptions, LoadOptions
from db_backup.engines.sqlite import SqliteEngine, replacing
from db_backup.errors import (
    BackupError,
    FeatureNotAvailable,
    Interrupted,
    LoadFailed,
    PrivilegeMissing,
    Refused,
    SourceError,
    SourceUnsupported,
    StorageFull,
    TargetNotEmpty,
    UsageError,
)
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from support.disks import Disk
from support.dumps import Dumped, blocks, dump_of

pytestmark = pytest.mark.integration

NOBODY = 65534
SIDE_FILES = ("-wal", "-shm", "-journal")
OLD, NEW = "of the old database", "of the backup"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "BUSY_SECONDS", 0.05)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the target lies; others may pass through it."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(staging_path=tmp_path, scratch_path=tmp_path)


@pytest.fixture
def dumped(tmp_path: Path, options: EngineOptions) -> Dumped:
    return dump_of(engine_on(create(tmp_path / "source.sqlite", NEW), options))


@pytest.fixture
def target(folder: Path) -> Path:
    return create(folder / "shop.sqlite", OLD)


@pytest.fixture
def children() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def engine_on(path: Path, options: EngineOptions) -> SqliteEngine:
    return SqliteEngine(ConnectionInfo(conn_id="shop", engine=EngineName.SQLITE, database=str(path)), options)


def create(path: Path, whose: str, *, journal_mode: str = "delete", page_bytes: int = 4096) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA page_size = {page_bytes}")
        connection.execute(f"PRAGMA journal_mode = {journal_mode}")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, whose TEXT, filler BLOB)")
        connection.executemany("INSERT INTO t (whose, filler) VALUES (?, randomblob(900))", [(whose,)] * 300)
    return path


def contents(path: Path) -> str:
    """Whose database it is, all of it."""
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((whose, rows),) = connection.execute("SELECT whose, count(*) FROM t GROUP BY whose").fetchall()
        assert rows == 300
        return str(whose)


def side_files(path: Path) -> list[str]:
    return [suffix for suffix in SIDE_FILES if path.with_name(path.name + suffix).exists()]


def replacement(engine: SqliteEngine, dumped: Dumped) -> str:
    name = engine.replacement_name()
    engine.drop_database(name)
    engine.create_database(name).load(dumped.read(), dumped.manifest, Cancellation())
    return name


def replace(path: Path, dumped: Dumped, options: EngineOptions) -> tuple[str, ...]:
    engine = engine_on(path, options)
    engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
    warnings = engine.replace_with(replacement(engine, dumped), Cancellation())
    assert not Path(engine.replacement_name()).exists()
    return warnings


def in_a_child(work: Callable[[], object]) -> int:
    """Its exit code; negative for a signal."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Application:
    """Another process that has the database open; it runs one statement per line and answers with its first value."""

    _PROGRAM = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        rows = connection.execute(line).fetchall()\n"
        "        print(rows[0][0] if rows else 'done', flush=True)\n"
        "    except sqlite3.Error as error:\n"
        "        print(error, flush=True)\n"
    )

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.run("SELECT count(*) FROM sqlite_master")

    def run(self, statement: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(statement + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        with self._process:
            self._process.kill()


@pytest.fixture
def application(request: pytest.FixtureRequest, target: Path) -> Iterator[Application]:
    """``request.param``: the journal mode of the target."""
    with closing(sqlite3.connect(target)) as connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
    opened = Application(target)
    yield opened
    opened.kill()


both_modes = pytest.mark.parametrize("application", ["delete", "wal"], indirect=True)


# The place is taken


def test_a_file_that_nobody_has_open_is_renamed_over(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    before = target.stat().st_ino
    assert replace(target, dumped, options) == ()
    assert target.stat().st_ino != before
    assert contents(target) == NEW
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_owner_mode_and_attributes_are_those_of_the_old_file(
    target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    os.chown(target, NOBODY, 12345)
    target.chmod(0o664)
    os.setxattr(target, "user.purpose", b"shop")
    replace(target, dumped, options)
    status = target.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (NOBODY, 12345, 0o664)
    assert os.getxattr(target, "user.purpose") == b"shop"
    assert contents(target) == NEW


def test_a_symbolic_link_stays_one(folder: Path, target: Path, dumped: Dumped, options: EngineOptions) -> None:
    (folder / "elsewhere").mkdir()
    link = folder / "elsewhere" / "link.sqlite"
    link.symlink_to(target)
    examination = engine_on(link, options).examine_target(dumped.manifest, LoadOptions(), replace=True)
    assert [str(target) in warning for warning in examination.warnings] == [True]
    replace(link, dumped, options)
    assert link.is_symlink()
    assert contents(target) == NEW
    assert [path.name for path in (folder / "elsewhere").iterdir()] == ["link.sqlite"]


def test_a_symbolic_link_whose_file_is_gone_gets_it_back(
    folder: Path, dumped: Dumped, options: EngineOptions, tmp_path: Path
) -> None:
    link = folder / "link.sqlite"
    link.symlink_to(tmp_path / "gone.sqlite")
    engine = engine_on(link, options)
    assert engine.examine_target(dumped.manifest, LoadOptions(), replace=False).occupancy is None
    engine.replace_with(replacement(engine, dumped), Cancellation())
    assert link.is_symlink()
    assert contents(tmp_path / "gone.sqlite") == NEW


def test_both_names_of_one_file_get_the_new_contents(
    folder: Path, target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    (folder / "second.sqlite").hardlink_to(target)
    replace(target, dumped, options)
    assert contents(folder / "second.sqlite") == contents(target) == NEW


def test_a_name_that_the_old_file_gets_at_the_last_moment_keeps_the_old_contents(
    folder: Path, target: Path, dumped: Dumped, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``cp -al`` gives it."""
    made_alike = replacing._made_alike

    def linked_meanwhile(new: Path, descriptor: int) -> bool:
        (folder / "second.sqlite").hardlink_to(target)
        return made_alike(new, descriptor)

    monkeypatch.setattr(replacing, "_made_alike", linked_meanwhile)
    replace(target, dumped, options)
    assert contents(target) == NEW
    assert contents(folder / "second.sqlite") == OLD


def test_a_file_that_is_mounted_by_itself_gets_the_new_contents(
    target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    done = subprocess.run(["mount", "--bind", target, target], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        replace(target, dumped, options)
    finally:
        subprocess.run(["umount", "--lazy", target], check=True)
    assert contents(target) == NEW


def test_a_user_who_cannot_give_files_away_writes_into_the_file_of_another(
    folder: Path, target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    os.chown(target, 12345, -1)
    target.chmod(0o666)
    folder.chmod(0o777)
    engine = engine_on(target, options)
    name = replacement(engine, dumped)
    Path(name).chmod(0o644)

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
        engine.replace_with(name, Cancellation())

    assert in_a_child(as_nobody) == 0
    assert (target.stat().st_uid, target.stat().st_mode & 0o7777) == (12345, 0o666)
    assert contents(target) == NEW
    assert not Path(name).exists()


def test_a_name_that_somebody_takes_meanwhile_is_not_overwritten(
    folder: Path, dumped: Dumped, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "new.sqlite"
    engine = engine_on(path, options)
    name = replacement(engine, dumped)
    monkeypatch.setattr(replacing, "refuse_existing", lambda _: create(path, OLD))
    with pytest.raises(TargetNotEmpty):
        engine.replace_with(name, Cancellation())
    assert contents(path) == OLD


# Others have it open


@pytest.mark.parametrize("mode_of_the_backup", ["delete", "wal"])
@both_modes
def test_a_program_that_has_it_open_and_idle_goes_on_in_the_new_database(
    application: Application, target: Path, tmp_path: Path, options: EngineOptions, mode_of_the_backup: str
) -> None:
    assert application.run("SELECT whose FROM t") == OLD
    source = create(tmp_path / "backed-up.sqlite", NEW, journal_mode=mode_of_the_backup)
    (warning,) = replace(target, dump_of(engine_on(source, options)), options)
    assert "Restart" in warning
    assert application.run("SELECT whose FROM t") == NEW
    assert application.run("UPDATE t SET whose = 'of the program'") == "done"
    application.kill()
    assert contents(target) == "of the program"


@pytest.mark.parametrize(
    ("application", "lock"),
    [
        ("delete", "BEGIN IMMEDIATE"),
        ("delete", "BEGIN EXCLUSIVE"),
        ("wal", "BEGIN IMMEDIATE"),
    ],
    indirect=["application"],
)
def test_a_locked_database_is_refused_and_replaced_once_it_is_free(
    application: Application, lock: str, target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    engine = engine_on(target, options)
    name = replacement(engine, dumped)
    application.run(lock)
    with pytest.raises(Refused, match="in use") as caught:
        engine.replace_with(name, Cancellation())
    assert caught.value.hint
    assert Path(name).exists()
    assert application.run("UPDATE t SET whose = 'by the program'") == "done"
    assert application.run("COMMIT") == "done"
    assert contents(target) == "by the program"
    engine.replace_with(name, Cancellation())
    assert contents(target) == NEW


@pytest.mark.parametrize("application", ["delete"], indirect=True)
def test_a_reader_in_the_middle_of_its_transaction_is_not_replaced_under_its_feet(
    application: Application, target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    application.run("BEGIN")
    application.run("SELECT count(*) FROM t")
    with pytest.raises(Refused, match="in use"):
        replace(target, dumped, options)
    assert application.run("SELECT whose FROM t") == OLD
    application.run("COMMIT")
    assert contents(target) == OLD


def test_pages_of_another_size_do_not_go_into_a_wal_that_others_have_open(
    folder: Path, dumped: Dumped, options: EngineOptions
) -> None:
    path = create(folder / "small.sqlite", OLD, journal_mode="wal", page_bytes=1024)
    application = Application(path)
    with pytest.raises(Refused):
        replace(path, dumped, options)
    assert application.run("SELECT whose FROM t") == OLD
    assert application.run("PRAGMA journal_mode") == "wal"
    application.kill()
    replace(path, dumped, options)
    assert contents(path) == NEW


@both_modes
def test_pages_of_another_size_are_written_where_sqlite_can(
    application: Application, folder: Path, target: Path, options: EngineOptions, tmp_path: Path
) -> None:
    """Nobody else has it open, and it cannot be renamed over."""
    application.kill()
    (folder / "second name").hardlink_to(target)
    small = dump_of(engine_on(create(tmp_path / "small.sqlite", NEW, page_bytes=1024), options))
    replace(target, small, options)
    assert contents(target) == NEW


# What a crashed program has left


def crash(path: Path, *statements: str) -> None:
    def work() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement).fetchall()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(work) == -signal.SIGKILL


def test_a_wal_that_a_crash_has_left_is_never_applied_to_the_new_file(
    target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    crash(target, "PRAGMA journal_mode = WAL", "UPDATE t SET whose = 'in the wal'")
    assert "-wal" in side_files(target)
    replace(target, dumped, options)
    assert side_files(target) == []
    assert contents(target) == NEW


HALF_DONE = ("PRAGMA cache_size = 1", "BEGIN", "UPDATE t SET whose = 'half done', filler = randomblob(900)")


def test_a_hot_journal_is_never_applied_to_the_new_file(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    crash(target, *HALF_DONE)
    assert side_files(target) == ["-journal"]
    examination = engine_on(target, options).examine_target(dumped.manifest, LoadOptions(), replace=True)
    assert examination.occupancy is not None
    assert examination.occupancy.rows
    assert any("half a transaction" in warning for warning in examination.warnings)
    replace(target, dumped, options)
    assert side_files(target) == []
    assert contents(target) == NEW


@pytest.mark.parametrize("mode", ["persist", "truncate"])
def test_a_journal_that_is_done_with_goes(target: Path, dumped: Dumped, options: EngineOptions, mode: str) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("UPDATE t SET filler = NULL")
    assert side_files(target) == ["-journal"]
    before = target.stat().st_ino
    replace(target, dumped, options)
    assert target.stat().st_ino != before
    assert side_files(target) == []
    assert contents(target) == NEW


def test_a_backup_in_wal_mode_comes_back_in_wal_mode(target: Path, tmp_path: Path, options: EngineOptions) -> None:
    replace(target, dump_of(engine_on(create(tmp_path / "wal.sqlite", NEW, journal_mode="wal"), options)), options)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert contents(target) == NEW


def test_a_kill_at_any_moment_leaves_one_whole_database_and_a_second_attempt_works(
    folder: Path, dumped: Dumped, options: EngineOptions
) -> None:
    """At every call of the system that Python tells of."""
    found, moment = [], 0
    while moment == 0 or found[-1][0] != 0:
        moment += 1
        path = create(folder / f"{moment}.sqlite", OLD)
        crash(path, "PRAGMA journal_mode = WAL", "UPDATE t SET filler = randomblob(900)")
        engine = engine_on(path, options)
        name = replacement(engine, dumped)
        code = in_a_child(lambda: _killed_at(moment, lambda: engine.replace_with(name, Cancellation())))  # noqa: B023
        found.append((code, contents(path)))
        replace(path, dumped, options)
        assert contents(path) == NEW
    codes, whose = zip(*found, strict=True)
    assert len(found) > 10
    assert set(codes[:-1]) == {-signal.SIGKILL}
    assert sorted(whose, key=[OLD, NEW].index) == list(whose)
    assert set(whose) == {OLD, NEW}


def _killed_at(moment: int, work: Callable[[], object]) -> None:
    events = 0

    def count(event: str, _: object) -> None:
        nonlocal events
        if event.partition(".")[0] in {"os", "open", "fcntl", "sqlite3", "shutil"}:
            events += 1
            if events == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    work()


@both_modes
def test_a_kill_while_sqlite_writes_leaves_the_old_database(
    application: Application, target: Path, dumped: Dumped, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(target, options)
    name = replacement(engine, dumped)
    monkeypatch.setattr(replacing, "_PAGES_PER_STEP", 20)
    steps = []

    def kill(*_: object) -> None:
        steps.append(1)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(replacing, "_go_on", kill)
    assert in_a_child(lambda: engine.replace_with(name, Cancellation())) == -signal.SIGKILL
    monkeypatch.undo()
    assert application.run("SELECT whose FROM t") == OLD
    assert contents(target) == OLD
    replace(target, dumped, options)
    assert contents(target) == NEW


@both_modes
def test_a_cancellation_while_sqlite_writes_leaves_the_old_database(
    application: Application, target: Path, dumped: Dumped, options: EngineOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_on(target, options)
    name = replacement(engine, dumped)
    monkeypatch.setattr(replacing, "_PAGES_PER_STEP", 20)
    cancellation, checks = Cancellation(), []
    really_check = cancellation.check

    def check() -> None:
        checks.append(1)
        if len(checks) == 4:
            cancellation.cancel("the test says so")
        really_check()

    monkeypatch.setattr(cancellation, "check", check)
    with pytest.raises(Interrupted):
        engine.replace_with(name, cancellation)
    assert application.run("SELECT whose FROM t") == OLD
    assert Path(name).exists()


# What a target can be


def test_a_damaged_database_can_be_replaced(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    with target.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    engine = engine_on(target, options)
    examination = engine.examine_target(dumped.manifest, LoadOptions(), replace=True)
    assert examination.occupancy is not None
    assert examination.occupancy.rows
    assert any("damaged" in warning for warning in examination.warnings)
    with pytest.raises(SourceError, match="damaged"):
        engine.examine_target(dumped.manifest, LoadOptions(), replace=False)
    replace(target, dumped, options)
    assert contents(target) == NEW


def test_a_damaged_database_with_a_journal_is_left_for_a_person(
    target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    crash(target, "PRAGMA journal_mode = WAL", "UPDATE t SET whose = 'in the wal'")
    with target.open("r+b") as file:
        file.write(bytes(100))
    wal = target.with_name(f"{target.name}-wal")
    wal.write_bytes(bytes(50) + wal.read_bytes()[50:])
    before = target.read_bytes()
    engine = engine_on(target, options)
    name = replacement(engine, dumped)
    with pytest.raises(BackupError) as caught:
        engine.replace_with(name, Cancellation())
    assert "Move it away" in caught.value.hint
    assert target.read_bytes() == before


@pytest.mark.parametrize("replacing_it", [False, True])
def test_a_file_that_is_no_database_is_refused(
    folder: Path, dumped: Dumped, options: EngineOptions, replacing_it: bool
) -> None:
    path = folder / "letter.txt"
    path.write_text("Dear reader, this is no database. " * 100)
    kind = SourceUnsupported if replacing_it else TargetNotEmpty
    with pytest.raises(kind, match="not an SQLite database") as caught:
        engine_on(path, options).examine_target(dumped.manifest, LoadOptions(), replace=replacing_it)
    assert ("move it away" in caught.value.hint) is replacing_it


@pytest.mark.parametrize("name", ["", "zero\0byte", "folder", "missing/file.sqlite"])
def test_a_path_that_can_be_no_database_is_a_wrong_request(
    folder: Path, dumped: Dumped, options: EngineOptions, name: str
) -> None:
    (folder / "folder").mkdir()
    engine = engine_on(folder / name, options) if name else SqliteEngine(ConnectionInfo("", EngineName.SQLITE), options)
    with pytest.raises(UsageError):
        engine.examine_target(dumped.manifest, LoadOptions(), replace=False)


def test_a_backup_of_another_engine_is_refused(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    other = dumped.manifest.model_copy(update={"engine": EngineName.MYSQL})
    with pytest.raises(SourceUnsupported, match="mysql"):
        engine_on(target, options).examine_target(other, LoadOptions(), replace=False)


def test_a_folder_or_file_that_may_not_be_written_is_told_before_anything_begins(
    folder: Path, target: Path, dumped: Dumped, options: EngineOptions
) -> None:
    def as_nobody() -> None:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        for path in (target, folder / "new.sqlite"):
            with pytest.raises(PrivilegeMissing, match=str(folder)):
                engine_on(path, options).examine_target(dumped.manifest, LoadOptions(), replace=True)
        with pytest.raises(PrivilegeMissing, match=str(read_only)):
            engine_on(read_only, options).examine_target(dumped.manifest, LoadOptions(), replace=True)

    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    read_only = create(folder / "open" / "shop.sqlite", OLD)
    assert in_a_child(as_nobody) == 0


def test_a_disk_without_room_is_told_before_anything_begins(
    tmp_path: Path, dumped: Dumped, options: EngineOptions
) -> None:
    with Disk.mounted(tmp_path / "small", size_kilobytes=200) as disk:
        with pytest.raises(StorageFull):
            engine_on(disk.folder / "new.sqlite", options).examine_target(dumped.manifest, LoadOptions(), replace=False)
        structure = dumped.manifest.model_copy(update={"type": BackupType.STRUCTURE})
        engine_on(disk.folder / "new.sqlite", options).examine_target(structure, LoadOptions(), replace=False)


def test_a_disk_that_fills_while_sqlite_writes_leaves_the_old_database(
    tmp_path: Path, dumped: Dumped, options: EngineOptions
) -> None:
    with Disk.mounted(tmp_path / "small", size_kilobytes=4000) as disk:
        path = create(disk.folder / "shop.sqlite", OLD)
        (disk.folder / "second name").hardlink_to(path)
        engine = engine_on(path, options)
        name = replacement(engine, dumped)
        disk.shrink(free_kilobytes=100)
        with pytest.raises(StorageFull):
            engine.replace_with(name, Cancellation())
        disk.remount("size=4000k")
        assert contents(path) == OLD
        engine.replace_with(name, Cancellation())
        assert contents(path) == NEW


def test_a_file_of_no_bytes_is_an_empty_database(folder: Path, dumped: Dumped, options: EngineOptions) -> None:
    path = folder / "touched.sqlite"
    path.touch(0o600)
    engine = engine_on(path, options)
    occupancy = engine.examine_target(dumped.manifest, LoadOptions(), replace=False).occupancy
    assert occupancy is not None
    assert (occupancy.objects, occupancy.rows) == (0, False)
    engine.load(dumped.read(), dumped.manifest, Cancellation())
    assert contents(path) == NEW
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_database_that_is_filled_during_the_load_is_not_overwritten(
    folder: Path, dumped: Dumped, options: EngineOptions
) -> None:
    path = folder / "touched.sqlite"
    path.touch()

    def content() -> Iterator[bytes]:
        yield from blocks(dumped.plain)
        create(path, OLD)

    with pytest.raises(TargetNotEmpty):
        engine_on(path, options).load([content()], dumped.manifest, Cancellation())
    assert contents(path) == OLD


@pytest.mark.parametrize("suffix", SIDE_FILES)
def test_a_journal_of_a_database_that_is_gone_is_not_taken_over(
    folder: Path, dumped: Dumped, options: EngineOptions, suffix: str
) -> None:
    path = folder / "new.sqlite"
    engine = engine_on(path, options)
    name = replacement(engine, dumped)
    path.with_name(path.name + suffix).write_text("of another time")
    for attempt in (
        lambda: engine.examine_target(dumped.manifest, LoadOptions(), replace=False),
        lambda: engine.replace_with(name, Cancellation()),
    ):
        with pytest.raises(TargetNotEmpty, match=suffix):
            attempt()
    assert not path.exists()


@pytest.mark.parametrize("application", ["delete"], indirect=True)
def test_rows_are_not_loaded_into_a_locked_database(
    application: Application, target: Path, tmp_path: Path, options: EngineOptions
) -> None:
    source = engine_on(create(tmp_path / "rows.sqlite", NEW), options)
    rows = dump_of(source, backup_type=BackupType.DATA)
    application.run("BEGIN IMMEDIATE")
    with pytest.raises(Refused, match="in use"):
        engine_on(target, options).load(rows.read(), rows.manifest, Cancellation())


def test_statistics_stay_those_of_the_backup(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    replace(target, dumped, options)
    before = target.read_bytes()
    engine_on(target, options).refresh_statistics(Cancellation())
    assert target.read_bytes() == before


@pytest.mark.parametrize("query", ["ATTACH '{}' AS more", "VACUUM INTO '{}'", "PRAGMA user_version = 5"])
def test_a_question_makes_no_other_file_and_sets_nothing(
    target: Path, tmp_path: Path, options: EngineOptions, query: str
) -> None:
    before = target.read_bytes()
    with pytest.raises(SourceError):
        engine_on(target, options).ask(query.format(tmp_path / "more.sqlite"), Cancellation())
    assert not (tmp_path / "more.sqlite").exists()
    assert target.read_bytes() == before


# Single tables

SHOP = """
CREATE TABLE numbered (value TEXT);
INSERT INTO numbered (rowid, value) VALUES (7, 'seven'), (3, 'three'), (-2, CAST(x'ff00fe' AS TEXT));
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT COLLATE NOCASE UNIQUE, price REAL,
    twice REAL AS (price * 2) STORED, shown TEXT AS ('no ' || id), CHECK (price > 0));
INSERT INTO counted (id, word, price) VALUES (5, 'a', 0.1), (6, 'b', 1e300);
DELETE FROM counted WHERE id = 6;
PRAGMA ignore_check_constraints = ON;
INSERT INTO counted (id, word, price) VALUES (3, 'below', -1);
CREATE INDEX counted_by_price ON counted (price DESC) WHERE price > 1;
CREATE TRIGGER count_more AFTER INSERT ON Counted BEGIN DELETE FROM numbered; END;
CREATE TABLE keyed (a TEXT, b ANY, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;
INSERT INTO keyed VALUES ('x', 1), ('x', 'one'), ('y', x'00');
CREATE INDEX keyed_by_b ON keyed (b);
CREATE VIRTUAL TABLE notes USING fts5(body);
INSERT INTO notes VALUES ('the quick brown fox');
"""
CHOSEN = ("numbered", "counted", "keyed")


def shop(path: Path, *, encoding: str = "UTF-8") -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA encoding = '{encoding}'; {SHOP}")
    return path


def definitions(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'sqlite_%'"))


def everything_in(path: Path) -> list[object]:
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [
            connection.execute(query).fetchall()
            for query in (
                "SELECT rowid, value FROM numbered ORDER BY rowid",
                "SELECT id, word, price, twice, shown FROM counted ORDER BY id",
                "SELECT a, b, typeof(b) FROM keyed ORDER BY a, typeof(b)",
                "SELECT name, seq FROM sqlite_sequence",
            )
        ]


@pytest.mark.parametrize("existing", ["missing", "no bytes", "filled"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le"])
def test_tables_come_with_all_that_is_theirs(
    folder: Path, tmp_path: Path, options: EngineOptions, existing: str, encoding: str
) -> None:
    source = shop(tmp_path / "shop.sqlite", encoding=encoding)
    dumped = dump_of(engine_on(source, options))
    path = folder / "target.sqlite"
    if existing == "no bytes":
        path.touch()
    elif existing == "filled":
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(f"PRAGMA encoding = '{encoding}'; CREATE TABLE other (id INTEGER PRIMARY KEY);")
    engine_on(path, options).load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=CHOSEN))
    assert everything_in(path) == everything_in(source)
    kept = {"other"} if existing == "filled" else set()
    assert {item for item in definitions(path) if item[0] not in kept} == {
        item for item in definitions(source) if not item[0].startswith("notes")
    }
    with closing(sqlite3.connect(path)) as connection:
        expected = "CHECK constraint failed in counted"
        assert connection.execute("PRAGMA integrity_check").fetchall() == [(expected,)]
    assert [entry.name for entry in folder.iterdir()] == [path.name]


def test_another_encoding_is_told_and_changes_nothing(folder: Path, tmp_path: Path, options: EngineOptions) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite", encoding="UTF-16le"), options))
    path = create(folder / "target.sqlite", OLD)
    with pytest.raises(LoadFailed, match="UTF-16le"):
        engine_on(path, options).load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=CHOSEN))
    assert contents(path) == OLD


@pytest.mark.parametrize("name", ["notes", "notes_content"])
def test_virtual_tables_do_not_come_alone(folder: Path, tmp_path: Path, options: EngineOptions, name: str) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite"), options))
    engine = engine_on(folder / "target.sqlite", options)
    with pytest.raises(FeatureNotAvailable, match=name):
        engine.load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=("numbered", name)))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("there", "named"),
    [("CREATE TABLE KEYED (a)", "KEYED"), ("CREATE INDEX keyed_by_b ON t (whose)", "keyed_by_b")],
)
def test_what_is_called_like_a_table_or_its_index_is_in_the_way(
    folder: Path, tmp_path: Path, options: EngineOptions, there: str, named: str
) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite"), options))
    path = create(folder / "target.sqlite", OLD)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(there)
    before = path.read_bytes()
    with pytest.raises(TargetNotEmpty, match=named):
        engine_on(path, options).load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=CHOSEN))
    assert path.read_bytes() == before


@both_modes
def test_tables_are_not_loaded_into_a_locked_database(
    application: Application, target: Path, tmp_path: Path, options: EngineOptions
) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite"), options))
    application.run("BEGIN IMMEDIATE")
    with pytest.raises(Refused, match="in use"):
        engine_on(target, options).load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=CHOSEN))
    assert contents(target) == OLD


def test_tables_get_statistics_where_the_database_keeps_some(
    target: Path, tmp_path: Path, options: EngineOptions
) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite"), options))
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ANALYZE")
    engine_on(target, options).load(dumped.read(), dumped.manifest, Cancellation(), LoadOptions(tables=("keyed",)))
    with closing(sqlite3.connect(target)) as connection:
        assert set(connection.execute("SELECT tbl FROM sqlite_stat1")) == {("t",), ("keyed",)}


def test_a_cancelled_load_of_tables_changes_nothing(target: Path, dumped: Dumped, options: EngineOptions) -> None:
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ALTER TABLE t RENAME TO older")
    before = target.read_bytes()
    cancellation = Cancellation()

    def content() -> Iterator[bytes]:
        yield from blocks(dumped.plain)
        cancellation.cancel("the test says so")

    with pytest.raises(Interrupted):
        engine_on(target, options).load([content()], dumped.manifest, cancellation, LoadOptions(tables=("t",)))
    assert target.read_bytes() == before


def test_the_whole_inventory_is_the_backups(target: Path, tmp_path: Path, options: EngineOptions) -> None:
    dumped = dump_of(engine_on(shop(tmp_path / "shop.sqlite"), options))
    replace(target, dumped, options)
    found = engine_on(target, options).take_inventory(dumped.manifest, Cancellation())
    assert compare(dumped.manifest.inventory, found) == ()
