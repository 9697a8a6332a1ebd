"""The real ``backup_daily``, from its file, run to its end on real databases."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.model import EngineName
from support.dag_runs import Run, dag_named, logs_of_home
from support.lab import EngineLab
from support.project import Project
from support.shop_database import PASSWORD, sqlite_database, unreachable

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
Daily = Callable[..., Run]

DAGS = Path(__file__).resolve().parents[2] / "dags"


def at(document: Mapping[str, Any]) -> datetime:
    """The moment that this is a copy of."""
    return datetime.fromisoformat(document["recovery_point"])


def test_a_run_backs_up_proves_by_restoring_and_updates_the_asset(
    tmp_path: Path, project: ProjectOf, daily: Daily
) -> None:
    shop = project(shop=sqlite_database(tmp_path, "shop"))

    run = daily()

    assert run.state == "success"
    backup = run.xcoms["protect.backup", 0, "return_value"]
    proof = run.xcoms["protect.verify", 0, "return_value"]
    assert (backup["database"], backup["type"], backup["rows"], backup["tables"]) == ("shop", "full", 400, 2)
    assert (proof["backup_id"], proof["result"], proof["reached"], proof["verified"]) == (
        backup["id"],
        "passed",
        "restore",
        True,
    )
    manifest = shop.manifest(backup["id"])
    assert {uri: {**extra, "recovery_point": at(extra)} for uri, extra in run.assets.items()} == {
        "x-backup://shop": {
            "id": backup["id"],
            "size_bytes": backup["size_bytes"],
            "type": "full",
            "proof_level": "restore",
            "recovery_point": at(manifest),
        }
    }
    assert manifest["run"]["origin"] == "airflow"
    assert manifest["run"]["actor"] == "dag_test"
    assert manifest["run"]["task_id"] == "protect.backup"
    assert manifest["run"]["map_index"] == 0


def test_one_unreachable_database_fails_the_run_and_the_others_are_proven(
    project: ProjectOf, daily: Daily, labs: Mapping[EngineName, EngineLab], capfd: pytest.CaptureFixture[str]
) -> None:
    good = {engine.value: lab.connection(lab.create_sample()) for engine, lab in labs.items()}
    made = project(gone=unreachable(), **good)

    run = daily()

    assert run.state == "failed"
    states = {task.name: task.state for (task_id, _), task in run.tasks.items() if task_id == "protect.backup"}
    assert states == {"gone": "failed", **dict.fromkeys(good, "success")}
    gone = next(task for task in run.tasks.values() if task.name == "gone")
    assert gone.tries == 2, "an unreachable server is worth one more try"
    assert run.assets.keys() == {f"x-backup://{name}" for name in good}
    proven = {backup["database"] for backup in made.json("list")["backups"] if backup["verified"]}
    assert proven == good.keys()

    printed = "".join(capfd.readouterr())
    assert "1 of 4 entries failed. gone: backup: " in printed
    told = printed + logs_of_home() + str(run.xcoms)
    assert PASSWORD not in told
    assert not [lab for lab in labs.values() if lab.password and lab.password in told]


def test_mapped_tasks_are_called_after_their_entries(tmp_path: Path, project: ProjectOf, daily: Daily) -> None:
    project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))

    run = daily()

    for task_id in ("protect.backup", "protect.verify"):
        assert {run.task(task_id, index).name for index in (0, 1)} == {"shop", "crm"}


def test_a_scheduled_run_is_skipped_when_backups_are_switched_off(
    tmp_path: Path,
    project: ProjectOf,
    daily: Daily,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    monkeypatch.setenv("BACKUP_ENABLED", "false")

    run = daily(scheduled=True)

    assert run.task("protect.backup", 0).state == "skipped"
    assert run.task("protect.verify", 0).state == "skipped"
    assert "BACKUP_ENABLED=false" in run.xcoms["protect.backup", 0, "outcome"]["reason"]
    assert run.state == "success"
    assert not made.storage.exists() or made.files() == set()


def test_a_person_can_still_start_a_run_when_backups_are_switched_off(
    tmp_path: Path, project: ProjectOf, daily: Daily, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(shop=sqlite_database(tmp_path, "shop"))
    monkeypatch.setenv("BACKUP_ENABLED", "false")
    monkeypatch.setenv("BACKUP_DAILY_ENABLED", "false")
    monkeypatch.setenv("BACKUP_VERIFICATION_ENABLED", "false")

    run = daily()

    assert run.state == "success"
    assert run.xcoms["protect.verify", 0, "return_value"]["verified"] is True


def test_verification_that_is_switched_off_is_skipped_and_proves_nothing(
    tmp_path: Path, project: ProjectOf, daily: Daily, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    monkeypatch.setenv("BACKUP_VERIFICATION_ENABLED", "false")

    run = daily(scheduled=True)

    assert run.state == "success"
    assert run.task("protect.verify", 0).state == "skipped"
    assert "BACKUP_VERIFICATION_ENABLED=false" in run.xcoms["protect.verify", 0, "outcome"]["reason"]
    assert run.assets == {}
    assert [backup["status"] for backup in made.json("list")["backups"]] == ["unverified"]


def test_an_inconclusive_proof_is_neither_a_failure_nor_a_proof(
    tmp_path: Path, project: ProjectOf, daily: Daily, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    project(shop=sqlite_database(tmp_path, "shop", rows=3000, row_bytes=1000))
    monkeypatch.setenv("BACKUP_VERIFICATION_RESTORE_MAX_MB", "1")

    run = daily()

    proof = run.xcoms["protect.verify", 0, "return_value"]
    assert (proof["result"], proof["reached"], proof["verified"]) == ("inconclusive", "archive", False)
    assert "BACKUP_VERIFICATION_RESTORE_MAX_MB" in proof["reason"]
    assert run.state == "success"
    assert run.assets == {}
    assert "not proven (inconclusive, reached archive)" in "".join(capfd.readouterr())


def test_a_wrong_backup_yaml_fails_the_first_task_with_the_error(
    tmp_path: Path, project: ProjectOf, daily: Daily, capfd: pytest.CaptureFixture[str]
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    made.config.write_text("version: 1\ndatabases:\n  shop: {conn_id: shop_db, typs: [full]}\n")

    run = daily()

    assert run.state == "failed"
    assert run.task("select_databases").state == "failed"
    assert run.task("outcome").state == "failed"
    assert "typs" in "".join(capfd.readouterr())


def test_a_wrong_setting_leaves_the_schedule_and_fails_the_first_task_with_the_error(
    tmp_path: Path,
    project: ProjectOf,
    daily: Daily,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    project(shop=sqlite_database(tmp_path, "shop"))
    monkeypatch.setenv("BACKUP_DAILY_TIME", "25:99")

    assert dag_named("backup_daily").timetable.expression == "0 3 * * *"
    run = daily()

    assert run.task("select_databases").state == "failed"
    assert run.state == "failed"
    assert "BACKUP_DAILY_TIME" in "".join(capfd.readouterr())


def test_entries_that_take_no_full_backups_are_left_out(tmp_path: Path, project: ProjectOf, daily: Daily) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    made.config.write_text("version: 1\ndatabases: {}\n")

    run = daily()

    assert run.state == "failed", "a backup run that protects nothing is no success"


def test_the_schedule_follows_the_settings(project: ProjectOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    project()
    monkeypatch.setenv("BACKUP_DAILY_TIME", "01:30")
    monkeypatch.setenv("BACKUP_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("BACKUP_TIMEOUT_SECONDS", "600")

    dag = dag_named("backup_daily")

    following = coerce_to_core_timetable(dag.timetable).next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=datetime(2099, 1, 15, tzinfo=UTC), latest=None, catchup=False),
    )
    assert following.run_after == datetime(2099, 1, 15, 0, 30, tzinfo=UTC)
    assert dag.catchup is False
    assert dag.max_active_runs == 1
    backup = dag.get_task("protect.backup")
    assert backup.execution_timeout.total_seconds() > backup.wait_seconds + 600, "our own limit comes first"


def test_switching_the_dag_on_waits_for_the_next_time(project: ProjectOf, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    project()
    now = datetime.now(UTC)
    monkeypatch.setenv("BACKUP_DAILY_TIME", f"{now - timedelta(hours=1):%H:%M}")

    first = coerce_to_core_timetable(dag_named("backup_daily").timetable).next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )

    assert first.run_after > now


def test_a_daily_backup_that_is_switched_off_has_no_schedule(
    project: ProjectOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    monkeypatch.setenv("BACKUP_DAILY_ENABLED", "false")

    assert dag_named("backup_daily").timetable.can_be_scheduled is False


def test_parsing_the_dag_files_loads_neither_engines_nor_drivers() -> None:
    """Every task parses its DAG file again."""
    code = (
        "import json, runpy, sys\n"
        "heavy = ('db_backup.jobs.', 'db_backup.catalog.', 'db_backup.engines.', 'db_backup.stream.',"
        " 'db_backup.storage.', 'psycopg', 'pymysql', 'alembic', 'boto3', 'obstore', 'tink')\n"
        "loaded = {}\n"
        "for file in sys.argv[1:]:\n"
        "    runpy.run_path(file)\n"
        "    loaded[file] = [name for name in sys.modules if f'{name}.'.startswith(heavy)]\n"
        "print(json.dumps(loaded))\n"
    )
    files = [str(file) for file in sorted(DAGS.glob("*.py"))]
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {file: [] for file in files}


def test_a_copy_that_a_storage_missed_is_made_by_the_next_run(tmp_path: Path, project: ProjectOf, daily: Daily) -> None:
    shop = project(shop=sqlite_database(tmp_path, "shop"))
    second = tmp_path / "second"
    document = yaml.safe_load(shop.config.read_text())
    document["storages"] = {"second": {"url": second.as_uri()}}
    document["databases"]["shop"]["storages"] = ["local", "second"]
    shop.config.write_text(yaml.safe_dump(document))
    shop.json("create", "shop", "--no-verify")
    second.rename(tmp_path / "unmounted")

    run = daily()

    backup = run.xcoms["protect.backup", 0, "return_value"]
    assert shop.json("list", "--type", "full")["backups"][0]["missing_copies"] == ["second"]
    assert run.state == "failed"
    assert "second" in run.xcoms["replicate", -1, "outcome"]["reason"]
    assert [run.task(task).state for task in ("replicate", "cleanup", "health_score")] == [
        "failed",
        "success",
        "success",
    ]

    (tmp_path / "unmounted").rename(second)
    run = daily()

    assert run.state == "success"
    assert [made["backup_id"] for made in run.xcoms["replicate", -1, "return_value"]["made"]] == [backup["id"]]
