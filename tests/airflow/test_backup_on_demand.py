"""The real ``backup_on_demand``: its form, and runs with what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db_backup.jobs.workspace import Workspace
from support.dag_runs import Run, dag_named
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]


@pytest.fixture
def made(tmp_path: Path, project: ProjectOf) -> Project:
    return project(shop=sqlite_database(tmp_path, "shop"), crm=sqlite_database(tmp_path, "crm"))


def schema_of(name: str) -> dict[str, Any]:
    return dict(dag_named("backup_on_demand").params.get_param(name).schema)


def test_the_form_asks_for_what_the_specification_lists_in_sections(made: Project) -> None:
    params = dag_named("backup_on_demand").params
    assert list(params) == [
        "databases",
        "type",
        "compression",
        "level",
        "storage",
        "retention",
        "encrypt",
        "verify",
        "cleanup",
    ]
    assert [schema_of(name)["section"] for name in params] == ["What"] * 2 + ["How"] * 5 + ["Afterwards"] * 2
    assert schema_of("databases")["examples"] == ["crm", "shop"]
    assert schema_of("type")["enum"] == ["full", "incremental", "structure", "data"]
    assert schema_of("storage")["enum"] == [None, "local"]


def test_the_form_offers_every_configured_storage(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_CLOUD_DISK", "vault")
    monkeypatch.setenv("BACKUP_CLOUD_URL", "s3://bucket/db")
    assert schema_of("storage")["enum"] == [None, "local", "vault"]


def test_the_forms_defaults_fit_the_form_and_an_emptied_multi_select_does_too(made: Project) -> None:
    """A default that does not fit its own schema fails tasks only once they start."""
    params = dag_named("backup_on_demand").params
    assert params.validate()["type"] == "full"
    params["databases"] = None
    params.validate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "whole"),
        ("compression", "zip"),
        ("level", 20),
        ("level", "9"),
        ("storage", "s3"),
        ("retention", 0),
        ("encrypt", "yes"),
        ("verify", "no"),
        ("databases", "shop"),
        ("databases", ["../shop"]),
        ("databases", ["shop", "shop"]),
    ],
)
def test_what_does_not_fit_the_form_is_refused(made: Project, name: str, value: object) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    params = dag_named("backup_on_demand").params
    with pytest.raises(ParamValidationError, match=name):
        params[name] = value


def test_the_default_type_is_that_of_the_settings(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_DEFAULT_TYPE", "structure")
    assert dag_named("backup_on_demand").params["type"] == "structure"


def test_it_has_no_schedule(made: Project) -> None:
    assert dag_named("backup_on_demand").timetable.can_be_scheduled is False


def test_a_run_does_what_was_asked_for(made: Project, run: RunOf) -> None:
    asked = {"databases": ["shop"], "type": "structure", "compression": "zstd", "level": 5, "retention": 12}

    ended = run("backup_on_demand", conf=asked)

    assert ended.state == "success"
    (backup,) = made.json("list")["backups"]
    assert (backup["database"], backup["type"], backup["status"]) == ("shop", "structure", "good")
    manifest = made.manifest(backup["id"])
    assert (manifest["parts"][0]["compression"], manifest["parts"][0]["level"]) == ("zstd", 5)
    assert manifest["retention_days"] == 12


def test_a_run_without_names_takes_every_database(made: Project, run: RunOf) -> None:
    ended = run("backup_on_demand", conf={"databases": None, "verify": False, "cleanup": False})

    assert ended.state == "success"
    backups = made.json("list")["backups"]
    assert {(backup["database"], backup["type"], backup["status"]) for backup in backups} == {
        ("crm", "full", "unverified"),
        ("shop", "full", "unverified"),
    }
    assert ended.task("protect.verify", 0).state == ended.task("cleanup").state == "skipped"
    assert "without verification" in ended.xcoms["protect.verify", 0, "outcome"]["reason"]


def test_a_run_without_names_takes_those_that_can_take_its_type(made: Project, run: RunOf) -> None:
    made.config.write_text(
        "version: 1\ndatabases:\n  shop: {conn_id: shop_db, types: [full, incremental]}\n  crm: {conn_id: crm_db}\n"
    )
    base = made.json("create", "shop", "--no-verify", "--no-cleanup")["backups"][0]["id"]

    ended = run("backup_on_demand", conf={"type": "incremental"})

    assert ended.state == "success"
    increment, _full = made.json("list")["backups"]
    assert (increment["database"], increment["parent_id"], increment["proof_level"]) == ("shop", base, "checksum")


def test_cleanup_takes_these_entries_and_this_type_and_the_days_that_were_asked_for(made: Project, run: RunOf) -> None:
    with Workspace.open(made.environment) as workspace:
        old = publish(workspace, [past_backup(age) for age in (1, 2, 3, 4, 20)])
        publish(workspace, [past_backup(age, entry="crm") for age in (1, 2, 3, 4, 20)])

    ended = run("backup_on_demand", conf={"databases": ["shop"], "retention": 10})

    deleted = ended.xcoms["cleanup", -1, "return_value"]["delete"]
    assert [line["backup_id"] for line in deleted] == [old[-1]]


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"databases": ["shpo"]}, "Did you mean 'shop'?"),
        ({"databases": ["shop"], "type": "incremental"}, "There are no incremental backups of 'shop'."),
        ({"type": "incremental"}, "There are no incremental backups of any entry of backup.yaml."),
        ({"databases": ["shop"], "compresion": "zstd"}, "Did you mean 'compression'?"),
        ({"databases": ["shop"], "compression": "gzip", "level": 15}, "level from 1 to 9"),
        ({"databases": ["shop"], "compression": "none", "level": 1}, "takes no level"),
    ],
)
def test_what_cannot_be_done_fails_before_anything_is_made_or_deleted(
    made: Project, run: RunOf, capfd: pytest.CaptureFixture[str], conf: dict[str, Any], said: str
) -> None:
    with Workspace.open(made.environment) as workspace:
        before = publish(workspace, [past_backup(age) for age in (1, 2, 3, 4, 20)])

    ended = run("backup_on_demand", conf={**conf, "retention": 1})

    assert ended.state == "failed"
    assert ended.task("select_asked").state == "failed"
    assert said in "".join(capfd.readouterr())
    after = {backup["id"] for backup in made.json("list")["backups"]}
    assert after == set(before), "nothing is made, and cleanup does not take 'nobody knows which' for 'all'"
    assert ended.task("cleanup").state == "failed"


def test_toggles_do_not_stop_what_a_person_asks_for(made: Project, run: RunOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_ENABLED", "false")
    monkeypatch.setenv("BACKUP_VERIFICATION_ENABLED", "false")

    run("backup_on_demand", conf={"databases": ["shop"]})

    assert [backup["status"] for backup in made.json("list")["backups"]] == ["good"]


def test_a_wrong_configuration_leaves_the_form_and_fails_the_first_task(made: Project, run: RunOf) -> None:
    made.config.write_text("version: 1\ndatabases:\n  shop: {conn_id: shop_db, typs: [full]}\n")

    assert schema_of("databases")["examples"] == []
    assert run("backup_on_demand").task("select_asked").state == "failed"
