"""Whoever can write into one storage writes into the states there; the copies in the others stay, and can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db_backup.errors import Refused
from db_backup.jobs.cleanup import CleanupReport, CleanupRequest, clean_up
from db_backup.jobs.copies import known_copies, leased, locate
from db_backup.jobs.deletion import erase
from db_backup.jobs.sidecars import rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, Tombstone, WrappedKey
from db_backup.model import utc_now
from db_backup.progress import Cancellation, Silent
from support.factories import MORNING
from support.history import past_backup, publish, spread_over
from support.several_storages import SECOND, SpreadProject
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

BOTH = ("local", SECOND)
RUN = RunInfo(origin="cli", actor="ada", host="tower")
PLANTED = Tombstone(marked_at=MORNING, reason="planted", actor="mallory")


@pytest.fixture
def project(tmp_path: Path) -> SpreadProject:
    return SpreadProject(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")})


@pytest.fixture
def workspace(project: SpreadProject) -> Iterator[Workspace]:
    with Workspace.open(project.environment) as opened:
        yield opened


@pytest.fixture
def backups(workspace: Workspace) -> list[str]:
    """Of two days, the newest first; the days of neither are over."""
    return [publish(workspace, [spread_over(past_backup(age), *BOTH)], storages=BOTH)[0] for age in (1, 2)]


def plant(workspace: Workspace, backup: str, storage: str, **fields: Any) -> None:
    rewrite_state(workspace.storage(storage), backup, lambda state: state.model_copy(update=fields))


def cleaned(workspace: Workspace) -> CleanupReport:
    return clean_up(workspace, CleanupRequest(), run=RUN, progress=Silent(), cancellation=Cancellation())


def tombstones(project: SpreadProject, backup: str) -> list[Any]:
    return [project.state(backup, storage)["tombstone"] for storage in BOTH]


@pytest.mark.parametrize("storage", BOTH)
def test_a_tombstone_in_one_copy_alone_is_no_deletion_and_the_next_replication_clears_it(
    project: SpreadProject, workspace: Workspace, backups: list[str], storage: str
) -> None:
    _, older = backups
    plant(workspace, older, storage, tombstone=PLANTED)

    problems = project.json("catalog", "check", exit_code=1)["problems"]
    assert [(problem["storage"], problem["backup_id"]) for problem in problems] == [(storage, older)]
    assert project.run("catalog", "reindex").returncode == 0
    assert project.backup(older)["status"] == "good"
    assert cleaned(workspace).delete == ()
    assert all(project.parts(older, place) for place in BOTH)
    with leased(workspace, locate(workspace, older), "restore") as held:
        assert held.state.tombstone is None

    assert project.run("replicate").returncode == 0
    assert tombstones(project, older) == [None, None]
    assert project.json("catalog", "check")["problems"] == []


def test_a_copy_whose_state_was_lost_is_not_entombed(
    project: SpreadProject, workspace: Workspace, backups: list[str]
) -> None:
    _, older = backups
    plant(workspace, older, SECOND, tombstone=PLANTED)
    (project.storage / "metadata" / f"{older}.state.json").unlink()

    assert cleaned(workspace).delete == ()
    assert project.parts(older, "local")
    assert project.run("replicate").returncode == 0
    assert tombstones(project, older) == [None, None]


def test_what_has_no_manifest_there_any_more_buries_no_copy_that_has(
    project: SpreadProject, workspace: Workspace, backups: list[str]
) -> None:
    _, older = backups
    plant(workspace, older, SECOND, tombstone=PLANTED)
    (project.storages[SECOND] / "metadata" / f"{older}.json").unlink()

    assert cleaned(workspace).delete == ()
    assert project.parts(older, "local")


def test_a_deletion_goes_on_where_a_copy_is_gone_already(
    project: SpreadProject, workspace: Workspace, backups: list[str]
) -> None:
    """Killed after the first manifest: what is left says so in every copy that is there."""
    _, older = backups
    for storage in BOTH:
        plant(workspace, older, storage, tombstone=PLANTED)
    (project.storage / "metadata" / f"{older}.json").unlink()

    assert known_copies(workspace, older).state is not None
    assert [deleted.backup_id for deleted in cleaned(workspace).delete] == [older]
    assert list(project.storages[SECOND].rglob(f"{older}.*")) == []


def test_a_deletion_killed_between_two_tombstones_never_happened(
    project: SpreadProject, workspace: Workspace, backups: list[str]
) -> None:
    """One that a person asked for: no plan has it go again."""
    _, older = backups
    copies = known_copies(workspace, older)
    assert copies.state is not None
    workspace.catalog.record(copies.manifest, copies.state.model_copy(update={"tombstone": PLANTED}))
    plant(workspace, older, "local", tombstone=PLANTED)

    assert cleaned(workspace).delete == ()

    assert tombstones(project, older) == [None, None]
    assert project.backup(older)["status"] == "good"


def test_a_deletion_whose_tombstone_is_taken_back_meanwhile_is_refused_and_leaves_none(
    project: SpreadProject, workspace: Workspace, backups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever found it alone, while this process was held up."""
    _, older = backups
    replace = workspace.storage(SECOND).replace

    def taken_back_meanwhile(*arguments: Any, **named: Any) -> Any:
        monkeypatch.undo()
        plant(workspace, older, "local", tombstone=None)
        return replace(*arguments, **named)

    monkeypatch.setattr(workspace.storage(SECOND), "replace", taken_back_meanwhile)
    with pytest.raises(Refused, match="was taken back"):
        erase(workspace, older, Tombstone(marked_at=utc_now(), reason="asked for", actor="ada"), Cancellation())

    assert tombstones(project, older) == [None, None]
    assert all(project.parts(older, place) for place in BOTH)
    assert project.backup(older)["status"] == "good"


def test_wrapped_keys_in_one_copy_of_a_backup_in_the_clear_keep_nobody_from_reading_it(
    project: SpreadProject, workspace: Workspace
) -> None:
    backup = project.create()
    wrapped = WrappedKey(recipient="main", kind="local", key_id="a", wrapped="AAAA", wrapped_at=MORNING)
    plant(workspace, backup, SECOND, wrapped_keys=(wrapped,))

    assert project.run("replicate").returncode == 0
    assert project.state(backup, "local")["wrapped_keys"] == []
    assert project.run("restore", backup, "--as", str(project.folder / "back.sqlite")).returncode == 0
    assert project.run("verify", backup).returncode == 0
