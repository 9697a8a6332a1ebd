"""Runs of different DAGs on one entry: the later one waits a little, and then it is skipped with the reason."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.creation import Creation
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.progress import Cancellation, Silent
from support.dag_runs import Run
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

RunOf = Callable[..., Run]

_PATIENCE_SECONDS = 60


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))


@contextmanager
def another_backup_of_shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A real backup in another thread, which has the entry's lock; it publishes once the event is set."""
    begun, may_end = threading.Event(), threading.Event()
    publish = Creation.publish

    def slowly(creation: Creation) -> tuple[Manifest, State]:
        if threading.current_thread() is thread:
            begun.set()
            assert may_end.wait(_PATIENCE_SECONDS)
        return publish(creation)

    def back_up() -> None:
        with Workspace.open(os.environ) as workspace:
            run = RunInfo(origin="airflow", dag_id="backup_on_demand", run_id="by_anna")
            create_backup(workspace, CreateRequest("shop"), run=run, progress=Silent(), cancellation=Cancellation())

    thread = threading.Thread(target=back_up)
    monkeypatch.setattr(Creation, "publish", slowly)
    thread.start()
    try:
        assert begun.wait(_PATIENCE_SECONDS)
        yield may_end
    finally:
        may_end.set()
        thread.join(_PATIENCE_SECONDS)


def test_the_later_run_skips_the_entry_with_the_reason_and_takes_the_others(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("LOCK_WAIT_SECONDS", "DAILY_WAIT_SECONDS"):
        monkeypatch.setattr(f"db_backup.operators.protection.{wait}", 1)
    with Workspace.open(os.environ) as workspace:
        (earlier,) = publish(workspace, [past_backup(1)])
    with another_backup_of_shop(monkeypatch):
        ended = run("backup_daily", scheduled=True)

    states = {task.name: task.state for (task_id, _), task in ended.tasks.items() if task_id == "protect.backup"}
    assert states == {"crm": "success", "shop": "skipped"}
    shop = next(index for (_, index), task in ended.tasks.items() if task.name == "shop")
    assert "full backup, process" in ended.xcoms["protect.backup", shop, "outcome"]["reason"]
    assert ended.state == "success", "that somebody else makes the backup is no failure"
    assert "left alone: " in ended.xcoms["cleanup", -1, "return_value"]["warnings"][0]
    assert earlier in {backup["id"] for backup in made.json("list")["backups"]}
    assert {backup["database"] for backup in made.json("list")["backups"]} == {"shop", "crm"}


def test_the_later_run_goes_on_as_soon_as_the_entry_is_free(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    with another_backup_of_shop(monkeypatch) as may_end:
        threading.Timer(1.0, may_end.set).start()
        ended = run("backup_on_demand", conf={"databases": ["shop"]})

    assert ended.state == "success"
    assert len(made.json("list")["backups"]) == 2
