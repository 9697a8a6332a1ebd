"""Cleanup, health and outcome of the real DAGs: they run whatever came before, and no failure is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.errors import StorageAccessDenied
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType
from db_backup.storage import LocalStorage
from support.dag_runs import Run
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database, unreachable

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
Daily = Callable[..., Run]

A_MONTH = (1, 2, 3, 10, 40)  # days


def past(*ages: float, entry: str = "shop", type: BackupType = BackupType.FULL) -> list[str]:
    with Workspace.open(os.environ) as workspace:
        return publish(workspace, [past_backup(age, entry=entry, type=type) for age in ages])


def deleted(run: Run) -> list[str]:
    return [line["backup_id"] for line in run.xcoms["cleanup", -1, "return_value"]["delete"]]


def test_a_run_deletes_what_is_over_of_every_type_and_says_how_healthy_all_is(
    tmp_path: Path, project: ProjectOf, daily: Daily
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    fulls, structures = past(*A_MONTH), past(1, 50, 120, type=BackupType.STRUCTURE)

    run = daily(scheduled=True)

    assert run.state == "success"
    assert set(deleted(run)) == {fulls[-1], structures[-1]}
    assert {backup["id"] for backup in made.json("list")["backups"]}.isdisjoint(deleted(run))
    health = run.xcoms["health_score", -1, "return_value"]
    assert [entry["database"] for entry in health["databases"]] == ["shop"]
    assert health["score"] == health["databases"][0]["score"] > 0


def test_cleanup_leaves_an_entry_alone_whose_backup_failed_and_the_run_is_still_red(
    tmp_path: Path, project: ProjectOf, daily: Daily
) -> None:
    project(gone=unreachable(), shop=sqlite_database(tmp_path, "shop"))
    of_gone, of_shop = past(*A_MONTH, entry="gone"), past(*A_MONTH)

    run = daily()

    assert deleted(run) == [of_shop[-1]]
    assert of_gone[-1] not in deleted(run)
    assert "did not succeed in this run" in run.xcoms["cleanup", -1, "return_value"]["warnings"][0]
    assert run.task("health_score").state == "success"
    assert (run.task("outcome").state, run.state) == ("failed", "failed")


def test_cleanup_leaves_an_entry_alone_whose_connection_is_missing(
    tmp_path: Path, project: ProjectOf, daily: Daily, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(shop=sqlite_database(tmp_path, "shop"))
    past(*A_MONTH)
    monkeypatch.delenv("AIRFLOW_CONN_SHOP_DB")

    run = daily()

    assert run.state == "failed"
    assert deleted(run) == []


def test_cleanup_leaves_an_entry_alone_whose_backup_did_not_pass_its_proof(
    tmp_path: Path, project: ProjectOf, daily: Daily, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db_backup.jobs import proving
    from db_backup.manifest import Difference

    def differs(*_arguments: object) -> None:
        difference = Difference(kind="rows", name="orders", expected="200", found="0")
        raise proving._Different((difference,))

    project(shop=sqlite_database(tmp_path, "shop"))
    past(*A_MONTH)
    monkeypatch.setattr(proving.Proving, "_archive", differs)

    run = daily()

    assert run.state == "failed"
    assert deleted(run) == []
    assert "did not pass its verification" in run.xcoms["cleanup", -1, "return_value"]["warnings"][0]


def test_the_first_backup_after_an_outage_deletes_nothing(tmp_path: Path, project: ProjectOf, daily: Daily) -> None:
    """Days count up to the newest good backup, which would be this very one."""
    project(shop=sqlite_database(tmp_path, "shop"))
    past(100, 101, 102, 103, 104)

    run = daily(scheduled=True)

    assert run.state == "success"
    assert deleted(run) == []
    assert "run `db-backup cleanup`" in run.xcoms["cleanup", -1, "return_value"]["warnings"][0]


def test_a_cleanup_that_fails_turns_the_run_red_and_health_is_still_told(
    tmp_path: Path,
    project: ProjectOf,
    daily: Daily,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def deny(storage: LocalStorage, key: str) -> None:
        raise StorageAccessDenied("The disk says no.", hint="Let this user write.")

    project(shop=sqlite_database(tmp_path, "shop"))
    past(*A_MONTH)
    monkeypatch.setattr(LocalStorage, "delete", deny)

    run = daily()

    assert run.task("cleanup").state == "failed"
    assert run.task("health_score").state == "success"
    assert run.state == "failed"
    assert "cleanup failed: 1 backups could not be deleted." in "".join(capfd.readouterr())
