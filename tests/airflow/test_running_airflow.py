"""DAGs over the REST API of an Airflow that really runs, with users of several roles: its server, scheduler, tasks."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.moto_server import S3Server
from support.project import Project
from support.running_airflow import RunningAirflow, running_airflow, wait_until
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

PLANTED = "planted-password-of-the-storage"
ON_DEMAND, RESTORE, STOP, START = "backup_on_demand", "backup_restore", "stop_crm", "start_crm"

# What an application's own DAGs would be: they write down that they ran, and how many orders there were.
HOOKS = """
import sqlite3
from airflow.sdk import dag, task

def hook(name, database, seen):
    @task
    def look(dag_run=None):
        (orders,) = sqlite3.connect(database).execute("select count(*) from orders").fetchone()
        with open(seen, "a") as written:
            written.write(f"{name} {dag_run.conf['database']} {orders}\\n")

    @dag(dag_id=name, schedule=None, is_paused_upon_creation=False)
    def application():
        look()

    application()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("running")


@pytest.fixture(scope="module")
def made(folder: Path, s3_server: S3Server) -> Project:
    """The entries shop and crm; of crm's application DAGs are run before and after a restore.

    There is a key to encrypt with, and a storage ``s3`` beside the local one, for backups that ask for it.
    """
    databases = {name: sqlite_database(folder, name) for name in ("shop", "crm")}
    project = Project(folder / "project", databases, as_process=False)
    config = yaml.safe_load(project.config.read_text())
    config["databases"]["crm"]["hooks"] = {
        "before_restore": {"trigger_dag": STOP},
        "after_restore": {"trigger_dag": START},
    }
    config["storages"] = {"s3": {"url": f"s3://{s3_server.new_bucket()}/backups", "conn_id": "s3_test"}}
    project.config.write_text(yaml.safe_dump(config))
    extra = {"endpoint_url": s3_server.endpoint, "region_name": s3_server.region}
    connection = {"conn_type": "aws", "login": s3_server.key_id, "password": PLANTED, "extra": extra}
    project.environment["AIRFLOW_CONN_S3_TEST"] = json.dumps(connection)
    project.environment["BACKUP_KEYS_PATH"] = str(folder / "keys")
    generated = project.run("keys", "generate", "default")
    assert generated.returncode == 0, generated.stderr
    return project


@pytest.fixture(scope="module")
def airflow(folder: Path, made: Project, airflow_database: Path) -> Iterator[RunningAirflow]:
    """One for all tests here: it takes half a minute to start."""
    dags = folder / "dags"
    shutil.copytree(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], dags, ignore=shutil.ignore_patterns("__pycache__"))
    calls = "".join(
        f"hook({name!r}, {str(folder / 'crm.sqlite')!r}, {str(folder / 'seen')!r})\n" for name in (STOP, START)
    )
    (dags / "application.py").write_text(HOOKS + calls)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "AIRFLOW_CONN_"))}
    own = {name: value for name, value in made.environment.items() if name.startswith(("BACKUP_", "AIRFLOW_CONN_"))}
    environment = {**inherited, **own, "AIRFLOW__CORE__DAGS_FOLDER": str(dags)}
    with running_airflow(folder / "airflow", airflow_database, environment) as running:
        for dag_id in (ON_DEMAND, RESTORE, STOP, START):
            wait_until(lambda dag_id=dag_id: running.knows(dag_id), f"Airflow did not find {dag_id}")
        yield running


def orders(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "crm.sqlite")) as database:
        return int(database.execute("select count(*) from orders").fetchone()[0])


def lose_orders(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "crm.sqlite")) as database, database:
        database.execute("delete from orders")


def start_restore(airflow: RunningAirflow, **conf: Any) -> str:
    """A run that waits for somebody to approve it."""
    airflow.unpause(RESTORE)
    accepted = airflow.trigger(RESTORE, conf)
    assert accepted.status_code == 200, accepted.text
    run_id = str(accepted.json()["dag_run_id"])
    wait_until(lambda: airflow.asks(RESTORE, run_id, "approval"), "nobody was asked")
    return run_id


