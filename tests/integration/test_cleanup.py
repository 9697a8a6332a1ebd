"""Cleanup, delete, pin and unpin at the terminal, over a real storage and a real SQLite database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup import naming
from db_backup.catalog import AttemptOutcome, BackupQuery
from db_backup.errors import Refused, StorageAccessDenied
from db_backup.jobs.cleanup import CleanupRequest, clean_up
from db_backup.jobs.copies import reserve
from db_backup.jobs.freshness import fresh_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.model import BackupType, EngineName, ProofResult, utc_now
from db_backup.progress import Cancellation, Silent
from db_backup.storage import LocalStorage
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database, unreachable

pytestmark = pytest.mark.integration

RUN = RunInfo(origin="cli", actor="ada", host="tower")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@pytest.fixture
def workspace(project: Project) -> Iterator[Workspace]:
    with Workspace.open(project.environment) as opened:
        yield opened


def a_week(workspace: Workspace) -> list[str]:
    """Fulls of the last seven days, newest first, and one that is 40 days old."""
    return publish(workspace, [past_backup(age) for age in (*range(1, 8), 40)])


def a_chain_of_today() -> list[tuple[Manifest, State]]:
    """A full and its increment; and a full of nine days ago, with which the week begins that is to be recoverable."""
    full = past_backup(0.5)
    return [past_backup(9), full, past_backup(0.4, type=BackupType.INCREMENTAL, after=full[0])]


def a_year() -> Iterator[tuple[Manifest, State]]:
    """A full every other day, structures, exports, chains now and then; some failed, some never tried, one pinned."""
    for day in range(0, 365, 2):
        age = 364.5 - day
        result = {3: ProofResult.FAILED, 5: None}.get(day % 17, ProofResult.PASSED)
        full = past_backup(age, result=result, state={"pinned": day == 100})
        yield full
        follows = full[0]
        for hour in (1, 2) if day % 20 == 0 or day > 350 else ():
            increment = past_backup(age - hour / 24, type=BackupType.INCREMENTAL, after=follows)
            yield increment
            follows = increment[0]
        if day % 28 == 0:
            yield past_backup(age, type=BackupType.STRUCTURE)
        if day % 62 == 0:
            yield past_backup(age, type=BackupType.DATA)


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [line["backup_id"] for line in lines]


def reasons(document: dict[str, Any], backup_id: str) -> str:
    return next("; ".join(line["reasons"]) for line in document["keep"] if line["backup_id"] == backup_id)


def refused(project: Project, *arguments: str, says: str) -> None:
    before = project.files()
    done = project.run(*arguments)
    assert done.returncode == 4, done.stderr
    assert says in done.stderr
    assert project.files() == before


def test_a_year_is_explained_line_by_line_and_what_is_applied_is_what_was_planned(
    project: Project, workspace: Workspace
) -> None:
    everything = publish(workspace, a_year())
    before = project.files()

    planned = project.json("cleanup", "--dry-run")
    assert project.files() == before
    assert sorted([*ids(planned["keep"]), *ids(planned["delete"])]) == sorted(everything)
    assert all(line["reasons"] for line in planned["keep"])
    assert all(line["reason"] for line in planned["delete"])

    applied = project.json("cleanup")
    assert applied == planned
    assert len(applied["delete"]) > 150
    assert {backup_id for backup_id in everything if project.manifest_path(backup_id).exists()} == set(
        ids(planned["keep"])
    )
    check = project.json("catalog", "check")
    assert (check["backups"], check["problems"]) == (len(planned["keep"]), [])
    assert project.json("cleanup") == {**planned, "delete": []}
    deletions = [record for record in workspace.catalog.audit_trail(limit=9999) if record.act == "delete"]
    assert {record.backup_id for record in deletions if record.outcome == "done"} == set(ids(planned["delete"]))
    assert all("days ended on" in record.detail for record in deletions if record.outcome == "done")


def test_create_cleans_up_that_entry_and_type_and_no_other(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    structures = publish(workspace, [past_backup(age, type=BackupType.STRUCTURE) for age in (1, 120)])
    others = publish(workspace, [past_backup(age, entry="crm") for age in (1, 2, 3, 60)])

    created = project.json("create", "shop")

    assert ids(created["deleted"]) == [fulls[-1]]
    left = {backup["id"] for backup in project.json("list")["backups"]}
    assert left == {created["backups"][0]["id"], *fulls[:-1], *structures, *others}


def test_the_retention_of_create_holds_for_its_cleanup(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    created = project.json("create", "shop", "--retention", "4")
    # The new one and the two next newest are the floor; those of 3 days have a day left, up to the new one.
    assert sorted(ids(created["deleted"])) == sorted(fulls[3:])
    assert project.manifest(created["backups"][0]["id"])["retention_days"] == 4


def test_no_cleanup_deletes_nothing(project: Project, workspace: Workspace) -> None:
    a_week(workspace)
    created = project.json("create", "shop", "--no-cleanup")
    assert created["deleted"] == []
    assert len(project.json("list")["backups"]) == 9


def test_a_backup_that_fails_deletes_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path / "project", {"shop": unreachable()}, as_process=False)
    with Workspace.open(project.environment) as workspace:
        a_week(workspace)
    before = project.files()
    created = project.json("create", "shop", exit_code=1)
    assert created["deleted"] == []
    assert project.files() == before


def test_a_backup_that_is_disproved_at_once_deletes_nothing(
    project: Project, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_week(workspace)
    commit = LocalStorage.create

    def damage(storage: LocalStorage, key: str, content: bytes) -> None:
        commit(storage, key, content)
        if key.startswith("metadata/") and not key.endswith(".state.json"):
            artefact = next((project.storage / "database").glob(f"{naming.backup_id_of_file(Path(key).name)}.*"))
            artefact.write_bytes(artefact.read_bytes()[:-1])

    monkeypatch.setattr(LocalStorage, "create", damage)
    created = project.json("create", "shop", exit_code=3)
    assert created["backups"][0]["status"] == "failed_verification"
    assert created["deleted"] == []


def test_cleanup_of_one_database_leaves_the_others_alone(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    publish(workspace, [past_backup(age, entry="crm") for age in (1, 2, 3, 60)])
    assert ids(project.json("cleanup", "--database", "shop")["delete"]) == [fulls[-1]]
    done = project.run("cleanup", "--database", "shp")
    assert done.returncode == 2
    assert "shop" in done.stderr


def test_a_database_that_is_not_configured_any_more_is_cleaned_up_too(project: Project, workspace: Workspace) -> None:
    crm = publish(workspace, [past_backup(age, entry="crm") for age in (1, 2, 3, 60)])
    assert ids(project.json("cleanup")["delete"]) == [crm[-1]]


def test_the_retention_of_cleanup_stands_for_each_backups_own(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    assert ids(project.json("cleanup", "--dry-run", "--retention", "60")["delete"]) == []
    assert sorted(ids(project.json("cleanup", "--retention", "4")["delete"])) == sorted(fulls[4:])


def test_an_entry_at_which_a_backup_works_is_left_alone(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    with workspace.catalog.entry_lock("shop", "full backup"):
        planned = project.json("cleanup", "--dry-run")
        assert planned["delete"] == []
        assert "full backup" in reasons(planned, fulls[-1])
        report = clean_up(workspace, CleanupRequest(), run=RUN, progress=Silent(), cancellation=Cancellation())
        assert report.delete == ()
        assert "full backup" in report.warnings[0]
    assert ids(project.json("cleanup")["delete"]) == [fulls[-1]]


def test_a_run_whose_backup_failed_leaves_that_entry_alone(project: Project, workspace: Workspace) -> None:
    fulls, crm = a_week(workspace), publish(workspace, [past_backup(age, entry="crm") for age in (1, 2, 3, 60)])
    this_run = RunInfo(origin="airflow", dag_id="backup_daily", run_id="today")
    attempt = workspace.catalog.begin_attempt("shop", BackupType.FULL, this_run)
    workspace.catalog.finish_attempt(attempt, AttemptOutcome.FAILED, error="no answer")

    report = clean_up(workspace, CleanupRequest(), run=this_run, progress=Silent(), cancellation=Cancellation())
    assert [deleted.backup_id for deleted in report.delete] == [crm[-1]]

    retried = workspace.catalog.begin_attempt("shop", BackupType.FULL, this_run)
    workspace.catalog.finish_attempt(retried, AttemptOutcome.SUCCEEDED, backup_id=fulls[0])
    report = clean_up(workspace, CleanupRequest(), run=this_run, progress=Silent(), cancellation=Cancellation())
    assert [deleted.backup_id for deleted in report.delete] == [fulls[-1]]


def test_a_leased_backup_and_what_it_needs_stay(project: Project, workspace: Workspace) -> None:
    base = past_backup(50)
    increment = past_backup(49.9, type=BackupType.INCREMENTAL, after=base[0])
    a_week(workspace)
    publish(workspace, [base, increment, *a_chain_of_today()])
    with workspace.catalog.lease(increment[0].id, "restore"):
        planned = project.json("cleanup")
        assert "in use: restore" in reasons(planned, increment[0].id)
        assert increment[0].id in reasons(planned, base[0].id)
    assert ids(project.json("cleanup")["delete"]) == [increment[0].id, base[0].id]


def test_a_backup_that_is_reserved_for_a_restore_stays_until_it_is_released(
    project: Project, workspace: Workspace
) -> None:
    a_week(workspace)
    (old,) = publish(workspace, [past_backup(50)])
    with Workspace.open(project.environment) as other:
        reservation = reserve(other, old, "restore that waits for approval", lasting=timedelta(hours=24))

    assert "in use: restore that waits for approval, reserved until 20" in reasons(project.json("cleanup"), old)
    assert "reserved until 20" in project.run("delete", old, "--force").stderr
    workspace.catalog.release(reservation)
    assert ids(project.json("cleanup")["delete"]) == [old]


def test_a_lease_that_is_taken_after_the_plan_wins_and_keeps_what_it_needs(
    project: Project, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_week(workspace)
    base = past_backup(50)
    increment = past_backup(49.9, type=BackupType.INCREMENTAL, after=base[0])
    publish(workspace, [base, increment, *a_chain_of_today()])
    before = project.files()
    with Workspace.open(project.environment) as other:
        restore = other.catalog.lease(increment[0].id, "restore")
        deletion = workspace.catalog.deletion

        def lease_first(backup_id: str, **more: Any) -> Any:
            if backup_id == increment[0].id:
                restore.__enter__()
            return deletion(backup_id, **more)

        monkeypatch.setattr(workspace.catalog, "deletion", lease_first)
        report = clean_up(workspace, CleanupRequest(), run=RUN, progress=Silent(), cancellation=Cancellation())
        restore.__exit__(None, None, None)
    kept = {line.backup_id: line.reasons for line in report.keep}
    assert "in use: restore" in kept[increment[0].id][0]
    assert kept[base[0].id] == (f"needed by {increment[0].id}",)
    assert {name for name in before if increment[0].id in name or base[0].id in name} <= project.files()


def test_one_that_cannot_be_deleted_is_told_and_stops_no_other(
    project: Project, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(workspace, [past_backup(age) for age in (1, 2, 3, 40, 50)])
    stuck, other = ids(project.json("cleanup", "--dry-run")["delete"])
    delete = LocalStorage.delete

    def deny(storage: LocalStorage, key: str) -> None:
        if stuck in key:
            raise StorageAccessDenied("No.", hint="Let this user write.")
        delete(storage, key)

    monkeypatch.setattr(LocalStorage, "delete", deny)
    report = project.json("cleanup", exit_code=1)
    assert (ids(report["failed"]), ids(report["delete"])) == ([stuck], [other])
    assert {backup["id"]: backup["status"] for backup in project.json("list")["backups"]}[stuck] == "deleting"
    assert [problem["backup_id"] for problem in project.json("catalog", "check", exit_code=1)["problems"]] == [stuck]
    monkeypatch.undo()
    report = project.json("cleanup")
    assert report["delete"] == [{"backup_id": stuck, "reason": "its deletion had begun"}]
    assert project.json("catalog", "check")["problems"] == []


def test_a_storage_that_is_not_mounted_is_refused_and_nothing_is_deleted(
    project: Project, workspace: Workspace, tmp_path: Path
) -> None:
    a_week(workspace)
    project.storage.rename(tmp_path / "elsewhere")
    for arguments in (["cleanup"], ["cleanup", "--dry-run"]):
        done = project.run(*arguments)
        assert done.returncode == 1
        assert "not mounted" in done.stderr
    project.storage.mkdir()
    assert project.run("cleanup").returncode == 1
    assert len(workspace.catalog.page(BackupQuery()).items) == 8


def test_good_backups_whose_parts_are_gone_hold_up_nothing(project: Project, workspace: Workspace) -> None:
    """A disk that lost its newest files: the older ones are all there is, whatever the catalogue says."""
    fulls = a_week(workspace)
    for backup_id in fulls[:7]:
        project.artefact(backup_id).unlink()
    planned = project.json("cleanup")
    assert planned["delete"] == []
    assert "last verified full" in reasons(planned, fulls[7])
    assert "damaged" in reasons(planned, fulls[0])


def test_backups_that_the_catalogue_does_not_know_are_counted_and_protect_their_base(
    project: Project, workspace: Workspace
) -> None:
    a_week(workspace)
    base = past_backup(50)
    publish(workspace, [base])
    unknown = past_backup(1, type=BackupType.INCREMENTAL, after=base[0])
    publish(workspace, [unknown], index=False)
    planned = project.json("cleanup")
    assert f"needed by {unknown[0].id}" in reasons(planned, base[0].id)


def test_an_unreadable_manifest_leaves_its_entry_alone(project: Project, workspace: Workspace) -> None:
    """Nobody can say which base it needs."""
    fulls = a_week(workspace)
    unknown = past_backup(1, type=BackupType.INCREMENTAL)
    publish(workspace, [unknown], index=False)
    project.manifest_path(unknown[0].id).write_text("{")
    planned = project.json("cleanup")
    assert planned["delete"] == []
    assert unknown[0].id in reasons(planned, fulls[-1])
    refused(project, "delete", fulls[-1], says=unknown[0].id)


def test_a_backup_that_is_dated_in_the_future_is_kept_and_told(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    future = publish(workspace, [past_backup(-3)])[0]
    shown = project.run("cleanup")
    assert future in shown.stderr
    assert "future" in shown.stderr
    assert f"Deleted {fulls[-1]}" not in shown.stderr
    assert fulls[-1] in shown.stdout
    assert project.manifest_path(future).exists()


def test_pinned_backups_stay_until_they_are_unpinned(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    assert project.json("pin", fulls[-1])["pinned"] is True
    assert project.json("pin", fulls[-1])["pinned"] is True
    assert reasons(project.json("cleanup"), fulls[-1]) == "pinned"
    refused(project, "delete", fulls[-1], "--force", says=f"db-backup unpin {fulls[-1]}")
    assert project.json("unpin", fulls[-1])["pinned"] is False
    assert ids(project.json("cleanup")["delete"]) == [fulls[-1]]
    acts = [(record.act, record.outcome) for record in workspace.catalog.audit_trail()]
    assert {("pin", "done"), ("unpin", "done"), ("delete", "refused"), ("cleanup", "done")} <= set(acts)


def test_a_pin_that_the_catalogue_lost_still_holds(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    (manifest, state) = past_backup(45)
    publish(workspace, [(manifest, state.model_copy(update={"pinned": True}))], index=False)
    workspace.catalog.record(manifest, state)
    report = project.json("cleanup")
    assert ids(report["delete"]) == [fulls[-1]]
    assert reasons(report, manifest.id) == "pinned"
    assert project.artefact(manifest.id).exists()


def test_a_catalogue_older_than_the_proofs_never_costs_the_last_verified_full(
    project: Project, workspace: Workspace
) -> None:
    """The catalogue says good of what storage knows to have failed: the states decide."""
    (manifest, state) = past_backup(45)
    publish(workspace, [(manifest, state)])
    for days in (3, 2, 1):
        publish(workspace, [past_backup(days, result=ProofResult.FAILED)], index=False)
        workspace.catalog.record(*past_backup(days))
    assert project.json("cleanup")["delete"] == []
    assert project.artefact(manifest.id).exists()


@pytest.mark.parametrize("sidecar", ["{}.json", "{}.state.json"])
def test_an_entry_with_a_damaged_or_lost_sidecar_is_left_alone(
    project: Project, workspace: Workspace, sidecar: str
) -> None:
    fulls = a_week(workspace)
    (project.storage / "metadata" / sidecar.format(fulls[0])).write_bytes(b"")
    report = project.json("cleanup")
    assert report["delete"] == []
    assert fulls[0] in report["warnings"][0]
    (project.storage / "metadata" / f"{fulls[0]}.state.json").unlink()
    assert project.json("cleanup")["delete"] == []


def test_no_manifest_names_a_part_of_another_backup(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    path = project.manifest_path(fulls[-1])
    path.write_text(path.read_text().replace(f'"{fulls[-1]}.', f'"{fulls[0]}.'))
    assert project.json("cleanup")["delete"] == []
    assert project.artefact(fulls[0]).exists()


def test_after_a_long_outage_create_deletes_nothing_by_itself(project: Project, workspace: Workspace) -> None:
    old = [past_backup(days) for days in (95, 94, 93, 92, 91)]
    publish(workspace, old)
    done = project.run("create", "shop", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deleted"] == []
    assert "db-backup cleanup" in done.stderr
    assert len(project.json("list")["backups"]) == 6


def test_delete_takes_what_is_named_though_its_days_are_not_over(project: Project, workspace: Workspace) -> None:
    fulls = a_week(workspace)
    artefact = project.artefact(fulls[5]).name
    assert ids(project.json("delete", artefact)["delete"]) == [fulls[5]]
    assert not [name for name in project.files() if fulls[5] in name]
    assert project.run("delete", fulls[5]).returncode == 2
    assert project.json("catalog", "check")["problems"] == []


def test_delete_needs_force_for_the_last_verified_full_and_for_the_floor(
    project: Project, workspace: Workspace
) -> None:
    fulls = publish(workspace, [past_backup(age) for age in (1, 2, 3, 4)])
    refused(project, "delete", fulls[0], says="last verified full")
    refused(project, "delete", fulls[2], says="--force")
    for backup_id in fulls:
        project.json("delete", backup_id, "--force")
    assert project.json("list")["backups"] == []
    assert not [name for name in project.files() if "backup_" in name]
    overridden = [record.detail for record in workspace.catalog.audit_trail() if record.outcome == "done"]
    assert any("last verified full" in detail for detail in overridden)


def test_delete_refuses_the_only_thing_there_is_even_when_it_is_unverified(
    project: Project, workspace: Workspace
) -> None:
    only = publish(workspace, [past_backup(1, result=None)])[0]
    refused(project, "delete", only, says="no newer verified full")
    project.json("delete", only, "--force")


def test_force_neither_orphans_a_chain_nor_takes_what_is_in_use_or_held(project: Project, workspace: Workspace) -> None:
    base = past_backup(5)
    increment = past_backup(4.9, type=BackupType.INCREMENTAL, after=base[0])
    held = past_backup(6, state={"legal_hold": True})
    publish(workspace, [base, increment, held])
    refused(project, "delete", base[0].id, "--force", says=f"needed by {increment[0].id}")
    refused(project, "delete", held[0].id, "--force", says="legal hold")
    with workspace.catalog.lease(increment[0].id, "download"):
        refused(project, "delete", increment[0].id, "--force", says="in use: download")
    project.json("delete", increment[0].id, "--force")
    project.json("delete", base[0].id, "--force")


@pytest.fixture
def chains(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Two real chains of an hour each, of 40 days ago and of today: a full and two increments, oldest first."""
    keys = {"conn_id": "shop_db", "types": ["full", "incremental"], "verify": "archive"}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": {"shop": keys}}))
    made: list[list[str]] = []
    for days_ago in (40, 0.1):
        chain: list[str] = []
        for number, kind in enumerate(("full", "incremental", "incremental")):
            ago = timedelta(days=days_ago, minutes=-30 * number)
            for module in ("jobs.creation", "engines.sqlite.engine", "engines.sqlite.source"):
                monkeypatch.setattr(f"db_backup.{module}.utc_now", lambda ago=ago: utc_now() - ago)
            with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection, connection:
                connection.execute("CREATE TABLE IF NOT EXISTS cleaned (id INTEGER PRIMARY KEY)")
                connection.execute("INSERT INTO cleaned DEFAULT VALUES")
            (backup,) = project.json("create", "shop", "--type", kind, "--no-cleanup")["backups"]
            assert (backup["type"], backup["status"]) == (kind, "good")
            chain.append(backup["id"])
        made.append(chain)
    monkeypatch.undo()
    return made


