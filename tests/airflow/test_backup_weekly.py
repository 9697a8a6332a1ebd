"""The real ``backup_weekly``: the structure of those whose entry asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from support.dag_runs import Run, dag_named
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]


def give_types(project: Project, **types: list[str] | None) -> None:
    """What the schedules take of each entry."""
    entries = {name: {"conn_id": f"{name}_db", "types": taken} for name, taken in types.items()}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": entries}))


def test_a_run_takes_the_structure_of_those_that_ask_for_it(tmp_path: Path, project: ProjectOf, run: RunOf) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))
    give_types(made, shop=None, crm=["full"])  # an entry that says nothing takes both

    ended = run("backup_weekly", scheduled=True)

    assert ended.state == "success"
    (backup,) = made.json("list")["backups"]
    assert (backup["database"], backup["type"], backup["rows"]) == ("shop", "structure", 0)
    assert (backup["status"], backup["proof_level"]) == ("good", "restore")
    assert made.manifest(backup["id"])["retention_days"] == 90
    assert ended.task("cleanup").state == "success"


def test_a_run_that_nobody_asked_structure_of_makes_nothing_and_is_no_failure(
    tmp_path: Path, project: ProjectOf, run: RunOf
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    give_types(made, shop=["full"])

    ended = run("backup_weekly", scheduled=True)

    assert ended.state == "success"
    assert ended.task("outcome").state == "success"
    assert made.json("list")["backups"] == []


def test_a_wrong_backup_yaml_fails_the_run(tmp_path: Path, project: ProjectOf, run: RunOf) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    made.config.write_text("version: 1\ndatabases:\n  shop: {conn_id: shop_db, typs: [full]}\n")

    ended = run("backup_weekly")

    assert ended.state == "failed"
    assert ended.task("select_databases").state == "failed"


def test_the_weekly_day_and_time_are_those_of_the_settings(project: ProjectOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    project()
    monkeypatch.setenv("BACKUP_WEEKLY_DAY", "wednesday")
    monkeypatch.setenv("BACKUP_WEEKLY_TIME", "05:15")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")

    following = coerce_to_core_timetable(dag_named("backup_weekly").timetable).next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=datetime(2099, 1, 15, tzinfo=UTC), latest=None, catchup=False),
    )

    assert following is not None
    assert following.run_after == datetime(2099, 1, 21, 4, 15, tzinfo=UTC)
    assert f"{following.run_after:%A}" == "Wednesday"


@pytest.mark.parametrize(
    ("dag_id", "variable"),
    [
        ("backup_weekly", "BACKUP_WEEKLY_ENABLED"),
        ("backup_verification", "BACKUP_VERIFICATION_DAILY_CHECK"),
        ("backup_verification", "BACKUP_VERIFICATION_ENABLED"),
    ],
)
def test_a_dag_that_is_switched_off_has_no_schedule(
    project: ProjectOf, monkeypatch: pytest.MonkeyPatch, dag_id: str, variable: str
) -> None:
    project()
    assert dag_named(dag_id).timetable.can_be_scheduled
    monkeypatch.setenv(variable, "false")
    assert os.environ[variable] == "false"
    assert dag_named(dag_id).timetable.can_be_scheduled is False


def test_the_time_of_the_daily_check_is_that_of_the_settings(
    project: ProjectOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setenv("BACKUP_VERIFICATION_TIME", "07:45")
    assert dag_named("backup_verification").timetable.expression == "45 7 * * *"


def test_scheduled_structure_backups_are_skipped_when_backups_are_switched_off(
    tmp_path: Path, project: ProjectOf, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    give_types(made, shop=["structure"])
    monkeypatch.setenv("BACKUP_ENABLED", "false")

    assert run("backup_weekly", scheduled=True).task("protect.backup", 0).state == "skipped"
    assert run("backup_weekly").task("protect.backup", 0).state == "success"