def test_what_is_asked_for_over_rest_is_made_and_what_cannot_be_is_status_400(
    airflow: RunningAirflow, made: Project
) -> None:
    form = airflow.get(f"dags/{ON_DEMAND}/details")["params"]
    assert form["databases"]["schema"]["examples"] == ["crm", "shop"]
    assert {param["schema"]["section"] for param in form.values()} == {"What", "How", "Afterwards"}

    for wrong in ({"type": "whole"}, {"compression": "zip"}, {"level": 99}, {"databases": "shop"}, {"encrypt": "yes"}):
        refused = airflow.trigger(ON_DEMAND, wrong)
        assert refused.status_code == 400, f"{wrong}: {refused.text}"
        assert next(iter(wrong)) in refused.json()["detail"]

    airflow.unpause(ON_DEMAND)
    asked = {"databases": ["shop"], "type": "structure", "compression": "zstd"}
    accepted = airflow.trigger(ON_DEMAND, asked)
    assert accepted.status_code == 200, accepted.text
    assert airflow.end_of(ON_DEMAND, accepted.json()["dag_run_id"]) == "success"

    (backup,) = made.json("list", "--database", "shop")["backups"]
    manifest = made.manifest(backup["id"])
    assert (manifest["entry"], manifest["type"], manifest["parts"][0]["compression"]) == ("shop", "structure", "zstd")
    assert (manifest["run"]["dag_id"], manifest["run"]["actor"]) == (ON_DEMAND, "anna")
    assert made.artefact(backup["id"]).suffix == ".zst"
    assert made.artefact(backup["id"]).stat().st_size == manifest["parts"][0]["stored_bytes"]
    assert (backup["status"], backup["proof_level"]) == ("good", "restore")


def test_forked_tasks_use_object_storage_again_and_again_and_no_secret_is_left_behind(
    airflow: RunningAirflow, made: Project, folder: Path
) -> None:
    """LocalExecutor forks its workers off the scheduler, and they their tasks."""
    airflow.unpause(ON_DEMAND)
    for _ in range(2):
        accepted = airflow.trigger(ON_DEMAND, {"storage": "s3", "encrypt": True})
        assert airflow.end_of(ON_DEMAND, accepted.json()["dag_run_id"]) == "success"

    backups = [backup for backup in made.json("list")["backups"] if backup["storages"] == ["s3"]]
    assert [(backup["encrypted"], backup["proof_level"]) for backup in backups] == [(True, "restore")] * 4

    key = json.loads((folder / "keys" / "default.json").read_text())["keyset"]["key"][0]["keyData"]["value"]
    written = [path for path in (folder / "airflow").rglob("*") if path.is_file()]
    assert {"airflow.db", "scheduler.log"} < {path.name for path in written}
    for path in written:
        content = path.read_bytes()
        assert PLANTED.encode() not in content, path
        assert key.encode() not in content, path


def test_a_restore_waits_until_somebody_who_may_has_approved_it(
    airflow: RunningAirflow, made: Project, folder: Path
) -> None:
    backup_id = made.json("create", "crm", "--no-cleanup")["backups"][0]["id"]
    before = orders(folder)
    lose_orders(folder)
    (folder / "seen").unlink(missing_ok=True)

    viewer, bob = airflow.seen_by("victor"), airflow.seen_by("bob")
    assert viewer.trigger(RESTORE, {"database": "crm", "force": True}).status_code == 403
    run_id = start_restore(airflow, database="crm", force=True)

    asked = viewer.get(f"dags/{RESTORE}/dagRuns/{run_id}/taskInstances/approval/-1/hitlDetails")
    assert asked["options"] == ["Approve", "Reject"]
    assert backup_id in asked["subject"]
    assert "**anna** asks for this restore." in asked["body"]
    assert f"DAGs are triggered: '{STOP}' before, '{START}' afterwards." in asked["body"]
    assert viewer.answer(RESTORE, run_id, "approval", "Approve").status_code == 403
    assert airflow.state_of(RESTORE, run_id, "approval") == "awaiting_input"
    assert orders(folder) == 0
    kept = made.run("delete", backup_id, "--force")
    assert kept.returncode == 4
    assert f"restore that {run_id} has planned, reserved until" in kept.stderr

    assert bob.answer(RESTORE, run_id, "approval", "Approve").status_code == 200
    assert airflow.end_of(RESTORE, run_id) == "success"
    assert orders(folder) == before
    assert (folder / "seen").read_text().splitlines() == [f"{STOP} crm 0", f"{START} crm {before}"]

    report = airflow.get(f"dags/{RESTORE}/dagRuns/{run_id}/taskInstances/restore/xcomEntries/report")["value"]
    assert (report["backup_id"], report["approved_by"], report["differences"]) == (backup_id, "bob", [])
    audit = {(act["act"], act["actor"], act["outcome"]) for act in made.json("audit")["acts"]}
    assert {("approval", "bob", "done"), ("restore", "anna", "done")} <= audit
    safety = report["safety_backup_id"]

    lose_orders(folder)
    airflow.clear(RESTORE, run_id, "restore")
    assert airflow.end_of(RESTORE, run_id) == "failed"
    left = airflow.get(f"dags/{RESTORE}/dagRuns/{run_id}/taskInstances/restore/xcomEntries/outcome")["value"]
    assert "the approval was for one restore" in left["reason"]
    assert orders(folder) == 0, "a yes is used up"
    assert made.json("delete", backup_id, "--force")["delete"][0]["backup_id"] == backup_id, "it is not held any more"
    assert made.manifest(safety)["inventory"]["tables"]