def test_a_chain_goes_whole_from_its_end_and_never_a_link_that_others_need(
    project: Project, workspace: Workspace, chains: list[list[str]]
) -> None:
    old, young = chains
    # What its own days would let go is needed as long as it is there: cleanup may come later.
    refused(project, "delete", old[0], "--force", says=f"needed by {old[1]}, {old[2]}")
    refused(project, "delete", young[1], "--force", says=f"needed by {young[2]}")
    assert ids(project.json("cleanup", "--dry-run")["delete"]) == []  # the week begins with the old chain

    publish(workspace, [past_backup(age, engine=EngineName.SQLITE) for age in (1, 2, 9)])
    planned = project.json("cleanup", "--dry-run")
    assert ids(planned["delete"]) == [old[2], old[1], old[0]]
    assert all(line["reason"].startswith("its ") for line in planned["delete"])
    assert "recoverable to any moment of 7 days" in reasons(planned, young[0])
    with workspace.catalog.lease(old[1], "restore"):
        assert ids(project.json("cleanup")["delete"]) == [old[2]]
    assert ids(project.json("cleanup")["delete"]) == [old[1], old[0]]
    assert [proof["result"] for proof in project.json("verify", *young, "--level", "checksum")["proofs"]] == [
        "passed"
    ] * 3


