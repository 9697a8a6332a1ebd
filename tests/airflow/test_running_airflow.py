"""``backup_on_demand`` over the REST API of an Airflow that really runs: its server, its scheduler, its tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.project import Project
from support.running_airflow import RunningAirflow, running_airflow, wait_until
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

DAG_ID = "backup_on_demand"


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project]) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"))


@pytest.fixture
def airflow(tmp_path: Path, made: Project, airflow_database: Path) -> Iterator[RunningAirflow]:
    with running_airflow(tmp_path / "airflow", airflow_database, os.environ) as running:
        wait_until(lambda: running.knows(DAG_ID), f"Airflow did not find {DAG_ID}")
        yield running


def test_what_is_asked_for_over_rest_is_made_and_what_cannot_be_is_status_400(
    airflow: RunningAirflow, made: Project
) -> None:
    form = airflow.get(f"dags/{DAG_ID}/details")["params"]
    assert form["databases"]["schema"]["examples"] == ["shop"]
    assert {param["schema"]["section"] for param in form.values()} == {"What", "How", "Afterwards"}

    for wrong in ({"type": "whole"}, {"compression": "zip"}, {"level": 99}, {"databases": "shop"}, {"encrypt": True}):
        refused = airflow.trigger(DAG_ID, wrong)
        assert refused.status_code == 400, f"{wrong}: {refused.text}"
        assert next(iter(wrong)) in refused.json()["detail"]

    airflow.unpause(DAG_ID)
    asked = {"databases": ["shop"], "type": "structure", "compression": "zstd"}
    accepted = airflow.trigger(DAG_ID, asked)
    assert accepted.status_code == 200, accepted.text
    assert airflow.end_of(DAG_ID, accepted.json()["dag_run_id"]) == "success"

    (backup,) = made.json("list")["backups"]
    manifest = made.manifest(backup["id"])
    assert (manifest["entry"], manifest["type"], manifest["parts"][0]["compression"]) == ("shop", "structure", "zstd")
    assert (manifest["run"]["dag_id"], manifest["run"]["actor"]) == (DAG_ID, "anna")
    assert made.artefact(backup["id"]).suffix == ".zst"
    assert made.artefact(backup["id"]).stat().st_size == manifest["parts"][0]["stored_bytes"]
    assert (backup["status"], backup["proof_level"]) == ("good", "restore")
