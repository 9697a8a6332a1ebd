"""``CleanupOperator``: templates, what it returns, and whom it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from db_backup.catalog import AttemptOutcome
from db_backup.errors import StorageAccessDenied
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType
from db_backup.storage import LocalStorage
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow


class Instance:
    """What the operator uses of a running task instance."""

    dag_id, run_id, task_id, map_index, try_number = "backup_daily", "today", "cleanup", -1, 1

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def run(**arguments: Any) -> Any:
    from db_backup.operators import CleanupOperator

    params = arguments.pop("params", {})
    operator = CleanupOperator(task_id="cleanup", **arguments)
    context = {
        "ti": Instance(),
        "dag_run": SimpleNamespace(run_type="manual", triggering_user_name="anna"),
        "params": params,
    }
    operator.render_template_fields(context)
    return type(operator).execute.__wrapped__(operator, context)


@pytest.fixture
def fulls(tmp_path: Path, project: Callable[..., Project]) -> list[str]:
    project(shop=sqlite_database(tmp_path, "shop"))
    with Workspace.open(os.environ) as workspace:
        publish(workspace, [past_backup(age, type=BackupType.STRUCTURE) for age in (1, 120)])
        return publish(workspace, [past_backup(age) for age in (1, 2, 3, 10, 40)])


def test_it_deletes_and_returns_a_small_summary(fulls: list[str]) -> None:
    returned = run(database="{{ params.name }}", type="full", params={"name": "shop"})
    assert [line["backup_id"] for line in returned["delete"]] == [fulls[-1]]
    assert (returned["kept"], returned["failed"], returned["warnings"]) == (6, [], [])


def test_its_arguments_are_templated_and_may_be_left_out(fulls: list[str]) -> None:
    asked = {"days": "5", "plan": True, "nothing": None}
    planned = run(
        database="{{ params.nothing }}",
        type="{{ params.nothing }}",
        retention_days="{{ params.days }}",
        plan_only="{{ params.plan }}",
        params=asked,
    )
    assert {line["backup_id"] for line in planned["delete"]} >= {fulls[-1], fulls[-2]}
    with Workspace.open(os.environ) as workspace:
        assert len(list(workspace.catalog.ids())) == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"retention_days": "0"}, "from 1 to 36500"), ({"type": "whole"}, "full"), ({"database": "shpo"}, "shop")],
)
def test_an_argument_that_cannot_be_fails_without_a_retry(
    fulls: list[str], arguments: dict[str, Any], said: str
) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=said):
        run(**arguments)


def test_an_entry_whose_backup_failed_in_this_run_is_left_alone(fulls: list[str]) -> None:
    with Workspace.open(os.environ) as workspace:
        this_run = RunInfo(origin="airflow", dag_id="backup_daily", run_id="today")
        attempt = workspace.catalog.begin_attempt("shop", BackupType.FULL, this_run)
        workspace.catalog.finish_attempt(attempt, AttemptOutcome.FAILED, error="no answer")
    returned = run()
    assert returned["delete"] == []
    assert "did not succeed in this run" in returned["warnings"][0]


def test_a_backup_that_cannot_be_deleted_fails_the_task(fulls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowException

    def deny(storage: LocalStorage, key: str) -> None:
        raise StorageAccessDenied("The disk says no.", hint="Let this user write.")

    monkeypatch.setattr(LocalStorage, "delete", deny)
    with pytest.raises(AirflowException, match="The disk says no"):
        run()
