"""``require_fresh_backup`` in somebody's DAG: what is behind it runs only with a proven, recent backup."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType, ProofResult
from support.dag_runs import Run, read_run
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

Migrate = Callable[..., Run]

DAG_FILE = """
from datetime import timedelta

from airflow.sdk import dag, task

from db_backup.operators import require_fresh_backup


@dag(schedule=None)
def migration():
    @task
    def migrate():
        return "migrated"

    require_fresh_backup("{database}", within=timedelta(hours={hours})) >> migrate()


migration()
"""


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"))


@pytest.fixture
def migrate(tmp_path: Path, airflow_database: Path) -> Migrate:
    """Runs a DAG file of which the guard is the first task."""

    def run(database: str = "shop", hours: float = 24) -> Run:
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        folder = tmp_path / "dags_of_somebody"
        folder.mkdir(exist_ok=True)
        (folder / "migration.py").write_text(DAG_FILE.format(database=database, hours=hours))
        bag = DagBag(folder, bundle_name="dags-folder")
        assert bag.import_errors == {}
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(bag, "dags-folder", None)
        return read_run(bag.dags["migration"].test())

    return run


def past(*ages: float, **more: Any) -> list[str]:
    with Workspace.open(os.environ) as workspace:
        return publish(workspace, [past_backup(age, **more) for age in ages])


def test_a_fresh_proven_backup_lets_the_migration_run(made: Project, migrate: Migrate) -> None:
    backup = made.json("create")["backups"][0]

    ended = migrate(hours=1)

    assert ended.state == "success"
    assert ended.task("migrate").state == "success"
    guarded = ended.xcoms["require_fresh_backup", -1, "return_value"]
    assert (guarded["id"], guarded["database"], guarded["proof_level"]) == (backup["id"], "shop", "restore")


def refused(ended: Run, capfd: pytest.CaptureFixture[str], *said: str) -> None:
    assert (ended.state, ended.task("require_fresh_backup").state) == ("failed", "failed")
    assert ended.task("migrate").state == "upstream_failed"
    assert ended.task("require_fresh_backup").tries == 1
    printed = "".join(capfd.readouterr())
    for text in said:
        assert text in printed


def test_a_backup_that_is_too_old_stops_it_with_its_age(
    made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]
) -> None:
    (old,) = past(1.51)
    hint = "Run backup_on_demand for it, or `db-backup create shop`"
    refused(migrate(), capfd, "from the last 1d 0h", f"{old} is 1d 12h old", hint)
    assert migrate(hours=48).state == "success"


def test_no_backup_at_all_stops_it(made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]) -> None:
    refused(migrate(), capfd, "there is none at all")


def test_an_unproven_or_failed_backup_does_not_count(
    made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]
) -> None:
    (unproven,) = past(0.2, result=None)
    (failed,) = past(0.1, result=ProofResult.FAILED)
    refused(migrate(), capfd, f"{failed} is failed_verification", f"{unproven} is unverified")


def test_an_older_proven_one_counts_behind_a_newer_that_failed(made: Project, migrate: Migrate) -> None:
    (good,) = past(0.5)
    past(0.1, result=ProofResult.FAILED)
    assert migrate().xcoms["require_fresh_backup", -1, "return_value"]["id"] == good


def test_neither_structure_nor_a_backup_from_the_future_counts(
    made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]
) -> None:
    past(0.1, type=BackupType.STRUCTURE)
    past(-3)
    refused(migrate(), capfd, "there is none at all")


def test_a_backup_whose_file_is_gone_does_not_count_whatever_the_catalogue_says(
    made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]
) -> None:
    backup = made.json("create")["backups"][0]["id"]
    made.artefact(backup).unlink()
    refused(migrate(), capfd, f"of {backup} is gone")


def test_a_name_that_is_mistyped_is_told(made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]) -> None:
    past(0.1)
    refused(migrate(database="shpo"), capfd, "Did you mean 'shop'?")


def test_a_limit_that_nothing_can_meet_is_a_mistake(made: Project) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from db_backup.operators import require_fresh_backup

    past(0.1)
    with pytest.raises(AirflowFailException, match="younger than 0:00:00"):
        require_fresh_backup.function("shop", timedelta(0))


def test_an_increment_counts_with_its_whole_chain(
    made: Project, migrate: Migrate, capfd: pytest.CaptureFixture[str]
) -> None:
    full = past_backup(3)
    first = past_backup(2, type=BackupType.INCREMENTAL, after=full[0])
    newest = past_backup(0.5, type=BackupType.INCREMENTAL, after=first[0])
    with Workspace.open(os.environ) as workspace:
        publish(workspace, [full, first, newest])
    assert migrate().xcoms["require_fresh_backup", -1, "return_value"]["id"] == newest[0].id

    made.artefact(first[0].id).unlink()
    refused(migrate(), capfd, f"of {first[0].id} is gone")
