"""The real ``backup_hourly``, from its file: increments of SQLite files, and of real MariaDB and PostgreSQL servers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.model import utc_now
from support.dag_runs import Run, dag_named
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]

INCREMENTAL = {"types": ["full", "incremental"]}


def give_keys(project: Project, **keys: dict[str, Any]) -> None:
    """Entries of these names with these keys."""
    entries = {name: {"conn_id": f"{name}_db", **more} for name, more in keys.items()}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": entries}))


@pytest.fixture
def made(tmp_path: Path, project: ProjectOf) -> Project:
    """The entry shop, which takes increments; crm, which does not; and vip, which is critical."""
    names = ("shop", "crm", "vip")
    created = project(**{name: sqlite_database(tmp_path, name) for name in names})
    created.as_process = False
    give_keys(created, shop=INCREMENTAL, crm={"types": ["full"]}, vip={**INCREMENTAL, "tier": "critical"})
    return created


def create(project: Project, *arguments: str) -> str:
    return str(project.json("create", *arguments, "--no-cleanup", "--no-verify")["backups"][0]["id"])


def change(folder: Path, name: str) -> None:
    """One order more."""
    with closing(sqlite3.connect(folder / f"{name}.sqlite")) as database, database:
        database.execute("insert into orders (customer_id, note) values (1, 'changed since')")


def backups(project: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = project.json("list")["backups"]
    return found


def test_a_run_takes_what_has_changed_in_standard_entries_and_reads_it_back(
    made: Project, tmp_path: Path, run: RunOf
) -> None:
    base = create(made, "shop")
    made.json("verify", base)
    change(tmp_path, "shop")

    ended = run("backup_hourly", scheduled=True)

    assert ended.state == "success"
    backup = ended.xcoms["protect.backup", 0, "return_value"]
    assert (backup["database"], backup["type"], backup["parent_id"]) == ("shop", "incremental", base)
    proof = ended.xcoms["protect.verify", 0, "return_value"]
    assert (proof["level"], proof["result"], proof["verified"]) == ("checksum", "passed", True)
    (event,) = ended.assets.values()
    assert (event["id"], event["type"], event["proof_level"]) == (backup["id"], "incremental", "checksum")
    assert datetime.fromisoformat(event["recovery_point"]) == datetime.fromisoformat(backup["recovery_point"])
    assert [one["id"] for one in backups(made)] == [backup["id"], base], "crm takes none, and vip is backup_critical's"


def test_a_full_that_is_made_instead_is_told_of_and_proved_by_the_daily_check(
    made: Project, run: RunOf, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = run("backup_hourly", scheduled=True)

    assert ended.state == "success"
    backup = ended.xcoms["protect.backup", 0, "return_value"]
    assert (backup["type"], backup["instead_of"]) == ("full", "incremental")
    assert "shop: A full was made instead of an increment: " in "".join(capfd.readouterr())
    assert [one["status"] for one in backups(made)] == ["unverified"], "a full is proved by restoring it"
    assert ended.assets == {}

    assert run("backup_verification", scheduled=True).state == "success"
    assert [one["status"] for one in backups(made)] == ["good"]


def test_a_run_that_had_to_wait_skips_an_entry_that_was_backed_up_since(
    made: Project, tmp_path: Path, run: RunOf
) -> None:
    base = create(made, "shop")

    overtaken = run("backup_hourly", scheduled=True, due=utc_now() - timedelta(hours=1))

    assert overtaken.state == "success"
    assert overtaken.task("protect.backup", 0).state == overtaken.task("protect.verify", 0).state == "skipped"
    reason = overtaken.xcoms["protect.backup", 0, "outcome"]["reason"]
    assert f"has been backed up since ({base})" in reason
    assert len(backups(made)) == 1

    assert run("backup_hourly", scheduled=True, due=utc_now()).task("protect.backup", 0).state == "success"
    assert run("backup_hourly").task("protect.backup", 0).state == "success", "a person asked for it"
    assert len(backups(made)) == 3


def test_one_entry_that_fails_turns_the_run_red_and_stops_no_other(
    made: Project, tmp_path: Path, run: RunOf, capfd: pytest.CaptureFixture[str]
) -> None:
    give_keys(made, shop=INCREMENTAL, crm=INCREMENTAL)
    for name in ("shop", "crm"):
        create(made, name)
    (tmp_path / "crm.sqlite").unlink()

    ended = run("backup_hourly", scheduled=True)

    assert ended.state == "failed"
    states = {task.name: task.state for (task_id, _), task in ended.tasks.items() if task_id == "protect.backup"}
    assert states == {"crm": "failed", "shop": "success"}
    assert "1 of 2 entries failed. crm: backup: " in "".join(capfd.readouterr())
    assert backups(made)[0]["type"] == "incremental"


def test_scheduled_increments_are_skipped_when_backups_are_switched_off(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_ENABLED", "false")
    ended = run("backup_hourly", scheduled=True)
    assert (ended.state, ended.task("protect.backup", 0).state) == ("success", "skipped")
    assert backups(made) == []


def test_a_run_without_entries_that_take_increments_makes_nothing_and_is_no_failure(made: Project, run: RunOf) -> None:
    give_keys(made, shop={"types": ["full"]})
    assert run("backup_hourly", scheduled=True).state == "success"
    assert backups(made) == []


def test_it_runs_in_the_window_of_the_settings_once_it_is_switched_on(
    made: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dag_named("backup_hourly").timetable.can_be_scheduled is False
    monkeypatch.setenv("BACKUP_HOURLY_ENABLED", "true")
    monkeypatch.setenv("BACKUP_HOURLY_WINDOW", "07-20")

    dag = dag_named("backup_hourly")

    assert dag.timetable.expression == "0 7-20 * * 1-5"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
