"""Every error of SPEC §11 that can occur here: a clear sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from db_backup.catalog import Catalog
from db_backup.engines.sqlite import SqliteEngine
from db_backup.errors import CatalogError
from db_backup.jobs.reindex import check_catalog
from db_backup.jobs.workspace import Workspace
from db_backup.model import ConnectionInfo, EngineName
from db_backup.storage import LocalStorage, StoredObject
from support.project import Project

pytestmark = pytest.mark.integration


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("create table orders (id integer primary key, item text)")
        database.executemany("insert into orders(item) values (?)", [(f"item {n}",) for n in range(500)])
    database.close()
    return path


@pytest.fixture
def project(tmp_path: Path, source: Path) -> Project:
    connection = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
    return Project(tmp_path / "project", {"shop": connection}, as_process=False)


@pytest.fixture
def earlier(project: Project) -> dict[str, bytes]:
    """The files of a good backup that lies there already; every failure must leave them as they are."""
    project.json("create", "shop")
    return {name: (project.storage / name).read_bytes() for name in project.files()}


def untouched(project: Project, earlier: dict[str, bytes]) -> bool:
    return {name: (project.storage / name).read_bytes() for name in project.files()} == earlier


def refused(project: Project, *arguments: str, exit_code: int, words: tuple[str, ...], **environment: str) -> str:
    """Run it; the exit code and every word of the message are checked, and that there is no traceback."""
    done = project.run(*arguments, **environment)
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


def test_an_unknown_database_is_named_with_the_nearest_known_one(project: Project, earlier: dict[str, bytes]) -> None:
    refused(project, "create", "shoop", exit_code=2, words=("shoop", "'shop'"))
    assert untouched(project, earlier)


def test_one_unknown_database_among_known_ones_starts_nothing(project: Project, earlier: dict[str, bytes]) -> None:
    refused(project, "create", "shop", "shoop", exit_code=2, words=("shoop",))
    assert untouched(project, earlier)


def test_an_unknown_backup_is_named(project: Project, earlier: dict[str, bytes]) -> None:
    for command in (["verify", "backup_shop_full_2020-01-01_00-00-00"], ["restore", "nonsense", "--as", "x.sqlite"]):
        refused(project, *command, exit_code=2, words=(command[1],))
    assert untouched(project, earlier)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--type", "partial"], ("partial", "full")),
        (["--compression", "rar"], ("rar", "gzip")),
        (["--level", "12"], ("12", "1", "9")),
        (["--storage", "s4"], ("s4", "local")),
        (["--type", "incremental"], ("incremental",)),
        (["--compression", "xz", "--level", "10"], ("xz", "1", "9")),
        (["--jobs", "0"], ("--jobs", "0")),
        (["--jobs", "65"], ("--jobs", "65")),
        (["--retention", "99999999"], ("--retention", "36500")),
    ],
)
def test_what_cannot_be_is_refused_and_named(
    project: Project, earlier: dict[str, bytes], arguments: list[str], words: tuple[str, ...]
) -> None:
    refused(project, "create", "shop", *arguments, exit_code=2, words=words)
    assert untouched(project, earlier)


def test_encryption_without_a_key_never_writes_plain_text(project: Project, earlier: dict[str, bytes]) -> None:
    refused(project, "create", "shop", "--encrypt", exit_code=1, words=("default.json", "keys generate"))
    assert untouched(project, earlier)


def test_encryption_asked_for_by_a_setting_never_writes_plain_text(project: Project, earlier: dict[str, bytes]) -> None:
    refused(project, "create", "shop", exit_code=1, words=("default.json", "keys generate"), BACKUP_ENCRYPT="true")
    assert untouched(project, earlier)


def test_a_malformed_configuration_names_the_file_the_line_and_the_key(project: Project) -> None:
    project.config.write_text("version: 1\ndatabases:\n  shop:\n    conn_idd: shop_db\n")
    refused(project, "create", "shop", exit_code=2, words=("backup.yaml", "4", "conn_idd", "conn_id"))


def test_a_connection_that_nobody_defines_is_named(project: Project) -> None:
    del project.environment["AIRFLOW_CONN_SHOP_DB"]
    refused(project, "create", "shop", exit_code=2, words=("shop_db",))


def test_a_database_file_that_is_not_there_fails_and_names_the_path(
    project: Project, source: Path, earlier: dict[str, bytes]
) -> None:
    source.unlink()
    refused(project, "create", "shop", exit_code=1, words=(str(source),))
    assert untouched(project, earlier)
    assert not source.exists()


def test_a_file_that_is_no_database_fails(project: Project, source: Path, earlier: dict[str, bytes]) -> None:
    source.write_bytes(b"this is a text file, not a database" * 1000)
    refused(project, "create", "shop", exit_code=1, words=("shop",))
    assert untouched(project, earlier)


def test_over_the_size_limit_names_the_figure_the_limit_and_the_setting(
    project: Project, source: Path, earlier: dict[str, bytes]
) -> None:
    with sqlite3.connect(source) as database:
        database.execute("create table noise (data blob)")
        database.executemany("insert into noise values (?)", [(os.urandom(1 << 20),) for _ in range(5)])
    database.close()
    refused(project, "create", "shop", exit_code=1, words=("BACKUP_MAX_SIZE_MB", "2"), BACKUP_MAX_SIZE_MB="2")
    assert untouched(project, earlier)


def test_a_storage_without_its_id_is_refused_as_not_mounted(project: Project, earlier: dict[str, bytes]) -> None:
    (project.storage / ".storage-id").unlink()
    refused(project, "create", "shop", exit_code=1, words=(str(project.storage),))
    assert untouched(project, earlier)


def test_an_empty_folder_in_place_of_the_known_storage_is_refused(project: Project, earlier: dict[str, bytes]) -> None:
    """What an unmounted disk looks like: the mount point is there, and nothing in it."""
    away = project.folder / "disk"
    project.storage.rename(away)
    project.storage.mkdir()
    refused(project, "create", "shop", exit_code=1, words=(str(project.storage),))
    assert list(project.storage.iterdir()) == []


def test_another_storage_in_place_of_the_known_one_is_refused(project: Project, earlier: dict[str, bytes]) -> None:
    (project.storage / ".storage-id").write_text("0123456789abcdef0123456789abcdef\n")
    refused(project, "create", "shop", exit_code=1, words=(str(project.storage),))
    refused(project, "verify", "--latest", exit_code=1, words=(str(project.storage),))
    assert untouched(project, earlier)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs: run as root outside of a restricted container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_and_leaves_nothing(project: Project, source: Path, small_disk: Path) -> None:
    project.storage = small_disk / "backups"
    project.environment["BACKUP_LOCAL_PATH"] = str(project.storage)
    project.json("create", "shop")
    before = {name: (project.storage / name).read_bytes() for name in project.files()}
    with sqlite3.connect(source) as database:
        database.execute("create table noise (data blob)")
        database.executemany("insert into noise values (?)", [(os.urandom(1 << 20),) for _ in range(8)])
    database.close()
    refused(project, "create", "shop", exit_code=1, words=("local", "full"))
    assert untouched(project, before)


def test_a_folder_that_may_not_be_written_fails(project: Project) -> None:
    """Without the capabilities that let root write anywhere."""
    locked = project.folder / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    capabilities = "-dac_override,-dac_read_search"
    drop = ["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities, "--"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "db_backup", "create", "shop"]

    done = project.run_process(command, BACKUP_LOCAL_PATH=str(locked / "backups"))

    assert done.returncode == 1, done.stderr
    assert str(locked) in done.stderr
    assert "Traceback" not in done.stderr
    assert list(locked.iterdir()) == []


def test_a_catalogue_that_is_no_database_says_how_to_rebuild_it(project: Project, earlier: dict[str, bytes]) -> None:
    for path in project.catalog.parent.glob("catalog.sqlite*"):
        path.unlink()
    project.catalog.write_bytes(b"not a catalogue at all" * 500)
    refused(project, "list", exit_code=1, words=(str(project.catalog), "reindex"))
    assert untouched(project, earlier)


def test_a_missing_artefact_fails_verification_and_names_the_file(project: Project, earlier: dict[str, bytes]) -> None:
    backup = project.json("list")["backups"][0]
    project.artefact(backup["id"]).unlink()
    refused(project, "verify", backup["id"], exit_code=3, words=(backup["parts"][0]["path"],))


def test_a_truncated_artefact_fails_verification(project: Project, earlier: dict[str, bytes]) -> None:
    backup = project.json("list")["backups"][0]
    artefact = project.artefact(backup["id"])
    with artefact.open("r+b") as file:
        file.truncate(artefact.stat().st_size - 100)
    proof = project.json("verify", backup["id"], "--level", "checksum", exit_code=3)["proofs"][0]
    assert proof["result"] == "failed"
    assert project.json("list")["backups"][0]["status"] == "failed_verification"


def test_a_restore_never_overwrites_a_file_that_exists(project: Project, earlier: dict[str, bytes]) -> None:
    backup = project.json("list")["backups"][0]
    there = project.folder / "there.sqlite"
    there.write_bytes(b"mine")
    refused(project, "restore", backup["id"], "--as", str(there), exit_code=4, words=(str(there),))
    assert there.read_bytes() == b"mine"


def test_a_restore_of_a_damaged_backup_leaves_no_target(project: Project, earlier: dict[str, bytes]) -> None:
    backup = project.json("list")["backups"][0]
    artefact = project.artefact(backup["id"])
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.write_bytes(content)
    refused(project, "restore", backup["id"], "--as", "copy.sqlite", exit_code=3, words=(backup["id"],))
    assert not list(project.folder.glob("copy.sqlite*"))


def test_a_file_that_appears_during_a_failing_restore_is_left_alone(
    project: Project, earlier: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = project.json("list")["backups"][0]
    artefact = project.artefact(backup["id"])
    artefact.write_bytes(artefact.read_bytes()[:-20])
    theirs = project.folder / "copy.sqlite"
    load = SqliteEngine.load

    def meanwhile(engine: SqliteEngine, streams: Sequence[Iterable[bytes]], *others: Any) -> Any:
        def arriving() -> Iterator[bytes]:
            theirs.write_bytes(b"somebody else's")
            yield from streams[0]

        return load(engine, [arriving()], *others)

    monkeypatch.setattr(SqliteEngine, "load", meanwhile)
    refused(project, "restore", backup["id"], "--as", str(theirs), exit_code=3, words=(backup["id"],))
    assert theirs.read_bytes() == b"somebody else's"


def test_a_backup_whose_state_is_lost_is_restored_verified_and_indexed(
    project: Project, earlier: dict[str, bytes]
) -> None:
    backup = project.json("list")["backups"][0]
    state = project.storage / "metadata" / f"{backup['id']}.state.json"
    state.unlink()
    problems = project.json("catalog", "check", exit_code=1)["problems"]
    assert [problem["backup_id"] for problem in problems] == [backup["id"]]
    assert "state is lost" in problems[0]["problem"]
    assert project.json("restore", backup["id"], "--as", "copy.sqlite")["differences"] == []
    assert project.json("catalog", "reindex", exit_code=1)["backups"] == 1
    assert project.json("list")["backups"][0]["status"] == "unverified"
    assert project.json("verify", backup["id"])["proofs"][0]["result"] == "passed"
    assert state.exists()
    assert project.json("list")["backups"][0]["status"] == "good"


def test_a_damaged_manifest_never_makes_its_artefact_look_like_litter(
    project: Project, earlier: dict[str, bytes]
) -> None:
    backup = project.json("list")["backups"][0]
    manifest = project.manifest_path(backup["id"])
    manifest.write_bytes(manifest.read_bytes()[:100])
    report = project.run("catalog", "check")
    assert report.returncode == 1
    assert "remove" not in report.stdout
    assert "reindex" not in report.stdout


def test_a_backup_is_restored_after_its_entry_was_renamed(project: Project, earlier: dict[str, bytes]) -> None:
    backup = project.json("list")["backups"][0]
    project.config.write_text(project.config.read_text().replace("shop:", "store:"))
    assert project.json("restore", backup["id"], "--as", "copy.sqlite")["differences"] == []


def test_a_wrong_request_is_no_failed_attempt(project: Project, earlier: dict[str, bytes]) -> None:
    before = project.json("list", "--stats")["attempts"]
    for wrong in (["--level", "12"], ["--type", "incremental"], ["--storage", "s4"]):
        assert project.run("create", "shop", *wrong).returncode == 2
    assert project.json("list", "--stats")["attempts"] == before


def test_a_backup_whose_connection_is_missing_is_a_failed_attempt(project: Project) -> None:
    del project.environment["AIRFLOW_CONN_SHOP_DB"]

    refused(project, "create", "shop", exit_code=2, words=("shop_db",))

    assert project.json("list", "--stats")["attempts"]["failed"] == 1


def test_a_backup_that_is_being_published_is_no_litter(project: Project, earlier: dict[str, bytes]) -> None:
    part = project.storage / "database" / "backup_shop_full_2026-01-31_03-00-00.sqlite.gz"
    part.write_bytes(b"its manifest comes last")
    with Workspace.open(project.environment) as workspace:
        with workspace.catalog.entry_lock("crm", "full backup"):
            assert project.json("catalog", "check", exit_code=1)["problems"][0]["backup_id"] in part.name
        with workspace.catalog.entry_lock("shop", "full backup"):
            assert project.json("catalog", "check")["problems"] == []


def test_a_backup_that_is_published_while_the_catalogue_is_checked_has_all_its_parts(
    project: Project, earlier: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = LocalStorage.list

    def published_then(storage: LocalStorage, prefix: str) -> Iterator[StoredObject]:
        yield from listed(storage, prefix)
        monkeypatch.undo()
        project.json("create", "shop", "--no-verify")

    monkeypatch.setattr(LocalStorage, "list", published_then)
    with Workspace.open(project.environment) as workspace:
        assert check_catalog(workspace).problems == ()


def test_a_database_that_has_outgrown_the_limit_fails_before_the_dump(
    project: Project, source: Path, earlier: dict[str, bytes]
) -> None:
    with sqlite3.connect(source) as database:
        database.execute("create table noise (data blob)")
        database.executemany("insert into noise values (?)", [(os.urandom(1 << 20),) for _ in range(2)])
    project.json("create", "shop")
    before = {name: (project.storage / name).read_bytes() for name in project.files()}
    with sqlite3.connect(source) as database:
        database.executemany("insert into noise values (?)", [(os.urandom(1 << 20),) for _ in range(3)])
    message = refused(
        project, "create", "shop", exit_code=1, words=("BACKUP_MAX_SIZE_MB", "about"), BACKUP_MAX_SIZE_MB="3"
    )
    assert "dumping" not in message
    assert untouched(project, before)


def test_a_limit_that_the_uncompressed_backup_before_would_exceed_does_not_stop_a_compressed_one(
    project: Project, source: Path, earlier: dict[str, bytes]
) -> None:
    with sqlite3.connect(source) as database:
        database.execute("create table zeros (data blob)")
        database.executemany("insert into zeros values (zeroblob(?))", [(1 << 20,)] * 3)
    project.json("create", "shop", "--compression", "none")
    refused(
        project,
        "create",
        "shop",
        *("--compression", "none"),
        exit_code=1,
        words=("BACKUP_MAX_SIZE_MB", "about"),
        BACKUP_MAX_SIZE_MB="2",
    )
    assert project.json("create", "shop", BACKUP_MAX_SIZE_MB="2")["failed"] == []


def test_a_storage_without_room_for_what_the_last_backup_took_is_refused_before_the_dump(
    project: Project, earlier: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStorage, "free_bytes", lambda _: 10)
    message = refused(project, "create", "shop", exit_code=1, words=("'local' has 10 bytes left", "about"))
    assert "dumping" not in message
    assert untouched(project, earlier)


def test_a_catalogue_that_fails_after_the_commit_hides_no_backup(
    project: Project, earlier: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise CatalogError("The disk is full.", hint="Make room.")

    with monkeypatch.context() as broken:
        broken.setattr(Catalog, "record", full)
        done = project.run("create", "shop", "--no-verify")
    assert done.returncode == 1
    assert "was made and is whole" in done.stderr
    assert "catalog reindex" in done.stderr
    assert len(project.json("list")["backups"]) == 1
    assert project.json("catalog", "reindex")["backups"] == 2


def test_every_refusal_is_in_the_audit_log(project: Project, earlier: dict[str, bytes], source: Path) -> None:
    source.unlink()
    project.run("create", "shop")
    lines = "".join(path.read_text() for path in (project.storage / "audit").glob("*.jsonl")).splitlines()
    assert '"done"' in lines[0]
    assert '"failed"' in lines[-1]
    assert str(source) in lines[-1]


@pytest.mark.parametrize("setting", ["BACKUP_STAGING_PATH", "BACKUP_SCRATCH_PATH"])
def test_a_temporary_place_on_a_disk_that_is_not_mounted_is_refused_and_not_made(
    project: Project, earlier: dict[str, bytes], tmp_path: Path, setting: str
) -> None:
    place = tmp_path / "unmounted" / "deep"
    command = ("create", "shop") if setting == "BACKUP_STAGING_PATH" else ("verify", "--latest")
    refused(project, *command, exit_code=2, words=(setting, str(place), "mount the disk"), **{setting: str(place)})
    assert not place.parent.exists()
    assert untouched(project, earlier)


def test_a_catalogue_below_a_file_names_the_setting(project: Project) -> None:
    words = ("BACKUP_CATALOG_PATH", "/dev/null, which is not a folder")
    refused(project, "list", exit_code=2, words=words, BACKUP_CATALOG_PATH="/dev/null/x")
