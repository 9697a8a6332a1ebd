"""A backup of several storages of which one cannot take it: full, read-only, not mounted, or gone during the pass."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.disks import Disk
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three storages: ``local``, ``second`` and ``third``; 2 MB that no codec makes much smaller."""
    project = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop", rows=8000)}, as_process=False)
    storages = {name: {"url": (tmp_path / name).as_uri()} for name in ("second", "third")}
    entry = {"conn_id": "shop_db", "storages": ["local", "second", "third"], "compression": "none"}
    project.config.write_text(yaml.safe_dump({"storages": storages, "databases": {"shop": entry}}))
    return project


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path / "second", size_kilobytes=16 << 10) as mounted:
        yield mounted


def create(project: Project, *options: str, exit_code: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = project.json("create", "shop", *options, exit_code=exit_code)
    return made["backups"][0] if made["backups"] else made["failed"][0]


def stored(folder: Path, backup_id: str) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and backup_id in path.name}


def assert_whole(project: Project, backup: dict[str, Any], *, missing: str) -> None:
    """It is good where it is, and everybody hears where it is not."""
    assert (backup["status"], backup["missing_copies"]) == ("good", [missing])
    assert missing not in backup["storages"]
    assert any(f"no copy in '{missing}'" in warning for warning in backup["warnings"])
    (listed,) = [one for one in project.json("list")["backups"] if one["id"] == backup["id"]]
    assert listed["missing_copies"] == [missing]
    assert project.json("verify", backup["id"], "--level", "checksum")["proofs"][0]["result"] == "passed"


def test_all_of_them_hold_the_same(project: Project, tmp_path: Path) -> None:
    backup = create(project)
    assert (backup["storages"], backup["missing_copies"]) == (["local", "second", "third"], [])
    for folder in (tmp_path / "second", tmp_path / "third"):
        assert stored(folder, backup["id"]) == stored(project.storage, backup["id"])


def test_a_disk_that_fills_up_during_the_pass(project: Project, disk: Disk) -> None:
    create(project)
    (disk.folder / "ballast").write_bytes(bytes(shutil.disk_usage(disk.folder).free - (100 << 10)))

    backup = create(project, "--compression", "lz4")  # another codec than before: nothing is estimated

    assert_whole(project, backup, missing="second")
    assert stored(disk.folder, backup["id"]) == set()
    assert "No space left" in backup["warnings"][0]


def test_a_disk_without_room_is_left_out_before_the_dump(project: Project, disk: Disk) -> None:
    create(project)
    disk.fill()
    backup = create(project)
    assert_whole(project, backup, missing="second")
    assert stored(disk.folder, backup["id"]) == set()


def test_a_disk_that_may_not_be_written(project: Project, disk: Disk) -> None:
    create(project)
    disk.remount("ro")
    backup = create(project)
    assert_whole(project, backup, missing="second")


def test_a_disk_that_is_not_mounted(project: Project, tmp_path: Path) -> None:
    create(project)
    (tmp_path / "second").rename(tmp_path / "elsewhere")
    (tmp_path / "second").mkdir()
    backup = create(project)
    assert_whole(project, backup, missing="second")
    assert list((tmp_path / "second").iterdir()) == []


def test_the_local_one_may_fail_as_well_and_the_backup_is_restored_from_another(
    project: Project, tmp_path: Path
) -> None:
    create(project)
    (project.storage / ".storage-id").unlink()
    backup = create(project)
    assert (backup["storages"], backup["missing_copies"]) == (["second", "third"], ["local"])
    restored = project.json("restore", backup["id"], "--as", str(tmp_path / "restored.sqlite"))
    assert restored["differences"] == []


def test_when_none_can_take_it_the_first_failure_is_told_and_nothing_is_left(project: Project, tmp_path: Path) -> None:
    earlier = create(project)
    folders = [project.storage, tmp_path / "second", tmp_path / "third"]
    for folder in folders:
        (folder / ".storage-id").rename(folder / "kept")
    failure = create(project, exit_code=1)
    assert str(project.storage) in failure["error"]
    for folder in folders:
        (folder / "kept").rename(folder / ".storage-id")
    (only,) = project.json("list")["backups"]
    assert only["id"] == earlier["id"]
