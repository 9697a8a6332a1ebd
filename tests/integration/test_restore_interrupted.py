"""Restores that are stopped, killed or met by another one: the old database stays whole, and the next try works."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from db_backup.errors import BackupError, Interrupted, Refused
from db_backup.jobs.restore import RestoreRequest, planned_restore
from db_backup.jobs.workspace import Workspace
from db_backup.model import EngineName
from db_backup.progress import Cancellation, Silent
from support.lab import EngineLab
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.project import Project
from support.restores import RUN, Watched, restore

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=list(EngineName), ids=str)
def lab(request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab]) -> EngineLab:
    return labs[request.param]


@pytest.fixture
def source(lab: EngineLab) -> Iterator[str]:
    database = lab.create_sample()
    yield database
    lab.drop(database)


@pytest.fixture
def project(tmp_path: Path, lab: EngineLab, source: str) -> Project:
    return Project(tmp_path / "project", {"shop": lab.connection(source)}, as_process=False)


@pytest.fixture
def backup(project: Project, lab: EngineLab, source: str) -> str:
    """Of the database before a row was deleted."""
    (made,) = project.json("create", "shop", "--no-verify")["backups"]
    lab.execute(source, "DELETE FROM marks WHERE id = 2")
    return str(made["id"])


def marks(lab: EngineLab, database: str) -> int:
    return lab.counts(database)[lab.table("marks")]


KILLED = """
import contextlib, os, signal, sys
from db_backup.cli.commands import restore
from db_backup.cli.main import main
from support.restores import Watched
progress = Watched("restoring", lambda: os.kill(os.getpid(), signal.SIGKILL), at_bytes=1)
restore.terminal_progress = lambda: contextlib.nullcontext(progress)
sys.exit(main(sys.argv[1:]))
"""


def test_a_protected_database_survives_a_kill_in_mid_restore_and_the_second_try_succeeds(
    project: Project, lab: EngineLab, source: str, backup: str
) -> None:
    project.config.write_text("version: 1\ndatabases: {shop: {conn_id: shop_db, protected: true}}\n")
    name = source.rpartition("/")[2]
    arguments = ["restore", backup, "--force", "--confirm", name, "--json"]
    before = lab.stock_dump(source)

    killed = project.run_process([sys.executable, "-c", KILLED, *arguments], PYTHONPATH=str(TESTS))

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert lab.stock_dump(source) == before
    report = project.json(*arguments[:-1])
    assert (report["way"], report["differences"]) == ("replace", [])
    assert marks(lab, source) == 3
    assert not lab.exists(lab.engine(source).replacement_name())


@pytest.mark.parametrize("stage", ["restoring", "comparing"])
def test_ctrl_c_leaves_nothing_and_says_so(
    project: Project, lab: EngineLab, source: str, backup: str, stage: str
) -> None:
    before, cancellation = lab.stock_dump(source), Cancellation()
    progress = Watched(stage, lambda: cancellation.cancel("by SIGINT"), at_bytes=1 if stage == "restoring" else None)

    with pytest.raises(Interrupted, match="is as it was") as stopped:
        restore(project, RestoreRequest(backup=backup, force=True), progress, cancellation)

    assert stopped.value.hint == "Run it again."
    assert "Its safety backup is backup_shop_full_" in stopped.value.message
    assert lab.stock_dump(source) == before
    assert not lab.exists(lab.engine(source).replacement_name())


def test_ctrl_c_on_the_way_to_a_new_database_makes_none(project: Project, lab: EngineLab, backup: str) -> None:
    cancellation, name = Cancellation(), lab.fresh_name()
    progress = Watched("comparing", lambda: cancellation.cancel("by SIGINT"))
    with pytest.raises(Interrupted, match="was not made"):
        restore(project, RestoreRequest(backup=backup, new_name=name), progress, cancellation)
    assert not lab.exists(name)


def cut_connections(lab: EngineLab, database: str) -> None:
    """End every session of a database, as a failing network would."""
    if isinstance(lab, PostgresLab):
        lab.server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    elif isinstance(lab, MysqlLab):
        lab.server.kill(*lab.server.sessions(database))


@pytest.mark.parametrize("engine", [EngineName.POSTGRES, EngineName.MYSQL])
@pytest.mark.parametrize("empty", [False, True], ids=["replaced", "empty"])
def test_connections_cut_in_mid_restore_change_nothing_and_the_second_try_succeeds(
    tmp_path: Path, labs: Mapping[EngineName, EngineLab], engine: EngineName, empty: bool
) -> None:
    lab = labs[engine]
    source = lab.create_sample()
    lab.fill(source, megabytes=8)
    project = Project(tmp_path / "project", {"shop": lab.connection(source)}, as_process=False)
    (made,) = project.json("create", "shop", "--no-verify")["backups"]
    target = lab.create_empty() if empty else source
    before, loaded = lab.stock_dump(target), target if empty else lab.engine(source).replacement_name()
    new_name = target if empty else None
    request = RestoreRequest(backup=made["id"], new_name=new_name, force=not empty, safety_backup=False)

    with pytest.raises(BackupError) as failed:
        restore(project, request, Watched("restoring", lambda: cut_connections(lab, loaded), at_bytes=4_000_000))

    assert failed.value.message.endswith("is as it was."), failed.value.message
    assert lab.stock_dump(target) == before
    assert empty or not lab.exists(loaded)
    assert restore(project, request, Watched("", lambda: None)).differences == ()
    assert lab.stock_dump(target) == lab.stock_dump(source)
    for database in {source, target}:
        lab.drop(database)


def test_two_restores_onto_one_target_exclude_each_other(
    project: Project, lab: EngineLab, source: str, backup: str
) -> None:
    met = []

    def meet() -> None:
        met.append(project.run("restore", backup, "--force", "--no-safety-backup"))
        met.append(project.run("restore", backup, "--as", beside))

    beside = lab.fresh_name()
    report = restore(project, RestoreRequest(backup=backup, force=True), Watched("comparing", meet))

    onto_the_same, onto_another = met
    assert onto_the_same.returncode == 1
    assert "is at work already: restore of" in onto_the_same.stderr
    assert onto_another.returncode == 0, onto_another.stderr
    assert report.differences == ()
    assert (marks(lab, source), marks(lab, beside)) == (3, 3)
    lab.drop(beside)


def test_no_backup_is_made_of_a_database_that_is_being_restored(
    project: Project, lab: EngineLab, source: str, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db_backup.cli.commands.create._LOCK_WAIT_SECONDS", 0.1)
    met = []

    def meet() -> None:
        met.append(project.run("create", "shop", "--no-verify"))

    report = restore(project, RestoreRequest(backup=backup, force=True), Watched("restoring", meet, at_bytes=1))

    assert "'shop' is at work already: restore of" in met[0].stderr
    assert met[0].returncode != 0
    made = {one["id"] for one in project.json("list")["backups"]}
    assert made == {backup, report.safety_backup_id}


def test_a_safety_backup_that_cannot_be_read_back_stops_the_restore(
    project: Project, lab: EngineLab, source: str, backup: str
) -> None:
    before = lab.stock_dump(source)

    def spoil() -> None:
        safety = max(project.storage.glob("database/backup_shop_full_*"), key=lambda path: path.stat().st_mtime_ns)
        safety.write_bytes(safety.read_bytes()[:-1])

    with pytest.raises(BackupError, match="safety backup of 'shop' failed") as failed:
        restore(project, RestoreRequest(backup=backup, force=True), Watched("checksums of", spoil))

    assert "is as it was" in failed.value.message
    assert "--no-safety-backup" in failed.value.hint
    assert lab.stock_dump(source) == before


def test_a_target_that_was_filled_after_the_plan_is_not_replaced(project: Project, lab: EngineLab, backup: str) -> None:
    target = lab.create_empty()
    request = RestoreRequest(backup=backup, new_name=target, force=True, safety_backup=False)
    with (
        Workspace.open(project.environment) as workspace,
        planned_restore(workspace, request, run=RUN, cancellation=Cancellation()) as planned,
    ):
        assert planned.plan.way == "empty"
        lab.execute(target, "CREATE TABLE precious (id integer)")
        with pytest.raises(Refused, match="what happens to the target: empty before, now replace"):
            planned.carry_out(Silent(), Cancellation())
    assert list(lab.own_counts(target)) == [lab.table("precious")]
    lab.drop(target)


def test_a_safety_backup_that_fails_stops_the_restore(
    project: Project, lab: EngineLab, source: str, backup: str
) -> None:
    lab.fill(source, megabytes=2)
    before = lab.stock_dump(source)

    done = project.run("restore", backup, "--force", BACKUP_MAX_SIZE_MB="1", BACKUP_DEFAULT_COMPRESSION="none")

    assert done.returncode == 1
    assert "safety backup of 'shop' failed" in done.stderr
    assert "A safety backup obeys BACKUP_MAX_SIZE_MB too" in done.stderr
    assert "is as it was" in done.stderr
    assert "--no-safety-backup" in done.stderr
    assert lab.stock_dump(source) == before


def test_a_backup_that_is_being_restored_cannot_be_deleted(project: Project, lab: EngineLab, backup: str) -> None:
    name = lab.fresh_name()
    deleted = []
    progress = Watched("restoring", lambda: deleted.append(project.run("delete", backup, "--force")))
    restore(project, RestoreRequest(backup=backup, new_name=name), progress)
    assert deleted[0].returncode == 4
    assert "in use: restore" in deleted[0].stderr
    lab.drop(name)
