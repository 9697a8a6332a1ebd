"""Reading goes on from another copy: in every way of restoring, in downloads, drills and chains; and says so."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from db_backup.errors import StorageAccessDenied
from db_backup.model import ConnectionInfo, EngineName
from db_backup.storage import LocalStorage
from support.lab import EngineLab
from support.several_storages import SECOND, THIRD, SpreadProject

pytestmark = pytest.mark.integration

ROWS = 20_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "shop.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, words TEXT)")
        database.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {n * 7919}",) for n in range(ROWS)])
        database.execute("INSERT INTO notes (words) VALUES ('hello')")
    database.close()
    return path


@pytest.fixture
def project(tmp_path: Path, source: Path) -> SpreadProject:
    shop = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
    return SpreadProject(tmp_path / "project", {"shop": shop}, storages=(SECOND,))


@pytest.fixture
def backup(project: SpreadProject) -> str:
    return project.create("shop", "--compression", "zstd")


def orders(path: Path) -> int:
    with sqlite3.connect(path) as database:
        (count,) = database.execute("SELECT count(*) FROM orders").fetchone()
    database.close()
    return int(count)


def assert_fell_back(project: SpreadProject, report: Mapping[str, Any], backup: str) -> None:
    """The report names the copy, what was wrong and which one was used; and the states know of it."""
    (passed,) = report["passed_over"]
    assert (passed["backup_id"], passed["storage"], passed["used"]) == (backup, "local", SECOND)
    assert any(f"The copy of {backup} in 'local' could not be read" in warning for warning in report["warnings"])
    for storage in ("local", SECOND):
        proof = project.state(backup, storage)["proofs"][-1]
        assert (proof["storage"], proof["result"], proof["reached"]) == ("local", "failed", None)


@pytest.mark.parametrize("way", ["new", "replace", "scratch", "tables"])
def test_a_flipped_byte_makes_a_restore_begin_again_with_the_other_copy(
    project: SpreadProject, backup: str, source: Path, way: str
) -> None:
    project.spoil(backup, "local")
    copy = project.folder / "copy.sqlite"
    arguments = {
        "new": ("--as", str(copy)),
        "replace": ("--force", "--no-safety-backup"),
        "scratch": ("--test",),
        "tables": ("--as", str(copy), "--table", "orders"),
    }[way]
    if way == "tables":
        with sqlite3.connect(copy) as database:
            database.execute("CREATE TABLE other (id INTEGER)")
        database.close()

    report = project.json("restore", backup, *arguments)

    assert (report["differences"], report["read_from"]) == ([], {backup: SECOND})
    assert_fell_back(project, report, backup)
    if way != "scratch":
        assert orders(source if way == "replace" else copy) == ROWS
    assert not [path for path in copy.parent.iterdir() if ".part" in path.name or "replacement" in path.name]
    again = project.json("restore", backup, "--test")
    assert (again["passed_over"], again["read_from"]) == ([], {backup: SECOND})  # it is known by now


def test_rows_go_into_empty_tables_from_the_other_copy(project: SpreadProject, source: Path) -> None:
    rows = project.create("shop", "--type", "data")
    project.spoil(rows, "local")
    empty = project.folder / "empty.sqlite"
    with sqlite3.connect(empty) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, words TEXT)")
    database.close()

    report = project.json("restore", rows, "--as", str(empty))

    assert report["read_from"] == {rows: SECOND}
    assert orders(empty) == ROWS


@pytest.mark.parametrize("what", ["gone", "cut", "longer"])
def test_whatever_is_wrong_with_a_copy_the_other_is_restored(project: SpreadProject, backup: str, what: str) -> None:
    (part,) = project.parts(backup, "local")
    if what == "gone":
        part.unlink()
    else:
        content = part.read_bytes()
        part.write_bytes(content[:-100] if what == "cut" else content + b"more")

    report = project.json("restore", backup, "--as", str(project.folder / "copy.sqlite"))

    assert report["read_from"] == {backup: SECOND}
    assert_fell_back(project, report, backup)


def denied_in_the_middle(name: str) -> Any:
    """A storage whose objects cannot be read beyond their first bytes."""
    read = LocalStorage.read

    def broken(storage: LocalStorage, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if storage.name != name or not key.startswith("database/"):
            yield from read(storage, key, offset=offset, length=length)
            return
        yield next(iter(read(storage, key)))[:1000]
        raise StorageAccessDenied(f"{key} may not be read any more.", hint="Look at the rights.")

    return mock.patch.object(LocalStorage, "read", broken)


def test_a_storage_that_denies_itself_in_the_middle_is_passed_over_and_not_called_damaged(
    project: SpreadProject, backup: str
) -> None:
    with denied_in_the_middle("local"):
        report = project.json("restore", backup, "--as", str(project.folder / "copy.sqlite"))

    assert report["read_from"] == {backup: SECOND}
    assert "may not be read" in report["passed_over"][0]["reason"]
    assert project.state(backup, SECOND)["proofs"] == []
    assert project.json("restore", backup, "--test")["read_from"] == {backup: "local"}


def test_when_no_copy_can_be_read_each_is_named_and_nothing_is_left(project: SpreadProject, backup: str) -> None:
    project.spoil(backup, "local")
    project.parts(backup, SECOND)[0].unlink()
    copy = project.folder / "copy.sqlite"
    before = {path.name for path in project.folder.iterdir()}

    done = project.run("restore", backup, "--as", str(copy))

    assert done.returncode == 3
    assert f"None of the 2 copies of {backup} can be read" in done.stderr
    assert "'local': " in done.stderr
    assert f"'{SECOND}': " in done.stderr
    assert {path.name for path in project.folder.iterdir()} == before
    assert project.backup(backup)["status"] == "failed_verification"


def test_a_storage_that_is_named_is_read_and_no_other(project: SpreadProject, backup: str) -> None:
    project.spoil(backup, "local")

    done = project.run("restore", backup, "--test", "--from-storage", "local")

    assert done.returncode == 3
    assert "None of the" not in done.stderr
    report = project.json("restore", backup, "--test", "--from-storage", SECOND)
    assert (report["read_from"], report["passed_over"]) == ({backup: SECOND}, [])
    assert project.run("restore", backup, "--test", "--from-storage", "nowhere").returncode == 2
    assert project.run("download", backup, "--from-storage", "local").returncode == 3


def test_the_copy_of_an_encrypted_backup_is_read_elsewhere_after_a_flipped_byte(project: SpreadProject) -> None:
    project.environment["BACKUP_KEYS_PATH"] = str(project.folder / "keys")
    (project.folder / "keys").mkdir(mode=0o700)
    assert project.run("keys", "generate", "default").returncode == 0
    project.environment["BACKUP_ENCRYPT"] = "true"
    backup = project.create()
    assert project.spoil(backup, "local").name.endswith(".enc")

    report = project.json("restore", backup, "--as", str(project.folder / "copy.sqlite"))

    assert report["read_from"] == {backup: SECOND}
    assert_fell_back(project, report, backup)


# Downloads


@pytest.mark.parametrize("raw", [True, False])
def test_a_download_begins_again_when_its_copy_ends_in_the_middle(
    project: SpreadProject, backup: str, raw: bool
) -> None:
    target = project.folder / "fetched"
    arguments = ("--raw",) if raw else ()

    with denied_in_the_middle("local"):
        report = project.json("download", backup, "-o", str(target), *arguments)

    assert report["read_from"] == SECOND
    assert [passed["storage"] for passed in report["passed_over"]] == ["local"]
    expected = project.folder / "expected"
    project.json("download", backup, "-o", str(expected), "--from-storage", SECOND, *arguments)
    assert target.read_bytes() == expected.read_bytes()
    assert not list(project.folder.glob(".*.part"))


def test_what_goes_to_stdout_is_of_a_copy_that_was_checked_first(project: SpreadProject, backup: str) -> None:
    project.spoil(backup, "local")
    with (project.folder / "out").open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "db_backup", "download", backup, "-o", "-", "--raw"],
            env=project.environment,
            cwd=project.folder,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert (project.folder / "out").read_bytes() == project.parts(backup, SECOND)[0].read_bytes()
    assert f"the one in '{SECOND}' was read instead" in done.stderr


def test_with_three_copies_two_bad_ones_are_passed_over(tmp_path: Path, source: Path) -> None:
    shop = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
    project = SpreadProject(tmp_path / "three", {"shop": shop}, storages=(SECOND, THIRD))
    backup = project.create()
    project.spoil(backup, "local")
    project.spoil(backup, SECOND)

    report = project.json("download", backup)

    assert report["read_from"] == THIRD
    assert [passed["storage"] for passed in report["passed_over"]] == ["local", SECOND]


# Chains and drills


@pytest.fixture
def links(project: SpreadProject, source: Path) -> list[str]:
    document = yaml.safe_load(project.config.read_text())
    document["databases"]["shop"]["types"] = ["full", "incremental"]
    project.config.write_text(yaml.safe_dump(document))
    made = [project.create()]
    for number in range(2):
        with sqlite3.connect(source) as database:
            database.execute("INSERT INTO notes (words) VALUES (?)", [f"later {number}"])
        database.close()
        made.append(project.create("shop", "--type", "incremental"))
    return made


def test_a_chain_is_rebuilt_of_links_in_different_storages(project: SpreadProject, links: list[str]) -> None:
    project.spoil(links[0], "local")
    project.spoil(links[1], SECOND)
    project.parts(links[2], "local")[0].unlink()
    copy = project.folder / "copy.sqlite"

    report = project.json("restore", links[2], "--as", str(copy))

    assert report["read_from"] == {links[0]: SECOND, links[1]: "local", links[2]: SECOND}
    assert {passed["backup_id"] for passed in report["passed_over"]} == {links[0], links[2]}
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM notes").fetchone() == (3,)
    database.close()


def test_a_replay_for_proof_passes_by_the_other_copy_of_a_link(project: SpreadProject, links: list[str]) -> None:
    project.spoil(links[0], "local")

    assert project.run("verify", links[2], "--level", "restore").returncode == 0

    proof = project.state(links[0], SECOND)["proofs"][-1]
    assert (proof["storage"], proof["result"]) == ("local", "failed")
    assert project.backup(links[0])["status"] != "failed_verification"


def test_an_increment_follows_a_parent_whose_best_copy_is_damaged(project: SpreadProject, links: list[str]) -> None:
    project.spoil(links[2], "local")

    increment = project.create("shop", "--type", "incremental", "--no-full")

    assert project.backup(increment)["parent_id"] == links[2]
    assert any("was read instead" in warning for warning in project.backup(increment)["warnings"])


# The other engines


@pytest.mark.parametrize("engine", [EngineName.POSTGRES, EngineName.MYSQL])
def test_a_server_is_restored_from_the_other_copy(
    engine: EngineName, labs: Mapping[EngineName, EngineLab], tmp_path: Path
) -> None:
    lab = labs[engine]
    name = lab.create_empty()
    lab.execute(name, "CREATE TABLE orders (id integer PRIMARY KEY, item varchar(100))")
    for first in range(0, 4000, 1000):
        rows = ", ".join(f"({n}, 'item {n * 7919}')" for n in range(first, first + 1000))
        lab.execute(name, f"INSERT INTO orders VALUES {rows}")
    project = SpreadProject(tmp_path / "project", {"shop": lab.connection(name)}, storages=(SECOND,))
    other, empty = f"{name}_copy", lab.create_empty()
    try:
        backup = project.create()
        project.spoil(backup, "local")

        beside = project.json("restore", backup, "--as", other)
        assert (beside["differences"], beside["read_from"]) == ([], {backup: SECOND})
        assert_fell_back(project, beside, backup)
        assert sum(lab.counts(other).values()) == 4000

        shutil.copy(project.parts(backup, SECOND)[0], project.folder / "good")
        project.parts(backup, SECOND)[0].write_bytes((project.folder / "good").read_bytes()[:-50])
        shutil.copy(project.folder / "good", project.parts(backup, "local")[0])
        again = project.json("restore", backup, "--as", other, "--force", "--no-safety-backup", "--confirm", other)
        assert again["differences"] == []
        assert again["read_from"] == {backup: "local"}
        assert sum(lab.counts(other).values()) == 4000

        # into a database that exists and is empty, where the first copy ends when most of it is loaded
        cut_short = project.create()
        tail = project.parts(cut_short, "local")[0]
        tail.write_bytes(tail.read_bytes()[:-20])
        filled = project.json("restore", cut_short, "--as", empty)
        assert (filled["way"], filled["differences"], filled["read_from"]) == ("empty", [], {cut_short: SECOND})
        assert sum(lab.counts(empty).values()) == 4000
    finally:
        lab.drop(empty)
        lab.drop(other)
        lab.drop(name)
