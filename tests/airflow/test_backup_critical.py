"""The real ``backup_critical``: every five minutes, for critical entries alone, and never two runs' work at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from db_backup.model import BackupType, utc_now
from support.dag_runs import Run, dag_named
from support.project import Project
from support.shop_database import sqlite_database
from support.slow_backups import backup_at_work

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]


def make_critical(project: Project, **tiers: str) -> None:
    entries = {
        name: {"conn_id": f"{name}_db", "types": ["full", "incremental"], "tier": tier} for name, tier in tiers.items()
    }
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": entries}))


@pytest.fixture
def made(tmp_path: Path, project: ProjectOf) -> Project:
    """The critical entries shop and crm, each with a full; and blog, which is not critical."""
    created = project(**{name: sqlite_database(tmp_path, name) for name in ("shop", "crm", "blog")})
    created.as_process = False
    make_critical(created, shop="critical", crm="critical", blog="standard")
    created.json("create", "--no-cleanup", "--no-verify")
    return created


def increments(project: Project) -> list[str]:
    found = project.json("list", "--type", "incremental")["backups"]
    return sorted(backup["database"] for backup in found)


def states(run: Run, task_id: str) -> dict[str | None, str]:
    return {task.name: task.state for (one, _), task in run.tasks.items() if one == task_id}


def test_a_run_takes_the_critical_entries_in_a_pool_of_their_own(made: Project, run: RunOf) -> None:
    ended = run("backup_critical", scheduled=True)

    assert ended.state == "success"
    assert (
        states(ended, "protect.backup") == states(ended, "protect.verify") == dict.fromkeys(("shop", "crm"), "success")
    )
    assert increments(made) == ["crm", "shop"]
    tasks = dag_named("backup_critical").task_dict
    for task_id in ("protect.backup", "protect.verify"):
        assert (tasks[task_id].pool, tasks[task_id].retries) == ("backup_critical", 0), "the next run is the retry"


def test_an_entry_whose_capture_is_still_at_work_is_skipped_with_the_reason(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db_backup.operators.protection.LOCK_WAIT_SECONDS", 1)
    with backup_at_work("shop", monkeypatch, type=BackupType.INCREMENTAL):
        ended = run("backup_critical", scheduled=True)

    assert ended.state == "success", "that somebody else makes the backup is no failure"
    assert states(ended, "protect.backup") == {"crm": "success", "shop": "skipped"}
    index = next(index for (_, index), task in ended.tasks.items() if task.name == "shop")
    assert "incremental backup, process" in ended.xcoms["protect.backup", index, "outcome"]["reason"]
    assert increments(made) == ["crm", "shop"], "each once"


def test_runs_that_wait_behind_a_long_one_do_not_repeat_its_work(made: Project, run: RunOf) -> None:
    """Airflow starts those that were due meanwhile one after the other."""
    first_due = utc_now()
    dues = [first_due, first_due - timedelta(minutes=5), first_due - timedelta(minutes=1)]

    late = [states(run("backup_critical", scheduled=True, due=due), "protect.backup") for due in dues]

    assert late == [dict.fromkeys(("shop", "crm"), state) for state in ("success", "skipped", "skipped")]
    assert increments(made) == ["crm", "shop"]


def test_the_daily_full_waits_for_an_increment_that_takes_longer_than_others_wait(made: Project) -> None:
    """Both begin at 03:00: a full that loses to a slow increment would lose every night."""
    waits = {
        dag_id: dag_named(dag_id).get_task("protect.backup").wait_seconds
        for dag_id in ("backup_daily", "backup_critical")
    }
    assert waits == {"backup_daily": 600, "backup_critical": 60}


def test_it_is_scheduled_where_there_is_a_critical_entry(
    made: Project, project: ProjectOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")
    dag = dag_named("backup_critical")
    assert dag.timetable.expression == "*/5 * * * *"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)

    make_critical(made, shop="standard")
    assert dag_named("backup_critical").timetable.can_be_scheduled is False


def test_without_critical_entries_a_run_that_a_person_starts_makes_nothing(made: Project, run: RunOf) -> None:
    make_critical(made, shop="standard")
    assert run("backup_critical").state == "success"
    assert increments(made) == []


def test_a_wrong_backup_yaml_leaves_the_schedule_and_fails_the_run(made: Project, run: RunOf) -> None:
    made.config.write_text("version: 1\ndatabases:\n  shop: {conn_id: shop_db, typs: [full]}\n")
    assert dag_named("backup_critical").timetable.can_be_scheduled
    assert run("backup_critical", scheduled=True).task("select_databases").state == "failed"
