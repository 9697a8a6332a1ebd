"""What a local folder adds to the contract: modes, durability, processes that die, disks that are full."""

from __future__ import annotations

import errno
import grp
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from db_backup.errors import (
    ConfigurationError,
    StorageAccessDenied,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageNotMounted,
)
from db_backup.naming import manifest_key
from db_backup.storage import LocalStorage
from db_backup.storage.folder import this_host, try_lock
from support.storage_process import BACKUP_ID, PART, STATE

MANIFEST = manifest_key(BACKUP_ID)
pytestmark = pytest.mark.unit

_AT_ONCE = timedelta(0)
_ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user or to mount a disk")
_NOBODY = 65_534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    storage = LocalStorage("disk", root)
    storage.initialise()
    return storage


@contextmanager
def _process(
    action: str, root: Path, argument: str = "", *, user: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    tests = Path(__file__).parents[1]
    user_id = str(os.geteuid() if user is None else user)
    with subprocess.Popen(
        [sys.executable, "-m", "support.storage_process", action, str(root), argument, user_id],
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'plugins'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _result(action: str, root: Path, argument: str = "", *, user: int | None = None) -> str:
    with _process(action, root, argument, user=user) as process:
        return process.communicate()[0].splitlines()[-1]


def _modes(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root.parent)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in sorted((root, *root.rglob("*")))
    }


def _everything_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


# Modes and group


@pytest.mark.parametrize("umask", ["000", "022", "777"])
@pytest.mark.parametrize("user", [pytest.param(None, id="us"), pytest.param(_NOBODY, id="nobody", marks=_ROOT_ONLY)])
def test_modes_are_ours_whatever_the_umask(umask: str, user: int | None, open_folder: Path) -> None:
    assert _result("write_all_kinds", open_folder / "srv" / "backups", umask, user=user) == "won"

    assert _modes(open_folder / "srv") == {
        "srv": "0o750",
        "srv/backups": "0o750",
        "srv/backups/.lock": "0o640",
        "srv/backups/.storage-id": "0o640",
        "srv/backups/audit": "0o750",
        "srv/backups/audit/2026-01.jsonl": "0o640",
        "srv/backups/database": "0o750",
        f"srv/backups/{PART}": "0o640",
        "srv/backups/metadata": "0o750",
        f"srv/backups/{STATE}": "0o640",
    }


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that nobody, too, may write to: pytest's own are closed to other users."""
    folder = Path(tempfile.mkdtemp(prefix="open-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_was_there_before_keeps_its_mode(root: Path) -> None:
    root.mkdir()
    root.chmod(0o2770)
    LocalStorage("disk", root).initialise()

    assert stat.S_IMODE(root.stat().st_mode) == 0o2770


@_ROOT_ONLY
def test_everything_belongs_to_the_group_that_was_asked_for(root: Path) -> None:
    group = grp.getgrgid(_NOBODY)
    storage = LocalStorage("disk", root, group=group.gr_name)
    storage.initialise()
    storage.create(STATE, b"{}")
    storage.append_record("audit/2026-01.jsonl", b"{}")
    sink = storage.open_sink(PART)
    sink.commit()

    assert {path.stat().st_gid for path in (root, *root.rglob("*"))} == {group.gr_gid}


def test_a_group_that_does_not_exist_is_a_configuration_error(root: Path) -> None:
    with pytest.raises(ConfigurationError, match="BACKUP_FILE_GROUP names the group 'no-such-group'"):
        LocalStorage("disk", root, group="no-such-group")


# Permission, room and other disks


@_ROOT_ONLY
@pytest.mark.parametrize("action", ["initialise", "write_all_kinds", "create"])
def test_a_folder_that_we_may_not_write_to_is_named_with_the_fix(action: str, open_folder: Path) -> None:
    root = open_folder / "backups"
    LocalStorage("disk", root).initialise()
    if action == "initialise":
        (root / ".storage-id").unlink()
    for path in (root, *root.iterdir()):
        path.chmod(0o755)

    said = _result(action, root, "022", user=_NOBODY)

    assert said.startswith("StorageAccessDenied")
    assert f"'disk' ({root}): Permission denied" in said
    assert f"Let user id {_NOBODY} read and write {root}" in said


@_ROOT_ONLY
def test_a_folder_that_we_may_not_even_read_is_named(open_folder: Path) -> None:
    root = open_folder / "closed" / "backups"
    LocalStorage("disk", root).initialise()

    assert _result("initialise", root, user=_NOBODY).startswith("StorageAccessDenied")


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk; the file size limit stands in for it below")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", "2m") as disk:
        storage = LocalStorage("disk", disk / "backups")
        storage.initialise()
        storage.create(STATE, b"an earlier backup")
        sink = storage.open_sink(PART)
        try:
            with pytest.raises(StorageFull) as full:
                sink.write(bytes(4_000_000))
            with pytest.raises(StorageError):
                sink.commit()
        finally:
            sink.abort()

        assert f"'{PART}' could not be written in storage 'disk' ({disk / 'backups'})" in full.value.message
        assert "No space left on device" in full.value.message
        assert "Free space" in full.value.hint
        assert _everything_below(disk / "backups") == {".storage-id", STATE}
        assert storage.read_document(STATE).content == b"an earlier backup"


def test_room_is_counted_as_df_counts_it(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", "1m") as disk:
        storage = LocalStorage("disk", disk / "backups")
        storage.initialise()
        (disk / "filler").write_bytes(bytes(500_000))
        said = subprocess.run(["df", "-B1", "--output=size,avail", disk], capture_output=True, text=True, check=True)

        assert [storage.capacity_bytes(), storage.free_bytes()] == [int(word) for word in said.stdout.split()[-2:]]


def test_a_small_object_on_a_full_disk_leaves_the_old_one_whole(tmp_path: Path) -> None:
    with _small_disk(tmp_path / "disk", "1m") as disk:
        storage = LocalStorage("disk", disk / "backups")
        storage.initialise()
        storage.create(STATE, b"old")
        (disk / "filler").write_bytes(bytes(storage.free_bytes() or 0))

        with pytest.raises(StorageFull):
            storage.replace(STATE, b"new" * 10_000, version=storage.read_document(STATE).version)
        with pytest.raises(StorageFull):
            storage.append_record("audit.jsonl", b"x" * 10_000)

        assert storage.read_document(STATE).content == b"old"
        assert storage.read_document("audit.jsonl").content == b""


def test_a_file_that_may_not_grow_is_a_full_storage(storage: LocalStorage, root: Path) -> None:
    said = _result("write_under_file_limit", root, "1000000")

    assert said.startswith("StorageFull")
    assert _everything_below(root) == {".storage-id"}


def test_a_disk_that_is_unmounted_while_it_is_written_to_gets_what_was_meant_for_it(
    storage: LocalStorage, root: Path
) -> None:
    """Renaming stands for unmounting: what follows the name afterwards is another folder."""
    sink = storage.open_sink(PART)
    sink.write(b"whole")
    real = root.rename(root.with_name("elsewhere"))
    root.mkdir()
    sink.commit()

    assert _everything_below(root) == set()
    assert (real / PART).read_bytes() == b"whole"


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_identity_is_none(storage: LocalStorage, root: Path, content: str) -> None:
    (root / ".storage-id").write_text(content)

    with pytest.raises(StorageNotMounted, match="empty"):
        storage.free_bytes()


def test_a_root_that_is_a_file_is_not_mounted(root: Path) -> None:
    root.write_text("not a folder")

    with pytest.raises(StorageNotMounted):
        LocalStorage("disk", root).free_bytes()
    with pytest.raises(StorageError):
        LocalStorage("disk", root).initialise()


def test_a_root_that_is_a_symbolic_link_is_followed(storage: LocalStorage, root: Path) -> None:
    link = root.with_name("link")
    link.symlink_to(root)

    assert LocalStorage("disk", link).storage_id == storage.storage_id


# Symbolic links and other strange things below the root


def test_a_folder_that_is_a_symbolic_link_is_refused(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("secret")
    (root / "metadata").symlink_to(outside)

    for action in (
        lambda: storage.read_document("metadata/secret.json"),
        lambda: storage.create("metadata/new.json", b"{}"),
        lambda: storage.delete("metadata/secret.json"),
        lambda: list(storage.list("metadata")),
        lambda: storage.reserve(BACKUP_ID).__enter__(),
    ):
        with pytest.raises(StorageError, match="disk") as refusal:
            action()
        assert "no symbolic links" in refusal.value.hint
    assert [path.name for path in outside.iterdir()] == ["secret.json"]


def test_an_object_that_is_a_symbolic_link_is_refused(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    storage.create("metadata/other.json", b"{}")
    (root / STATE).symlink_to(secret)

    for action in (
        lambda: storage.read_document(STATE),
        lambda: list(storage.read(STATE)),
        lambda: storage.stat(STATE),
        lambda: storage.append_record(STATE, b"{}"),
    ):
        with pytest.raises(StorageError) as refusal:
            action()
        assert "no symbolic links" in refusal.value.hint
    assert secret.read_text() == "secret"
    assert [found.key for found in storage.list("metadata")] == ["metadata/other.json"]


def test_deleting_a_symbolic_link_leaves_what_it_leads_to(storage: LocalStorage, root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    storage.create("metadata/other.json", b"{}")
    (root / STATE).symlink_to(precious)
    storage.delete(STATE)

    assert precious.read_text() == "precious"
    assert not (root / STATE).is_symlink()


def test_a_named_pipe_is_refused_instead_of_waited_for(storage: LocalStorage, root: Path) -> None:
    storage.create("metadata/other.json", b"{}")
    os.mkfifo(root / STATE)

    with pytest.raises(StorageError):
        storage.read_document(STATE)


def test_a_name_that_is_too_long_is_an_error_with_its_key(storage: LocalStorage) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        storage.create(f"metadata/{'x' * 300}.json", b"{}")


# Writers that die


def test_a_killed_writer_leaves_nothing_under_a_final_name_and_the_sweep_cleans_up(
    storage: LocalStorage, root: Path
) -> None:
    with _process("write_and_wait", root) as writer:
        assert _pipe(writer.stdout).readline() == "ready\n"
        temporary = {path.name for path in (root / "database").iterdir()}
        assert storage.sweep(older_than=_AT_ONCE) == ()
        writer.kill()
        writer.wait()

    assert list(storage.list("database")) == list(storage.list("metadata")) == []
    with pytest.raises(StorageConflict), storage.reserve(BACKUP_ID):
        pass

    swept = storage.sweep(older_than=timedelta(days=1))

    assert set(swept) == {f"database/{name}" for name in temporary} | {f"metadata/.reserved-{BACKUP_ID}"}
    assert _everything_below(root) == {".storage-id"}
    with storage.reserve(BACKUP_ID):
        pass


def test_a_temporary_name_tells_host_and_process(storage: LocalStorage, root: Path) -> None:
    sink = storage.open_sink(PART)
    (path,) = (root / "database").iterdir()
    sink.abort()

    assert path.name.startswith(".tmp-")
    assert f"-{os.getpid()}-" in path.name


@pytest.mark.parametrize(("age_hours", "is_swept"), [(1, False), (25, True)])
def test_leftovers_of_another_host_are_swept_by_age(
    storage: LocalStorage, root: Path, age_hours: int, is_swept: bool
) -> None:
    storage.create(STATE, b"{}")
    storage.create(MANIFEST, b"{}")
    leftovers = {
        root / "metadata" / ".tmp-other-host.example-4711-0123456789abcdef": "half",
        root / "metadata" / f".reserved-{BACKUP_ID}": "other-host.example",
    }
    for path, content in leftovers.items():
        path.write_text(content)
        moment = path.stat().st_mtime - age_hours * 3600
        os.utime(path, (moment, moment))

    swept = storage.sweep(older_than=timedelta(days=1))

    assert set(swept) == ({str(path.relative_to(root)) for path in leftovers} if is_swept else set())
    assert storage.read_document(STATE).content == b"{}"


@pytest.mark.parametrize("has_manifest", [False, True])
def test_what_has_no_manifest_goes_with_the_reservation_of_its_dead_writer(
    storage: LocalStorage, root: Path, has_manifest: bool
) -> None:
    other = "backup_shop_full_2026-01-31_03-00-00-2"
    published = [PART, STATE, *([MANIFEST] if has_manifest else [])]
    for key in (*published, f"database/{other}.sql.gz"):
        storage.create(key, b"whole")
    reservation = root / "metadata" / f".reserved-{BACKUP_ID}"
    reservation.write_text(this_host())

    swept = storage.sweep(older_than=timedelta(days=1))

    name = str(reservation.relative_to(root))
    assert sorted(swept) == sorted([name] if has_manifest else [name, *published])
    left = {f"database/{other}.sql.gz", *(published if has_manifest else [])}
    assert _everything_below(root) == {".storage-id", *left}


def test_a_sweep_that_comes_second_leaves_who_took_the_id_in_between_alone(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have found the reservation of a dead process; while one looks at it, the other has removed it."""
    reservation = root / "metadata" / f".reserved-{BACKUP_ID}"
    with ExitStack() as alive:

        def taken_anew(descriptor: int) -> bool | None:
            monkeypatch.undo()
            LocalStorage("disk", root).sweep(older_than=timedelta(days=1))
            alive.enter_context(LocalStorage("disk", root).reserve(BACKUP_ID))
            storage.create(PART, b"whole")
            return try_lock(descriptor)

        with storage.reserve(BACKUP_ID):
            pass
        reservation.write_text(this_host())
        monkeypatch.setattr("db_backup.storage.folder.try_lock", taken_anew)

        assert storage.sweep(older_than=timedelta(days=1)) == ()

        assert reservation.exists()
        assert b"".join(storage.read(PART)) == b"whole"


def test_a_sweep_touches_no_other_hidden_file(storage: LocalStorage, root: Path) -> None:
    storage.create(STATE, b"{}")
    (root / "metadata" / ".nfs000000000123").write_text("the network file system's own")
    (root / "metadata" / ".tmp-of-somebody").write_text("not by this program")

    assert storage.sweep(older_than=_AT_ONCE) == ()


def test_a_line_that_a_crash_left_unfinished_is_ended_before_the_next(storage: LocalStorage, root: Path) -> None:
    storage.append_record("audit.jsonl", b'{"act": 1}')
    with (root / "audit.jsonl").open("ab") as file:
        file.write(b'{"act": ')
    storage.append_record("audit.jsonl", b'{"act": 3}')

    assert storage.read_document("audit.jsonl").content == b'{"act": 1}\n{"act": \n{"act": 3}\n'


# Processes that race


@pytest.mark.parametrize(
    ("action", "loser"), [("reserve", StorageConflict), ("create", StorageConflict), ("replace", StorageConflict)]
)
def test_of_two_processes_exactly_one_wins(
    storage: LocalStorage, root: Path, action: str, loser: type[Exception]
) -> None:
    if action == "replace":
        storage.create(STATE, b"before")
    with _process(action, root, "a") as first, _process(action, root, "b") as second:
        for process in (first, second):
            assert _pipe(process.stdout).readline() == "ready\n"
        for process in (first, second):
            _pipe(process.stdin).write("go\n")
            _pipe(process.stdin).flush()
        said = {name: _pipe(process.stdout).readline().split()[0] for name, process in (("a", first), ("b", second))}

    assert sorted(said.values()) == sorted(["won", loser.__name__])
    if action != "reserve":
        winner = next(name for name, word in said.items() if word == "won")
        assert storage.read_document(STATE).content == winner.encode()


# What the operating system says


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, StorageAccessDenied),
        (errno.EPERM, StorageAccessDenied),
        (errno.EROFS, StorageAccessDenied),
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageError),
    ],
)
def test_errors_of_the_system_arrive_as_ours(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[StorageError]
) -> None:
    """No disk fails on demand with EIO or EDQUOT: here the call that makes files durable answers for it."""

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    sink = storage.open_sink(PART)
    sink.write(b"whole")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as raised:
        sink.commit()
    sink.abort()

    assert type(raised.value) is expected
    assert PART in raised.value.message
    assert os.strerror(number) in raised.value.message
    assert raised.value.hint


def test_what_could_not_be_made_durable_was_not_published(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    sink = storage.open_sink(PART)
    sink.write(b"whole")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError):
        sink.commit()

    assert _everything_below(root) == {".storage-id"}


def test_a_file_system_without_hard_links_is_named(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT and some network folders answer EPERM, link(2)."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match="not supported") as raised:
        storage.create(STATE, b"{}")

    assert "no hard links" in raised.value.hint
    assert list(storage.list("metadata")) == []


def test_file_and_folder_are_synced_before_a_commit_returns(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        order.append("folder synced" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file synced")
        real_fsync(descriptor)

    def link(*arguments: str, **options: int) -> None:
        order.append("visible")
        real_link(*arguments, **options)  # type: ignore[arg-type]

    sink = storage.open_sink(PART)
    sink.write(b"whole")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    sink.commit()

    assert order == ["file synced", "visible", "folder synced"]


def test_no_descriptor_is_left_open(storage: LocalStorage) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(5):
        sink = storage.open_sink(f"database/{number}")
        sink.write(b"x")
        sink.commit() if number % 2 else sink.abort()
        storage.create(f"metadata/{number}", b"{}")
        list(storage.list("metadata"))
        next(storage.read(f"metadata/{number}"))
        with storage.reserve(BACKUP_ID):
            pass
        storage.sweep(older_than=_AT_ONCE)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
