"""Runs of different DAGs on one entry: the later one waits a little, and then it is skipped with the reason."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.jobs.workspace import Workspace
from support.dag_runs import Run
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database
from support.slow_backups import backup_at_work

pytestmark = pytest.mark.airflow

RunOf = Callable[..., Run]


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))


def test_the_later_run_skips_the_entry_with_the_reason_and_takes_the_others(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wait in ("LOCK_WAIT_SECONDS", "DAILY_WAIT_SECONDS"):
        monkeypatch.setattr(f"db_backup.operators.protection.{wait}", 1)
    with Workspace.open(os.environ) as workspace:
        (earlier,) = publish(workspace, [past_backup(1)])
    with backup_at_work("shop", monkeypatch):
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
    with backup_at_work("shop", monkeypatch) as may_end:
        threading.Timer(1.0, may_end.set).start()
        ended = run("backup_on_demand", conf={"databases": ["shop"]})

    assert ended.state == "success"
    assert len(made.json("list")["backups"]) == 2
