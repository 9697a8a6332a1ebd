"""The real ``backup_verification``: what nobody has proven, and the turn of the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup.jobs import due
from db_backup.jobs.due import DueReport, backups_due
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import State
from support.dag_runs import Run
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

RunOf = Callable[..., Run]


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"))


def create(project: Project, *options: str) -> str:
    return str(project.json("create", "--no-cleanup", *options)["backups"][0]["id"])


def age_proofs(project: Project, backup_id: str, **ages: float) -> None:
    """As if they had been made so much earlier, in the sidecar and in the catalogue."""
    path = project.storage / "metadata" / f"{backup_id}.state.json"
    state = State.from_json(path.read_bytes(), source=str(path))
    aged = (proof.model_copy(update={"checked_at": proof.checked_at - timedelta(**ages)}) for proof in state.proofs)
    path.write_bytes(state.model_copy(update={"proofs": tuple(aged)}).to_json())
    assert project.run("catalog", "reindex").returncode == 0


def proven(run: Run) -> dict[str, Any]:
    """Backup → result of those that this run has verified."""
    returned = (run.xcoms.get(("verify", index, "return_value")) for index in range(10))
    return {one["backup_id"]: one["result"] for one in returned if one}


def test_what_nobody_has_proven_is_verified_and_what_was_proven_lately_is_not(made: Project, run: RunOf) -> None:
    create(made)
    unproven = [create(made, "--no-verify"), create(made, "--no-verify", "--type", "structure")]

    ended = run("backup_verification", scheduled=True)

    assert ended.state == "success"
    assert proven(ended) == dict.fromkeys(unproven, "passed")
    assert {backup["status"] for backup in made.json("list")["backups"]} == {"good"}
    assert {ended.task("verify", index).name for index in (0, 1)} == set(unproven)

    assert proven(run("backup_verification", scheduled=True)) == {}


def test_the_old_ones_have_their_turn_oldest_proof_first(made: Project, run: RunOf) -> None:
    first, second, _young = create(made), create(made), create(made)
    age_proofs(made, first, days=20)
    age_proofs(made, second, days=30)

    turns = [proven(run("backup_verification", scheduled=True)) for _ in range(3)]

    assert turns == [{second: "passed"}, {first: "passed"}, {}]


def test_an_old_backup_that_is_still_good_is_no_news_and_the_newest_is(made: Project, run: RunOf) -> None:
    old = create(made)
    create(made)
    age_proofs(made, old, days=20)
    again = run("backup_verification", scheduled=True)
    assert proven(again) == {old: "passed"}
    assert again.assets == {}

    newest = create(made, "--no-verify")
    assert run("backup_verification", scheduled=True).assets["x-backup://shop"]["id"] == newest


def test_one_that_rotted_on_the_disk_turns_the_run_red_and_is_named_from_then_on(
    made: Project, run: RunOf, caplog: pytest.LogCaptureFixture
) -> None:
    rotten, sound = create(made), create(made, "--no-verify")
    artefact = made.artefact(rotten)
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.write_bytes(content)
    age_proofs(made, rotten, days=20)

    ended = run("backup_verification", scheduled=True)

    assert ended.state == "failed"
    assert proven(ended) == {sound: "passed"}, "one failure stops no other"
    caplog.clear()
    assert run("backup_verification", scheduled=True).state == "success"
    assert f"Not to be relied on: {rotten}, failed_verification" in caplog.text


def test_one_that_was_deleted_since_it_was_chosen_is_no_failure(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, still_there = create(made, "--no-verify"), create(made, "--no-verify")

    def deleted_then(workspace: Workspace) -> DueReport:
        report = backups_due(workspace)
        made.json("delete", gone, "--force")
        return report

    monkeypatch.setattr(due, "backups_due", deleted_then)

    ended = run("backup_verification", scheduled=True)

    assert (ended.state, proven(ended)) == ("success", {still_there: "passed"})
    assert ended.task("verify", 1).state == "skipped"
    assert "deleted" in ended.xcoms["verify", 1, "outcome"]["reason"]


def test_a_chain_that_a_newer_full_has_ended_is_replayed_whole(made: Project, run: RunOf) -> None:
    made.config.write_text("version: 1\ndatabases:\n  shop: {conn_id: shop_db, types: [full, incremental]}\n")
    create(made)
    chain = [create(made, "--type", "incremental") for _ in range(2)]
    assert proven(run("backup_verification", scheduled=True)) == {}, "it has hardly begun"
    create(made)

    ended = run("backup_verification", scheduled=True)

    assert (ended.state, proven(ended)) == ("success", {chain[-1]: "passed"})
    replayed = next(one for one in made.json("list")["backups"] if one["id"] == chain[-1])
    assert (replayed["proof_level"], replayed["status"]) == ("restore", "good")
    assert proven(run("backup_verification", scheduled=True)) == {}


@pytest.mark.parametrize("variable", ["BACKUP_VERIFICATION_ENABLED", "BACKUP_VERIFICATION_DAILY_CHECK"])
def test_a_person_can_still_start_a_run_when_the_check_is_switched_off(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    unproven = create(made, "--no-verify")
    monkeypatch.setenv(variable, "false")
    assert proven(run("backup_verification")) == {unproven: "passed"}


def test_a_wrong_setting_leaves_the_schedule_and_fails_the_run(
    made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKUP_VERIFICATION_TIME", "25:99")
    ended = run("backup_verification")
    assert (ended.state, ended.task("select_backups").state) == ("failed", "failed")
