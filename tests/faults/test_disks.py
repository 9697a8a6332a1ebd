"""Disks that are full, or may not be written: the storage's, the scratch servers', SQLite's staging folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db_backup.model import EngineName
from support.aftermath import assert_all_is_well, assert_every_published_backup_is_whole, failure_of
from support.disks import Disk
from support.lab import EngineLab
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

ENGINES = list(EngineName)
FILLER_MEGABYTES = 12
MakeProject = Callable[..., Project]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """4 MB: less than the filler of ``sample``."""
    with Disk.mounted(tmp_path / "disk", size_kilobytes=4096) as mounted:
        yield mounted


def stored_on(disk: Disk, project: Project) -> Project:
    project.storage = disk.folder / "backups"
    project.environment["BACKUP_LOCAL_PATH"] = str(project.storage)
    return project


@pytest.fixture(params=ENGINES)
def lab(request: pytest.FixtureRequest, labs: dict[EngineName, EngineLab]) -> EngineLab:
    return labs[request.param]


@pytest.fixture
def sample(lab: EngineLab) -> Iterator[str]:
    database = lab.create_sample()
    yield database
    lab.drop(database)


def create(project: Project) -> str:
    (backup,) = project.json("create", "shop", "--no-verify")["backups"]
    return str(backup["id"])


def test_a_storage_that_fills_up_during_the_dump_fails_the_backup(
    lab: EngineLab, sample: str, disk: Disk, make_project: MakeProject
) -> None:
    project = stored_on(disk, make_project(shop=lab.connection(sample)))
    earlier = create(project)
    before = project.files()
    lab.fill(sample, FILLER_MEGABYTES)

    said = project.json("create", "shop", "--compression", "none", exit_code=1)

    failure = failure_of(said, entry="shop")
    assert str(disk.folder) in failure["error"] + failure["hint"]
    assert project.files() == before
    disk.remount("size=64m")
    assert_all_is_well(project, entry="shop", earlier=[earlier])


def test_a_storage_without_a_free_byte_says_how_little_a_deletion_needs_and_that_is_enough(
    disk: Disk, tmp_path: Path, make_project: MakeProject
) -> None:
    project = stored_on(disk, make_project(shop=sqlite_database(tmp_path, "shop")))
    oldest, *earlier = [create(project) for _ in range(4)]
    ballast = disk.fill()

    failure_of(project.json("create", "shop", exit_code=1), entry="shop")
    refused = project.run("delete", oldest, "--force")

    assert refused.returncode == 1
    assert oldest in refused.stderr
    assert "64 kB must be free" in refused.stderr
    assert {backup["status"] for backup in project.json("list")["backups"]} == {"unverified"}
    assert_every_published_backup_is_whole(project)
    os.truncate(ballast, ballast.stat().st_size - (64 << 10))
    project.json("delete", oldest, "--force")
    ballast.unlink()
    assert_all_is_well(project, entry="shop", earlier=earlier)


def test_a_storage_that_is_read_only_fails_the_backup(
    lab: EngineLab, sample: str, disk: Disk, make_project: MakeProject
) -> None:
    project = stored_on(disk, make_project(shop=lab.connection(sample)))
    earlier = create(project)
    before = project.files()
    disk.remount("ro")

    failure = failure_of(project.json("create", "shop", exit_code=1), entry="shop")

    assert str(project.storage) in failure["error"]
    assert "writable" in failure["hint"]
    assert project.files() == before
    disk.remount("rw")
    assert_all_is_well(project, entry="shop", earlier=[earlier])


def test_what_was_backed_up_can_be_listed_and_checked_on_a_disk_that_has_become_read_only(
    disk: Disk, tmp_path: Path, make_project: MakeProject
) -> None:
    project = stored_on(disk, make_project(shop=sqlite_database(tmp_path, "shop")))
    earlier = create(project)
    disk.remount("ro")
    assert [backup["id"] for backup in project.json("list")["backups"]] == [earlier]
    assert project.json("catalog", "check")["problems"] == []


@contextmanager
def full_as_soon_as(disk: Disk, pattern: str) -> Iterator[threading.Event]:
    """But for a megabyte. The event tells that it came to that."""
    done, filled = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            if next(disk.folder.glob(pattern), None):
                disk.shrink(free_kilobytes=1024)
                filled.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield filled
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize(
    ("engine", "database_folder"), [(EngineName.POSTGRES, "base/16*"), (EngineName.MYSQL, "lab_*")]
)
def test_a_scratch_folder_that_fills_up_makes_the_proof_inconclusive(
    labs: dict[EngineName, EngineLab], engine: EngineName, database_folder: str, make_project: MakeProject
) -> None:
    lab = labs[engine]
    database = lab.create_sample()
    lab.fill(database, FILLER_MEGABYTES)
    project = make_project(shop=lab.connection(database))
    earlier = create(project)
    with (
        Disk.mounted(project.scratch / "small", size_kilobytes=4 << 20) as small,
        full_as_soon_as(small, f"db-backup-scratch-*/data/{database_folder}") as filled,
    ):
        said = project.json("verify", earlier, "--level", "restore", exit_code=1, BACKUP_SCRATCH_PATH=str(small.folder))
        assert filled.is_set()
        (proof,) = said["proofs"]
        assert (proof["result"], proof["reached"]) == ("inconclusive", "archive")
        assert "The scratch server" in proof["reason"]
        assert list(small.folder.iterdir()) == []
    (project.scratch / "small").rmdir()
    assert_all_is_well(project, entry="shop", earlier=[earlier])
    lab.drop(database)


def test_a_scratch_folder_too_small_for_an_sqlite_image_makes_the_proof_inconclusive(
    labs: dict[EngineName, EngineLab], make_project: MakeProject
) -> None:
    lab = labs[EngineName.SQLITE]
    database = lab.create_sample()
    lab.fill(database, FILLER_MEGABYTES)
    project = make_project(shop=lab.connection(database))
    earlier = create(project)
    with Disk.mounted(project.scratch / "small", size_kilobytes=2048) as small:
        said = project.json("verify", earlier, "--level", "restore", exit_code=1, BACKUP_SCRATCH_PATH=str(small.folder))
        (proof,) = said["proofs"]
        assert proof["result"] == "inconclusive", proof
        assert str(small.folder) in proof["reason"]
        assert list(small.folder.iterdir()) == []
    (project.scratch / "small").rmdir()
    assert_all_is_well(project, entry="shop", earlier=[earlier])
    lab.drop(database)


def test_a_staging_folder_without_room_for_the_image_fails_the_backup(
    labs: dict[EngineName, EngineLab], make_project: MakeProject
) -> None:
    lab = labs[EngineName.SQLITE]
    database = lab.create_sample()
    project = make_project(shop=lab.connection(database))
    earlier = create(project)
    lab.fill(database, FILLER_MEGABYTES)
    with Disk.mounted(project.scratch / "small", size_kilobytes=2048) as small:
        said = project.json("create", "shop", exit_code=1, BACKUP_STAGING_PATH=str(small.folder))
        failure = failure_of(said, entry="shop")
        assert str(small.folder) in failure["error"]
        assert "BACKUP_STAGING_PATH" in failure["hint"]
        assert list(small.folder.iterdir()) == []
    (project.scratch / "small").rmdir()
    assert_all_is_well(project, entry="shop", earlier=[earlier])
    lab.drop(database)
