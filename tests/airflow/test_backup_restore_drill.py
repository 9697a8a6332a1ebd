"""The real ``backup_restore_drill``: every database restored into scratch, timed, and one failure stopping no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Proof, State
from support.dag_runs import Run, dag_named
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

DAG_ID = "backup_restore_drill"
RunOf = Callable[..., Run]


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))


def create(project: Project, *options: str) -> str:
    return str(project.json("create", "--no-cleanup", *options)["backups"][0]["id"])


def configure(project: Project, **entries: dict[str, Any]) -> None:
    config = yaml.safe_load(project.config.read_text())
    for name, keys in entries.items():
        config["databases"][name].update(keys)
    project.config.write_text(yaml.safe_dump(config))


def last_proof(project: Project, backup_id: str) -> Proof:
    path = project.storage / "metadata" / f"{backup_id}.state.json"
    return State.from_json(path.read_bytes(), source=str(path)).proofs[-1]


def rows_of(ended: Run) -> dict[tuple[str, str], dict[str, str]]:
    returned = ended.xcoms["report", -1, "return_value"]
    return {(row["database"], row["type"]): row for row in returned}


def damage(project: Project, backup_id: str) -> None:
    content = bytearray(project.artefact(backup_id).read_bytes())
    content[len(content) // 2] ^= 1
    project.artefact(backup_id).write_bytes(content)


def test_every_database_is_restored_and_the_times_are_kept_beside_the_backups(made: Project, run: RunOf) -> None:
    newest = {
        (name, type): create(made, name, "--type", type) for name in ("shop", "crm") for type in ("full", "structure")
    }

    ended = run(DAG_ID, scheduled=True)

    assert ended.state == "success"
    assert {key: row["backup"] for key, row in rows_of(ended).items()} == newest
    assert {row["result"] for row in rows_of(ended).values()} == {"passed"}
    assert {row["target"] for row in rows_of(ended).values()} == {"30m 00s", "5m 00s"}
    for backup_id in newest.values():
        evidence = last_proof(made, backup_id).evidence
        assert evidence["drill"] is True
        parts = evidence["fetch_seconds"] + evidence["load_seconds"] + evidence["check_seconds"]
        assert 0 < parts <= evidence["restore_seconds"] + 0.01

    made.catalog.unlink()
    assert made.run("catalog", "reindex").returncode == 0
    with Workspace.open(made.environment) as workspace:
        measured = workspace.catalog.get(newest["shop", "full"]).restore_seconds
    assert measured == last_proof(made, newest["shop", "full"]).evidence["restore_seconds"]


def test_the_form_names_the_databases(made: Project, run: RunOf) -> None:
    assert dag_named(DAG_ID).params.get_param("databases").schema["examples"] == ["crm", "shop"]
    create(made, "crm")
    configure(made, crm={"types": ["full"]})

    ended = run(DAG_ID, conf={"databases": ["crm"]})

    assert ended.state == "success"
    assert list(rows_of(ended)) == [("crm", "full")]
    assert ended.task("drill", 0).name == "crm, full"


@pytest.mark.parametrize("conf", [{"databases": ["shpo"]}, {"database": ["shop"]}])
def test_what_cannot_be_asked_for_is_refused(made: Project, run: RunOf, conf: dict[str, Any]) -> None:
    ended = run(DAG_ID, conf=conf)
    assert (ended.state, ended.task("select_drills").state) == ("failed", "failed")


def test_one_that_fails_turns_the_run_red_and_stops_no_other(made: Project, run: RunOf) -> None:
    configure(made, shop={"types": ["full"]}, crm={"types": ["full"]})
    rotten, sound = create(made, "crm"), create(made, "shop")
    damage(made, rotten)

    ended = run(DAG_ID, scheduled=True)

    assert ended.state == ended.task("report").state == "failed"
    assert ended.task("drill", 0).state == "failed"
    assert ended.xcoms["drill", 1, "return_value"]["backup_id"] == sound
    listed = {backup["id"]: backup["status"] for backup in made.json("list")["backups"]}
    assert listed == {rotten: "failed_verification", sound: "good"}


def test_the_newest_good_backup_is_taken_and_where_there_is_none_the_drill_fails(made: Project, run: RunOf) -> None:
    configure(made, shop={"types": ["full"]}, crm={"types": ["full"]})
    good = create(made, "shop")
    create(made, "shop", "--no-verify")
    create(made, "crm", "--no-verify")

    ended = run(DAG_ID, scheduled=True)

    assert ended.state == "failed"
    assert "'crm' has no good full backup" in ended.xcoms["drill", 0, "outcome"]["reason"]
    assert ended.xcoms["drill", 1, "return_value"]["backup_id"] == good


def test_what_is_too_large_for_a_scratch_server_is_skipped_with_the_reason(
    made: Project, run: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_database(tmp_path, "large", rows=3000, row_bytes=600)
    (tmp_path / "large.sqlite").replace(tmp_path / "shop.sqlite")
    configure(made, shop={"types": ["full"]})
    backup_id = create(made, "shop")
    monkeypatch.setenv("BACKUP_VERIFICATION_RESTORE_MAX_MB", "1")

    ended = run(DAG_ID, conf={"databases": ["shop"]})

    assert ended.state == "success"
    assert ended.task("drill", 0).state == "skipped"
    assert "BACKUP_VERIFICATION_RESTORE_MAX_MB" in rows_of(ended)["shop", "full"]["result"]
    assert "drill" not in last_proof(made, backup_id).evidence


def test_a_check_of_the_application_that_fails_fails_the_drill_and_not_the_backup(made: Project, run: RunOf) -> None:
    configure(made, shop={"types": ["full"], "checks": [{"sql": "select count(*) from orders", "expect": 7}]})
    backup_id = create(made, "shop")

    ended = run(DAG_ID, conf={"databases": ["shop"]})

    assert ended.state == "failed"
    assert "select count(*) from orders" in ended.xcoms["drill", 0, "outcome"]["reason"]
    assert made.json("list")["backups"][0]["status"] == "good"
    assert last_proof(made, backup_id).evidence["checks_failed"] == 1