def test_a_rejected_restore_changes_nothing_and_is_no_failure(
    airflow: RunningAirflow, made: Project, folder: Path
) -> None:
    backup_id = made.json("create", "crm", "--no-cleanup")["backups"][0]["id"]
    lose_orders(folder)
    (folder / "seen").unlink(missing_ok=True)
    files = made.files()
    run_id = start_restore(airflow, backup=backup_id, force=True)

    assert airflow.seen_by("bob").answer(RESTORE, run_id, "approval", "Reject").status_code == 200

    assert airflow.end_of(RESTORE, run_id) == "success"
    states = {task: airflow.state_of(RESTORE, run_id, task) for task in ("before_restore", "restore", "after_restore")}
    assert set(states.values()) == {"skipped"}
    assert orders(folder) == 0
    assert made.files() == files, "no safety backup either"
    assert not (folder / "seen").exists()
    (act,) = [act for act in made.json("audit")["acts"] if act["act"] == "approval" and act["backup_id"] == backup_id][
        :1
    ]
    assert (act["actor"], act["detail"].split(" the restore")[0]) == ("bob", "rejected")
    assert made.run("delete", backup_id, "--force").returncode == 0, "it is not held any more"


def test_a_restore_that_nobody_approves_in_time_ends_red_and_changes_nothing_whatever_is_forged_then(
    airflow: RunningAirflow, made: Project, folder: Path
) -> None:
    backup_id = made.json("create", "crm", "--no-cleanup")["backups"][0]["id"]
    lose_orders(folder)
    (folder / "seen").unlink(missing_ok=True)
    run_id = start_restore(airflow, backup=backup_id, force=True)

    airflow.let_time_pass(run_id, "approval")

    assert airflow.end_of(RESTORE, run_id) == "failed"
    left = airflow.get(f"dags/{RESTORE}/dagRuns/{run_id}/taskInstances/approval/xcomEntries/outcome")["value"]
    assert left["reason"].startswith("Nobody answered within 24 hours")
    assert airflow.state_of(RESTORE, run_id, "restore") == "upstream_failed"
    assert not (folder / "seen").exists()

    # Whoever may forge may also start the DAG of a hook: that one may run now, and the restore may not.
    airflow.forge_answer(RESTORE, run_id, "approval", {"approved": True, "by": "bob", "at": "2099-01-01T00:00:00Z"})
    wait_until(lambda: airflow.state_of(RESTORE, run_id, "restore") == "failed", "the restore did not fail")
    left = airflow.get(f"dags/{RESTORE}/dagRuns/{run_id}/taskInstances/restore/xcomEntries/outcome")["value"]
    assert "nobody has approved it" in left["reason"], "a yes that somebody wrote over REST is none"
    assert airflow.end_of(RESTORE, run_id) == "failed"
    assert orders(folder) == 0
    assert made.run("delete", backup_id, "--force").returncode == 0, "it is not held any more"