def test_increments_whose_base_is_damaged_are_told_to_be_of_no_use(
    project: Project, workspace: Workspace, chains: list[list[str]]
) -> None:
    _, young = chains
    project.artefact(young[0]).unlink()
    planned = project.json("cleanup", "--dry-run")
    assert f"cannot be restored, for {young[0]} is damaged; its 7 days last until" in reasons(planned, young[2])
    assert ids(planned["delete"]) == []


def test_delete_waits_for_no_lock_for_ever(
    project: Project, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fulls = a_week(workspace)
    monkeypatch.setattr("db_backup.cli.commands.delete._LOCK_WAIT_SECONDS", 0.1)
    with workspace.catalog.entry_lock("shop", "full backup"):
        done = project.run("delete", fulls[-1])
    assert done.returncode == 1
    assert "full backup" in done.stderr


def test_what_is_being_deleted_is_neither_verified_restored_nor_pinned(
    project: Project, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup_id = project.json("create", "shop")["backups"][0]["id"]

    def fail(storage: LocalStorage, key: str) -> None:
        raise StorageAccessDenied("No.", hint="Let this user write.")

    monkeypatch.setattr(LocalStorage, "delete", fail)
    assert project.run("delete", backup_id, "--force").returncode == 1
    for arguments in (["verify", backup_id], ["restore", backup_id, "--as", str(tmp_path / "x")], ["pin", backup_id]):
        refused(project, *arguments, says="being deleted")
    # Nor by one who asks the storage alone: the catalogue was lost.
    workspace.catalog.forget(backup_id)
    refused(project, "verify", backup_id, says="being deleted")


def test_safety_backups_leave_the_last_real_one_protected(project: Project, workspace: Workspace) -> None:
    real = publish(workspace, [past_backup(9)])
    undo = publish(workspace, [past_backup(age, safety=True) for age in (1, 2, 3, 31)])
    refused(project, "delete", real[0], says="the last verified full backup of 'shop'")
    assert ids(project.json("cleanup")["delete"]) == [undo[-1]]


def test_a_safety_backup_does_not_hide_that_nothing_was_made_for_long(project: Project, workspace: Workspace) -> None:
    publish(workspace, [past_backup(age) for age in (60, 61, 62, 63)])
    publish(workspace, [past_backup(0.1, safety=True)])
    created = project.json("create", "shop")
    assert created["deleted"] == []


def test_safety_backups_are_marked_and_never_the_newest(project: Project, workspace: Workspace) -> None:
    real = project.json("create", "shop")["backups"][0]["id"]
    (undo,) = publish(workspace, [past_backup(-0.001, safety=True)])
    listed = project.json("list")["backups"]
    assert [(backup["id"], backup["safety"]) for backup in listed] == [(undo, True), (real, False)]
    for options in ((), ("--detailed",)):
        lines = project.run("list", *options).stdout.splitlines()
        assert [line.startswith(undo) for line in lines if "good (safety)" in line] == [True]

    assert [proof["backup_id"] for proof in project.json("verify", "--latest")["proofs"]] == [real]
    assert project.json("databases")["databases"][0]["last_backup"] == real


def test_no_safety_backup_stands_for_a_fresh_one(workspace: Workspace) -> None:
    (undo,) = publish(workspace, [past_backup(0.1, safety=True)])
    with pytest.raises(Refused, match=f"{undo} is of what a restore was about to replace"):
        fresh_backup(workspace, "shop", timedelta(days=1))
    (real,) = publish(workspace, [past_backup(0.5)])
    assert fresh_backup(workspace, "shop", timedelta(days=1)).id == real
