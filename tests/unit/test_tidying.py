"""What killed processes left, taken away or finished: nothing that is another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup import naming
from db_backup.catalog import AttemptOutcome
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.sidecars import rewrite_state
from db_backup.jobs.tidying import tidy
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType, utc_now
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.unit

RUN = RunInfo(
    origin="airflow", host="one", dag_id="backup_daily", run_id="scheduled__1", task_id="backup", try_number=1
)
LATER = timedelta(seconds=5)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@pytest.fixture
def workspace(project: Project) -> Iterator[Workspace]:
    with Workspace.open(project.environment) as opened:
        yield opened


@pytest.fixture
def tidied(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AttemptOutcome | None]:
    """Tidies up after an attempt of ``RUN`` whose process died; says what it was found to have come to."""
    workspace.catalog.begin_attempt("shop", BackupType.FULL, RUN)
    dead = workspace.catalog.attempts()
    monkeypatch.setattr(workspace.catalog, "abandoned_attempts", lambda: dead)

    def outcome() -> AttemptOutcome | None:
        tidy(workspace, ready_storages(workspace, ("local",)))
        return workspace.catalog.attempts()[0].outcome

    return outcome


def published(workspace: Workspace, run: RunInfo) -> str:
    """A backup that this run made a moment after its attempt had begun, and that was not indexed any more."""
    moment = utc_now() + LATER
    pair = past_backup(-LATER / timedelta(days=1), result=None, run=run, finished_at=moment, recovery_point=moment)
    (backup_id,) = publish(workspace, [pair], index=False)
    return backup_id


def test_an_attempt_that_came_to_its_manifest_has_succeeded(
    workspace: Workspace, tidied: Callable[[], AttemptOutcome | None]
) -> None:
    backup_id = published(workspace, RUN)

    assert tidied() is AttemptOutcome.SUCCEEDED
    assert list(workspace.catalog.ids()) == [backup_id]


def test_what_another_run_has_published_is_no_success_of_a_dead_one(
    workspace: Workspace, tidied: Callable[[], AttemptOutcome | None]
) -> None:
    """It is about to be indexed by its own process; or it is of another host, with a catalogue of its own."""
    published(workspace, RUN.model_copy(update={"host": "other", "try_number": 2}))

    assert tidied() is AttemptOutcome.INTERRUPTED
    assert list(workspace.catalog.ids()) == []


def test_a_proof_that_is_recorded_meanwhile_is_not_taken_back(
    workspace: Workspace, tidied: Callable[[], AttemptOutcome | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_id = published(workspace, RUN)
    record = workspace.catalog.record

    def pinned_first(*pair: Any) -> None:
        monkeypatch.undo()
        (storage,) = ready_storages(workspace, ("local",))
        record(pair[0], rewrite_state(storage, backup_id, lambda state: state.model_copy(update={"pinned": True})))
        record(*pair)

    monkeypatch.setattr(workspace.catalog, "record", pinned_first)
    tidied()

    assert workspace.catalog.get(backup_id).pinned


def test_a_backup_that_may_take_days_is_not_taken_for_abandoned_after_one(project: Project) -> None:
    """Of another host, whose locks do not reach us: only age tells."""
    first = project.json("create", "shop", "--no-verify")["backups"][0]["id"]
    theirs = f"{first}-50"
    reservation = project.storage / "metadata" / f".reserved-{theirs}"
    part = project.storage / naming.part_key(f"{theirs}.sqlite.gz")
    for path in (reservation, part):
        path.write_text("another-host")
    moment = (utc_now() - timedelta(hours=30)).timestamp()
    os.utime(reservation, (moment, moment))

    project.json("create", "shop", "--no-verify", BACKUP_TIMEOUT_SECONDS=str(2 * 86_400))
    assert reservation.exists()
    assert part.exists()

    project.json("create", "shop", "--no-verify")
    assert not reservation.exists()
    assert not part.exists()
