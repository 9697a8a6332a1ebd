"""Encrypted backups in the real DAGs: proved by whoever has the data key, and the daily canary of keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from db_backup.encryption.key_file import Key, generate_pair, generate_secret
from support.dag_runs import Run, logs_of_home
from support.encrypted import put_key
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

RunOf = Callable[..., Run]


@pytest.fixture
def made(tmp_path: Path, project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    for name, value in {"BACKUP_KEYS_PATH": str(made.folder / "keys"), "BACKUP_ENCRYPT": "true"}.items():
        made.environment[name] = value
        monkeypatch.setenv(name, value)
    (made.folder / "keys").mkdir()
    return made


def secret_of(key: Key) -> str:
    return str(json.loads(key.keyset)["key"][0]["keyData"]["value"])


def test_a_worker_with_a_public_key_alone_proves_in_the_task_that_made_the_backup(made: Project, daily: RunOf) -> None:
    private, public = generate_pair("default")
    put_key(made.folder / "keys", public)

    ended = daily()

    assert ended.state == "success"
    (backup,) = made.json("list")["backups"]
    assert (backup["encrypted"], backup["status"], backup["proof_level"]) == (True, "good", "restore")
    verified = ended.xcoms["protect.verify", 0, "return_value"]
    assert (verified["verified"], verified["result"], verified["level"]) == (True, "passed", "restore")
    assert ended.assets["x-backup://shop"]["id"] == backup["id"]
    results = [proof["result"] for proof in json.loads(state_of(made, backup["id"]))["proofs"]]
    assert results == ["passed", "inconclusive"]
    assert secret_of(private) not in logs_of_home() + str(ended.xcoms)


def state_of(made: Project, backup_id: str) -> str:
    return (made.storage / "metadata" / f"{backup_id}.state.json").read_text()


def test_a_key_in_a_connection_is_in_no_log_and_no_xcom(
    made: Project, daily: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate_secret("default")
    monkeypatch.setenv("AIRFLOW_CONN_KEY_VAULT", json.dumps({"conn_type": "generic", "password": key.to_json()}))
    made.config.write_text(f"{made.config.read_text()}\nkeys: {{default: {{conn_id: key_vault}}}}\n")

    ended = daily()

    assert ended.state == "success"
    assert ended.xcoms["protect.verify", 0, "return_value"]["result"] == "passed"
    seen = logs_of_home() + str(ended.xcoms)
    assert secret_of(key) not in seen
    assert secret_of(key)[8:40] not in seen


def test_the_canary_turns_the_daily_check_red_when_a_key_is_lost(made: Project, run: RunOf) -> None:
    path = put_key(made.folder / "keys", generate_secret("default"))
    made.json("create", "shop")
    opened = run("backup_verification", scheduled=True)
    assert opened.xcoms["open_keys", -1, "return_value"] == {"shop": "opened"}

    path.unlink()

    lost = run("backup_verification", scheduled=True)
    assert lost.state == "failed"
    assert lost.task("open_keys").state == "failed"
