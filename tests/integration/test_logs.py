"""db-backup logs, audit and list --stats: what is written down, as people and programs read it."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from db_backup.catalog import AttemptOutcome, Catalog
from db_backup.jobs.logbook import Logbook
from db_backup.manifest import RunInfo
from db_backup.model import BackupType, ConnectionInfo, EngineName, utc_now
from support.project import Project

pytestmark = pytest.mark.integration

TASK = RunInfo(
    origin="airflow",
    actor="ada",
    host="tower",
    dag_id="backup_daily",
    run_id="scheduled__1",
    task_id="protect.backup",
    map_index=2,
    try_number=1,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    source = tmp_path / "shop.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    database.close()
    return Project(
        tmp_path / "project",
        {
            "shop": ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source)),
            "crm": ConnectionInfo("crm_db", EngineName.SQLITE, database=str(tmp_path / "missing.sqlite")),
        },
        as_process=False,
    )


def happenings(project: Project, *arguments: str) -> list[tuple[str, str]]:
    return [(event["event"], event["outcome"]) for event in project.json("logs", *arguments)["events"]]


def test_a_backups_life_is_told_in_order_even_after_it_is_gone(project: Project) -> None:
    backup = project.json("create", "shop", "--no-verify")["backups"][0]["id"]
    project.json("create", "shop", "--no-verify")
    project.json("verify", backup, "--level", "checksum")
    life = happenings(project, backup)
    assert life[:2] == [("full backup", "started"), ("full backup", "succeeded")]
    assert life[-1] == ("verify", "done")
    assert life.count(("full backup", "started")) == 1, "the other backup of this entry is not told of"

    with Catalog.open(project.catalog) as catalog:
        catalog.forget(backup)
    assert happenings(project, backup) == life
    assert happenings(project, project.artefact(backup).name) == life


def test_a_failed_attempt_is_there_with_its_error(project: Project) -> None:
    project.json("create", "crm", exit_code=1)

    events = project.json("logs", "--database", "crm")["events"]
    assert [(event["event"], event["outcome"]) for event in events] == [
        ("full backup", "started"),
        ("full backup", "failed"),
    ], "told once, not by the attempt and by the act"
    assert "missing.sqlite" in events[1]["detail"]
    shown = project.run("logs", "--database", "crm").stdout
    assert "missing.sqlite" in shown
    assert "full backup  crm" in shown
    assert happenings(project, "--database", "shop") == []


def test_a_backup_that_could_not_even_begin_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db_backup.cli.commands.create._LOCK_WAIT_SECONDS", 0.1)
    with Catalog.open(project.catalog) as catalog, catalog.entry_lock("shop", "a test"):
        project.json("create", "shop", exit_code=1)

    last = project.json("logs")["events"][-1]
    assert last["outcome"] in {"refused", "skipped"}
    assert "'shop' is at work already" in last["detail"]


def test_airflows_run_is_named_so_that_its_log_can_be_found(project: Project) -> None:
    with Catalog.open(project.catalog) as catalog:
        catalog.begin_attempt("shop", BackupType.FULL, TASK)
        (event,) = Logbook(catalog).read(limit=10)
    assert "airflow: backup_daily, run scheduled__1, task protect.backup[2], try 1" in event.run
    assert f"process {os.getpid()}" in event.run
    assert event.outcome == "started"


def test_an_attempt_whose_process_is_gone_says_so(project: Project) -> None:
    program = (
        "import os, sys; from pathlib import Path; from db_backup.catalog import Catalog;"
        "from db_backup.manifest import RunInfo; from db_backup.model import BackupType;"
        "Catalog.open(Path(sys.argv[1])).begin_attempt('shop', BackupType.FULL, RunInfo(origin='cli'));"
        "os.kill(os.getpid(), 9)"
    )
    assert project.run_process([sys.executable, "-c", program, str(project.catalog)]).returncode == -signal.SIGKILL

    (event,) = project.json("logs")["events"]
    assert (event["outcome"], event["detail"]) == ("started", "its process is gone")


def test_following_tells_each_thing_once_and_the_end_of_what_had_begun(project: Project) -> None:
    with Catalog.open(project.catalog) as catalog:
        running = catalog.begin_attempt("shop", BackupType.FULL, TASK)
        logbook = Logbook(catalog)
        first = logbook.read(limit=10)
        news = logbook.follow(first, limit=10)
        assert next(news) == []
        catalog.finish_attempt(running, AttemptOutcome.FAILED, error="disk full")
        other = catalog.begin_attempt("crm", BackupType.FULL, TASK)
        told = list(itertools.chain.from_iterable(itertools.islice(news, 2)))
        assert [(event.database, event.outcome) for event in told] == [("shop", "failed"), ("crm", "started")]
        catalog.finish_attempt(other, AttemptOutcome.SUCCEEDED, backup_id="b")
        assert [(event.database, event.outcome) for event in next(news)] == [("crm", "succeeded")]


def test_following_goes_on_until_it_is_interrupted(project: Project) -> None:
    # A shell starts what runs in its background with Ctrl-C ignored: these tests, perhaps, and so their children.
    follower = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "db_backup", "logs", "--follow"],
        env={**project.environment, "PYTHONUNBUFFERED": "1"},
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert follower.stdout is not None
        with Catalog.open(project.catalog) as catalog:
            catalog.begin_attempt("shop", BackupType.FULL, TASK)
            assert "started" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        _, error = follower.communicate(timeout=60)
    finally:
        follower.kill()
    assert (follower.returncode, error.strip()) == (130, "Interrupted.")


@pytest.mark.parametrize(
    "arguments", [["--follow", "--json"], ["backup_shop_full_2026-01-31_03-00-00", "--database", "shop"], ["nonsense"]]
)
def test_what_makes_no_sense_is_bad_usage(project: Project, arguments: list[str]) -> None:
    assert project.run("logs", *arguments).returncode == 2


def test_an_unknown_backup_is_named_with_the_nearest_known_one(project: Project) -> None:
    backup = project.json("create", "shop", "--no-verify")["backups"][0]["id"]
    done = project.run("logs", f"{backup[:-1]}{(int(backup[-1]) + 1) % 10}")
    assert done.returncode == 2
    assert f"Did you mean {backup}?" in done.stderr


def test_the_audit_says_who_did_what_newest_first_and_how_long_back(project: Project) -> None:
    backup = project.json("create", "shop", "--no-verify")["backups"][0]["id"]
    acts = project.json("audit", "--days", "1")["acts"]
    assert [(act["outcome"], act["backup_id"]) for act in acts if act["act"] == "create"] == [
        ("done", backup),
        ("started", None),
    ]
    assert [act["at"] for act in acts] == sorted((act["at"] for act in acts), reverse=True)
    assert project.json("audit", "--limit", "1")["acts"] == acts[:1]
    shown = project.run("audit").stdout
    for word in ("create", "done", backup, acts[0]["actor"]):
        assert word in shown

    old = utc_now() - timedelta(days=3)
    with sqlite3.connect(project.catalog) as catalog:
        catalog.execute("UPDATE audit SET at = ?", [old.strftime("%Y-%m-%d %H:%M:%S.%f")])
    catalog.close()
    assert project.json("audit", "--days", "1")["acts"] == []
    assert len(project.json("audit", "--days", "4")["acts"]) == len(acts)
    assert "Nothing is written down." in project.run("audit", "--days", "1").stdout


def test_statistics_are_tables_in_human_units(project: Project) -> None:
    assert project.run("list", "--stats").returncode == 0, "without any backup too"
    project.json("create", "shop", "crm", "--no-verify", exit_code=1)

    lines = [line.split() for line in project.run("list", "--stats").stdout.splitlines() if line.strip()]

    plain = project.json("list")["backups"][0]["plain_bytes"]
    (shop,) = [line for line in lines if line[0] == "shop"]
    assert shop[1] == "1"
    assert f"{plain / 1000:.1f} kB" in " ".join(shop)
    assert ["Attempts:"] in lines
    assert lines[-1][:6] == ["1", "1", "0", "0", "0", "50.0%"]
