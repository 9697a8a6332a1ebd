"""Cleanup killed at every step, and a deletion that races a lease: real processes over one project."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Tombstone
from db_backup.model import BackupType
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
# What cleanup changes to delete one backup of one part: the claim; the index's mark; the state's tombstone; the mark
# again; the part; the manifest; the state; and the index.
STEPS = 8


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


def command(action: str, argument: str) -> list[str]:
    return [sys.executable, "-m", "support.cleanup_process", action, argument]


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["backup_id"] for line in lines]


def assert_no_orphan_and_no_lie(project: Project) -> None:
    """What is listed as good can be verified; no file is without a manifest, unless its backup is being deleted."""
    listed = {backup["id"]: backup for backup in project.json("list")["backups"]}
    for backup in listed.values():
        if backup["status"] != "deleting":
            for part in backup["parts"]:
                assert (project.storage / "database" / part["path"]).stat().st_size == part["size_bytes"]
    for part in (project.storage / "database").iterdir():
        assert part.name.partition(".")[0] in listed
        assert project.manifest_path(part.name.partition(".")[0]).exists()


@pytest.mark.parametrize("lost_catalogue", [False, True], ids=["", "and the catalogue is lost"])
@pytest.mark.parametrize("step", range(1, STEPS + 2))
def test_cleanup_killed_at_any_step_is_finished_by_the_next(project: Project, step: int, lost_catalogue: bool) -> None:
    with Workspace.open(project.environment) as workspace:
        base = past_backup(45)
        increment = past_backup(44, type=BackupType.INCREMENTAL, after=base[0])
        fulls = [past_backup(age) for age in (1, 2, 9)]
        newest = past_backup(0.9, type=BackupType.INCREMENTAL, after=fulls[0][0])
        kept = publish(workspace, fulls)
        publish(workspace, [base, increment, newest])

    done = project.run_process(command("clean_up_until", str(step)), PYTHONPATH=str(TESTS))
    assert done.returncode == -9, done.stderr

    # From its mark on until it is forgotten, the one that was under way is told to be deleted.
    if step > 1:
        statuses = {backup["id"]: backup["status"] for backup in project.json("list")["backups"]}
        assert statuses.get(increment[0].id, "gone") == {2: "good", STEPS + 1: "gone"}.get(step, "deleting")
        assert statuses[base[0].id] == "good"
    assert_no_orphan_and_no_lie(project)
    if lost_catalogue:
        for path in project.catalog.parent.glob("catalog.sqlite*"):
            path.unlink()
        project.run("catalog", "reindex")
        assert_no_orphan_and_no_lie(project)

    project.json("cleanup")
    assert sorted(backup["id"] for backup in project.json("list")["backups"]) == sorted([*kept, newest[0].id])
    assert project.json("catalog", "check")["problems"] == []
    assert not [name for name in project.files() if base[0].id in name or increment[0].id in name]
    assert project.json("cleanup", "--dry-run")["delete"] == []


def test_cleanup_of_one_backup_takes_as_many_steps_as_are_tested(project: Project) -> None:
    with Workspace.open(project.environment) as workspace:
        publish(workspace, [past_backup(age) for age in (1, 2, 3, 40)])
    done = project.run_process(command("clean_up_until", str(STEPS + 1)), PYTHONPATH=str(TESTS))
    assert len(json.loads(done.stdout)["delete"]) == 1


def test_a_deletion_that_was_forced_upon_the_newest_and_killed_is_finished_too(project: Project) -> None:
    """Half deleted, it must not be what the days of the others count up to."""
    with Workspace.open(project.environment) as workspace:
        fulls = publish(workspace, [past_backup(age) for age in (1, 20, 40, 60)])
    program = (
        "import sys; from support.cleanup_process import die_at; from db_backup.cli.main import main; "
        "die_at(4); main(['delete', sys.argv[1], '--force'])"
    )
    done = project.run_process([sys.executable, "-c", program, fulls[0]], PYTHONPATH=str(TESTS))
    assert done.returncode == -9
    report = project.json("cleanup")
    assert ids(report["delete"]) == [fulls[0]]
    assert ids(report["keep"]) == [fulls[3], fulls[2], fulls[1]]


@contextmanager
def rival(project: Project, action: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(action, ""),
        env={**project.environment, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lease_and_a_deletion_never_both_win(project: Project) -> None:
    """Started at the same moment: whoever has the lease reads all of it, every time, or is refused before it begins."""
    with Workspace.open(project.environment) as workspace:
        backups = publish(workspace, [past_backup(age / 10) for age in range(1, 31)])
    seen = set()
    with rival(project, "delete_each") as deleter, rival(project, "read_each") as reader:
        for number, backup_id in enumerate(backups):
            first, second = (deleter, reader) if number % 2 else (reader, deleter)
            tell(first, backup_id)
            tell(second, backup_id)
            seen.add((read := answer(reader), answer(deleter)))
            assert read in {"whole", "refused"}
    # A reader may also be done before the deleter begins.
    assert seen <= {("whole", "refused"), ("refused", "deleted"), ("whole", "deleted")}
    assert len(seen) > 1
    assert project.json("catalog", "check")["problems"] == []


def test_a_deletion_that_was_killed_before_its_first_tombstone_never_happened(project: Project) -> None:
    with Workspace.open(project.environment) as workspace:
        fulls = [past_backup(age) for age in (1, 2)]
        _, older = publish(workspace, fulls)
        manifest, state = fulls[1]
        mark = Tombstone(marked_at=manifest.finished_at, reason="asked for by a person", actor="ada")
        workspace.catalog.record(manifest, state.model_copy(update={"tombstone": mark}))
    assert {one["id"]: one["status"] for one in project.json("list")["backups"]}[older] == "deleting"

    assert project.json("cleanup")["delete"] == []

    assert {one["id"]: one["status"] for one in project.json("list")["backups"]}[older] == "good"


def test_a_backup_that_is_deleted_while_all_are_verified_is_no_mistake_of_whoever_verifies_them(
    project: Project,
) -> None:
    (made,) = project.json("create", "shop", "--no-verify")["backups"]
    listed = [made["id"].replace("_full_", "_structure_"), made["id"]]
    with mock.patch("db_backup.cli.commands.verify.every_backup", return_value=listed):
        proofs = project.json("verify", "--all", "--level", "checksum")["proofs"]
    assert ids(proofs) == [made["id"]]
    project.json("verify", listed[0], exit_code=2)
