"""The real DAGs with backups in cold storage: archived every week, thawed before a restore without a worker's slot."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from db_backup.errors import StorageAccessDenied
from db_backup.jobs import thaw
from db_backup.model import utc_now
from support.clouds_of_project import keep_in_s3, slow_thaw
from support.dag_runs import Run
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]


@pytest.fixture
def made(project: ProjectOf, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Project:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    keep_in_s3(made, s3_server, s3_server.new_bucket(), archive={"after_days": 10, "storage_class": "DEEP_ARCHIVE"})
    monkeypatch.setenv("AIRFLOW_CONN_S3_TEST", made.environment["AIRFLOW_CONN_S3_TEST"])
    monkeypatch.setattr(thaw, "POLL_SECONDS", 0.05)
    return made


@pytest.fixture
def old(made: Project) -> str:
    """A backup that is not the newest."""
    first, _ = (str(made.json("create", "shop")["backups"][0]["id"]) for _ in range(2))
    return first


def weeks_later() -> mock._patch[mock.MagicMock]:
    return mock.patch("db_backup.jobs.archive.utc_now", return_value=utc_now() + timedelta(days=20))


def test_the_weekly_run_archives_and_a_restore_waits_in_the_triggerer(
    made: Project, old: str, run: RunOf, tmp_path: Path, s3_server: S3Server
) -> None:
    with weeks_later():
        weekly = run("backup_weekly")

    assert weekly.state == "success"
    assert [moved["backup_id"] for moved in weekly.xcoms["archive", -1, "return_value"]["archive"]] == [old]

    copy = tmp_path / "copy.sqlite"
    with slow_thaw(s3_server) as thaws_after:
        thaws_after(6)
        restored = run("backup_restore", conf={"backup": old, "new_name": str(copy)})

    assert restored.state == "success"
    thawed = restored.xcoms["thaw", -1, "return_value"]
    assert thawed["thawed"] == [old]
    assert thawed["waited_seconds"] > 0
    report = restored.xcoms["restore", -1, "return_value"]
    assert report["differences"] == []
    assert report["thaw"] is None, "by then it was there"
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("select count(*) from orders").fetchone() == (200,)


def test_the_copy_that_a_person_names_is_thawed_and_read_although_another_is_warm(
    project: ProjectOf, run: RunOf, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = project(shop=sqlite_database(tmp_path, "shop"))
    policy = {"after_days": 10, "storage_class": "DEEP_ARCHIVE"}
    keep_in_s3(made, s3_server, s3_server.new_bucket(), local=True, archive=policy)
    monkeypatch.setenv("AIRFLOW_CONN_S3_TEST", made.environment["AIRFLOW_CONN_S3_TEST"])
    monkeypatch.setattr(thaw, "POLL_SECONDS", 0.05)
    backup, _ = (str(made.json("create", "shop")["backups"][0]["id"]) for _ in range(2))
    with weeks_later():
        assert run("backup_weekly").state == "success"

    with slow_thaw(s3_server) as thaws_after:
        thaws_after(6)
        named = run("backup_restore", conf={"backup": backup, "test": True, "from_storage": "s3"})

    from db_backup.operators.restore_run import report_lines

    assert named.state == "success"
    assert named.xcoms["plan", -1, "return_value"]["from_storage"] == "s3"
    assert named.xcoms["thaw", -1, "return_value"]["thawed"] == [backup]
    assert named.xcoms["restore", -1, "return_value"]["read_from"] == {backup: "s3"}
    assert "read from   s3" in "\n".join(report_lines(named.xcoms["report", -1, "return_value"]["report"]))


def test_without_a_policy_nothing_is_archived_which_is_no_failure(
    project: ProjectOf, tmp_path: Path, run: RunOf
) -> None:
    project(shop=sqlite_database(tmp_path, "shop"))

    ended = run("backup_weekly")

    assert ended.state == "success"
    assert ended.task("archive").state == "skipped"


def test_a_trigger_survives_being_written_down_and_holds_no_secret() -> None:
    from airflow.sdk.module_loading import import_string

    from db_backup.operators.thaw_trigger import ThawTrigger

    path, arguments = ThawTrigger({"backup_shop_full_2026-01-31_03-00-00": "s3"}, 300.0, "now").serialize()

    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert set(arguments) == {"copies", "poll_seconds", "since"}


def test_a_trigger_leaves_the_loop_to_others_and_tells_in_the_end_what_keeps_it() -> None:
    from db_backup.operators.thaw_trigger import ThawTrigger

    beats = 0

    async def other_trigger() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.001)

    def denied(_: object) -> list[str]:
        """A storage that answers slowly: when the loop has gone round, which it does not while it is held."""
        seen, deadline = beats, time.monotonic() + 60
        while beats < seen + 3:
            assert time.monotonic() < deadline, "the loop stands still"
            time.sleep(0.001)
        raise StorageAccessDenied("It may not be looked at.", hint="Give it the right.")

    async def event() -> dict[str, str]:
        beside = asyncio.create_task(other_trigger())
        async for told in ThawTrigger({"a": "s3"}, 0.0, "").run():
            beside.cancel()
            return dict(told.payload)
        raise AssertionError

    with mock.patch("db_backup.operators.thaw_trigger.still_cold", denied):
        payload = asyncio.run(event())

    assert payload == {"state": "failed", "reason": "It may not be looked at.", "hint": "Give it the right."}
    assert beats >= 3
