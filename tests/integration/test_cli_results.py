"""What the command line says when it is narrow, interrupted, or met by what nobody foresaw."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db_backup.jobs import create as creating
from db_backup.jobs import prove as proving
from db_backup.model import ConnectionInfo, EngineName
from support.project import Project
from support.terminal import at_terminal

pytestmark = pytest.mark.integration

NAMES = ("carmarket", "shop", "a-database-with-a-name-as-long-as-it-may-ever-be")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    connections = {}
    for number, name in enumerate(NAMES):
        path = tmp_path / f"{number}.sqlite"
        with sqlite3.connect(path) as database:
            database.execute("create table orders (id integer primary key, item text)")
            database.executemany("insert into orders(item) values (?)", [("item",)] * 50)
        database.close()
        connections[name] = ConnectionInfo(f"{name}_db", EngineName.SQLITE, database=str(path))
    made = Project(tmp_path / "project", connections, as_process=False)
    made.config.write_text(made.config.read_text().replace(f"{NAMES[2]}_db", "long_db"))
    made.environment["AIRFLOW_CONN_LONG_DB"] = made.environment.pop(f"AIRFLOW_CONN_{NAMES[2].upper()}_DB")
    return made


def ids(project: Project) -> list[str]:
    return [backup["id"] for backup in project.json("list")["backups"]]


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--detailed"], ["verify", "--all", "--level", "checksum"]], ids=" ".join
)
def test_an_id_stands_whole_in_one_line_of_any_terminal(project: Project, columns: int, arguments: list[str]) -> None:
    project.json("create", "--no-verify")
    shown = at_terminal(arguments, project.environment, columns=columns)
    for backup in ids(project):
        assert any(line.startswith(backup) for line in shown.splitlines()), shown


def test_a_backup_in_detail_is_a_block_of_lines_where_the_table_is_too_wide(project: Project) -> None:
    (backup,) = project.json("create", "shop")["backups"]
    narrow = at_terminal(["list", "--detailed"], project.environment, columns=80).splitlines()
    wide = at_terminal(["list", "--detailed"], project.environment, columns=200).splitlines()
    assert narrow[0] == backup["id"]
    assert "  PROOF          restore" in narrow
    assert wide[0].startswith("BACKUP")
    assert len(wide) == 2


def test_the_table_of_a_short_name_fits_80_columns(project: Project) -> None:
    project.json("create", "carmarket")
    shown = at_terminal(["list"], project.environment, columns=80).splitlines()
    assert len(shown) == 2
    assert all(len(line) <= 80 for line in shown)


def test_a_problem_of_the_catalogue_shows_the_id_whole(project: Project) -> None:
    (backup,) = project.json("create", "shop", "--no-verify")["backups"]
    project.manifest_path(backup["id"]).write_text("{}")
    shown = at_terminal(["catalog", "check"], project.environment, columns=80)
    assert backup["id"] in shown.splitlines()


def test_progress_at_80_columns_stays_in_its_line_with_its_figures(project: Project) -> None:
    name = NAMES[2]
    shown = at_terminal(["create", name], project.environment, columns=80)
    frames = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in re.split(r"[\r\n]", shown)]
    bars = [frame for frame in frames if "━" in frame]
    assert bars
    assert all(len(frame) <= 80 for frame in bars), bars
    assert any("…" in frame for frame in bars)
    assert "0/?" not in shown


@pytest.mark.parametrize("command", ["list", "audit"])
def test_a_number_of_days_beyond_the_calendar_is_bad_usage(project: Project, command: str) -> None:
    done = project.run(command, "--days", "99999999")
    assert done.returncode == 2
    assert "36500" in done.stderr


def test_an_unknown_database_cannot_be_listed(project: Project) -> None:
    done = project.run("list", "--database", "shopp")
    assert done.returncode == 2
    assert "'shop'" in done.stderr
    assert project.json("list", "--database", "shop")["backups"] == []


def test_a_database_that_is_no_longer_configured_is_still_listed(project: Project) -> None:
    project.json("create", "shop", "--no-verify")
    project.config.write_text("version: 1\ndatabases:\n  carmarket: {conn_id: carmarket_db}\n")
    assert len(project.json("list", "--database", "shop")["backups"]) == 1


def test_one_damaged_manifest_stops_no_other_proof(project: Project) -> None:
    project.json("create", "--no-verify")
    damaged = ids(project)[1]
    project.manifest_path(damaged).write_text("{")

    document = project.json("verify", "--all", "--level", "checksum", exit_code=1)

    assert [failed["backup_id"] for failed in document["failed"]] == [damaged]
    assert document["failed"][0]["error"]
    assert document["failed"][0]["hint"]
    assert {proof["backup_id"] for proof in document["proofs"]} == {*ids(project)} - {damaged}


def test_a_failed_proof_outweighs_a_backup_that_could_not_be_tried(project: Project) -> None:
    project.json("create", "--no-verify")
    first, second, _ = ids(project)
    project.manifest_path(first).write_text("{")
    project.artefact(second).write_bytes(b"something else")
    document = project.json("verify", "--all", exit_code=3)
    assert len(document["proofs"]) == 2
    assert len(document["failed"]) == 1


def stop_at(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, call: int) -> None:
    """The ``call``-th call asks for a stop, as Ctrl-C does, before it begins."""
    original: Callable[..., Any] = getattr(place, name)
    calls = []

    def stopping(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            named["cancellation"].cancel("by SIGINT")
        return original(*arguments, **named)

    monkeypatch.setattr(place, name, stopping)


def test_an_interrupted_create_tells_of_every_database(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, proving, "create_backup", 2)
    document = project.json("create", *NAMES, exit_code=130)
    assert [backup["database"] for backup in document["backups"]] == ["carmarket"]
    assert [proof["result"] for proof in document["proofs"]] == ["passed"]
    assert [(one["database"], one["error"]) for one in document["failed"]] == [
        ("shop", "The backup of 'shop' was interrupted: by SIGINT."),
        (NAMES[2], f"The backup of '{NAMES[2]}' was not started."),
    ]
    assert "db-backup create shop" in document["failed"][0]["hint"]


def test_a_backup_whose_proof_was_interrupted_is_reported_as_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, proving, "verify_copies", 1)
    document = project.json("create", "shop", exit_code=130)
    (backup,) = document["backups"]
    assert backup["status"] == "unverified"
    assert document["proofs"] == []
    assert f"{backup['id']} is made and unverified" in document["failed"][0]["hint"]
    assert ids(project) == [backup["id"]]


def test_an_interrupted_verification_prints_the_proofs_made_so_far(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db_backup.cli.commands import verify

    project.json("create", "--no-verify")
    stop_at(monkeypatch, verify, "verify_copies", 2)
    document = project.json("verify", "--all", "--level", "checksum", exit_code=130)
    assert len(document["proofs"]) == 1
    assert [failed["backup_id"] in failed["error"] for failed in document["failed"]] == [True]


def too_many_files(*_: object, **__: object) -> None:
    raise OSError(24, "Too many open files")


def test_what_nobody_foresaw_in_one_database_stops_no_other(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    original = creating.Creation.publish

    def publish(self: creating.Creation) -> Any:
        return too_many_files() if self.plan.entry.name == "shop" else original(self)

    monkeypatch.setattr(creating.Creation, "publish", publish)
    done = project.run("create", *NAMES, "--no-verify", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert [backup["database"] for backup in document["backups"]] == [NAMES[0], NAMES[2]]
    assert document["failed"][0]["database"] == "shop"
    assert "Unexpected error: OSError: [Errno 24] Too many open files" in document["failed"][0]["error"]
    assert "report" in document["failed"][0]["hint"]
    assert "Traceback" not in done.stderr


def test_an_unexpected_error_is_one_line_and_its_traceback_can_be_had(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from db_backup.cli.commands import listing

    monkeypatch.setattr(listing, "open_catalog", too_many_files)
    done = project.run("list")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Unexpected error: OSError: [Errno 24] Too many open files (")
    assert "Traceback" not in done.stderr
    assert "Traceback" in project.run("list", DB_BACKUP_DEBUG="1").stderr


def test_a_message_names_its_database_once(project: Project, tmp_path: Path) -> None:
    (tmp_path / "1.sqlite").write_bytes(b"this is no database" * 1000)
    done = project.run("create", "shop")
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert error.count("shop") == 1


def test_a_manual_backup_is_verified_though_scheduled_ones_are_not(project: Project) -> None:
    document = project.json("create", "shop", BACKUP_VERIFICATION_ENABLED="false")
    assert [(proof["backup_id"], proof["result"]) for proof in document["proofs"]] == [
        (document["backups"][0]["id"], "passed")
    ]


def test_an_inconclusive_proof_is_a_warning_of_create_and_a_failure_of_verify(project: Project, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "1.sqlite") as database:
        database.execute("create table noise (data blob)")
        database.execute("insert into noise values (randomblob(2000000))")
    database.close()
    created = project.run("create", "shop", "--json", BACKUP_VERIFICATION_RESTORE_MAX_MB="1")
    document = json.loads(created.stdout)
    assert created.returncode == 0
    assert document["proofs"][0]["result"] == "inconclusive"
    assert document["failed"] == []
    backup = document["backups"][0]["id"]
    assert f"Warning: the verification of {backup} was inconclusive" in created.stderr
    verified = project.json("verify", backup, "--level", "restore", exit_code=1, BACKUP_VERIFICATION_RESTORE_MAX_MB="1")
    assert verified["proofs"][0]["result"] == "inconclusive"


def test_a_verification_of_nothing_says_so(project: Project) -> None:
    done = project.run("verify", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No backups to verify.\n")
