"""Cold archive at the terminal: a real SQLite database, backed up into an S3 server, archived and restored."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from db_backup.errors import Interrupted
from db_backup.jobs import thaw
from db_backup.jobs.copies import locate
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import utc_now
from db_backup.operators.thaw_trigger import still_cold
from db_backup.progress import Cancellation, Silent
from support.clouds_of_project import keep_in_s3, slow_thaw
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

RUN = RunInfo(origin="cli", actor="ada", host="tower")
_POLICY = {"after_days": 10, "storage_class": "GLACIER"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@contextmanager
def days_later(days: float) -> Iterator[None]:
    """What decides about backups believes that so much time has passed."""

    def later() -> Any:
        return utc_now() + timedelta(days=days)

    with mock.patch("db_backup.jobs.archive.utc_now", later), mock.patch("db_backup.jobs.cleanup.utc_now", later):
        yield


@pytest.fixture
def thaws_after(s3_server: S3Server) -> Iterator[Callable[[int], None]]:
    with slow_thaw(s3_server) as thaws_after:
        yield thaws_after


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thaw, "POLL_SECONDS", 0.01)


@dataclass(frozen=True)
class Cold:
    """A project whose older backup was archived; what ``db-backup archive`` said. Tests change nothing of it."""

    project: Project
    old: str
    newest: str
    planned: Any
    report: Any


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Cold:
    folder = tmp_path_factory.mktemp("cold")
    project = Project(folder / "project", {"shop": sqlite_database(folder, "shop")}, as_process=False)
    keep_in_s3(project, s3_server, s3_server.new_bucket(), archive=_POLICY)
    old, newest = created(project), created(project)
    return Cold(project, old, newest, archived(project, "--dry-run"), archived(project))


def created(project: Project) -> str:
    (backup,) = project.json("create", "shop")["backups"]
    assert backup["verified"]
    return str(backup["id"])


def archived(project: Project, *arguments: str, exit_code: int = 0) -> Any:
    with days_later(20):
        return project.json("archive", *arguments, exit_code=exit_code)


def classes(server: S3Server, bucket: str) -> dict[str, str]:
    """By the object's name, without what is for the audit trail."""
    pages = server.client().list_objects_v2(Bucket=bucket)["Contents"]
    names = (found["Key"] for found in pages if "/audit/" not in found["Key"])
    heads = {name: server.client().head_object(Bucket=bucket, Key=name) for name in names}
    return {name.rpartition("/")[2]: head.get("StorageClass", "STANDARD") for name, head in heads.items()}


def rows(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select * from orders order by id").fetchall()


def test_an_old_backup_is_archived_thawed_waited_for_and_restored(
    project: Project, s3_server: S3Server, thaws_after: Callable[[int], None], tmp_path: Path
) -> None:
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket, archive=_POLICY)
    old, newest = created(project), created(project)

    report = archived(project)

    assert [(moved["backup_id"], moved["storage_class"]) for moved in report["archive"]] == [(old, "GLACIER")]
    assert [kept["backup_id"] for kept in report["keep"]] == [newest]
    assert "newest verified full" in report["keep"][0]["reason"]
    found = classes(s3_server, bucket)
    assert {name for name, where in found.items() if where == "GLACIER"} == {
        name for name in found if name.startswith(f"{old}.") and not name.endswith(".json")
    }

    thaws_after(3)
    refused = project.run("restore", old, "--as", str(tmp_path / "copy.sqlite"), "--no-wait")
    assert refused.returncode == 1
    assert "3 to 5 hours" in refused.stderr
    assert "asked for" in refused.stderr
    assert not (tmp_path / "copy.sqlite").exists()

    thaws_after(60)
    restored = project.json("restore", old, "--as", str(tmp_path / "copy.sqlite"))

    assert restored["differences"] == []
    assert [copy["backup_id"] for copy in restored["thaw"]["copies"]] == [old]
    assert rows(tmp_path / "copy.sqlite") == rows(tmp_path / "shop.sqlite")
    acts = [(act["act"], act["outcome"]) for act in project.json("audit")["acts"] if act["backup_id"] == old]
    assert acts.count(("archive", "done")) == 1
    assert acts.count(("thaw", "done")) == 1  # it was on its way when the second restore came


def test_archiving_moves_what_was_planned_and_nothing_twice(cold: Cold) -> None:
    assert [moved["backup_id"] for moved in cold.report["archive"]] == [cold.old]
    assert cold.planned["archive"] == cold.report["archive"]
    assert archived(cold.project)["archive"] == []


def test_what_is_archived_for_fewer_days_than_are_billed_is_told(cold: Cold) -> None:
    assert "bills for 90 days at least" in cold.report["archive"][0]["remark"]


def test_a_cold_copy_is_not_damaged_and_nothing_is_thawed_to_verify_it(cold: Cold) -> None:
    document = cold.project.json("verify", cold.old, "--level", "checksum", exit_code=1)

    assert document["proofs"][0]["result"] == "inconclusive"
    assert "GLACIER" in document["proofs"][0]["reason"]
    (listed,) = (backup for backup in cold.project.json("list")["backups"] if backup["id"] == cold.old)
    assert (listed["status"], listed["cold"]) == ("good", ["s3"])


def test_a_trigger_tells_what_is_cold(cold: Cold) -> None:
    with mock.patch.dict("os.environ", cold.project.environment, clear=True):
        assert list(still_cold({cold.old: "s3", cold.newest: "s3"})) == [cold.old]


def test_a_person_sees_what_is_moved_and_why_the_rest_stays(cold: Cold) -> None:
    with days_later(20):
        shown = cold.project.run("archive", "--dry-run").stdout

    assert f"{cold.newest}  s3" in shown
    assert "the newest verified full backup of 'shop'" in shown
    assert "0 copies (0 bytes) to be moved, 1 stay." in shown


def test_a_wait_for_hours_is_stopped_at_once(
    cold: Cold, thaws_after: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thaw, "POLL_SECONDS", 3600.0)
    thaws_after(1)
    cancellation = Cancellation()
    with Workspace.open(cold.project.environment) as workspace:
        needed = [locate(workspace, cold.old)]
        thaw.request_thaw(workspace, needed, run=RUN)
        thaws_after(1_000)
        stopping = threading.Timer(0.2, cancellation.cancel, ["Ctrl-C"])
        stopping.start()
        with pytest.raises(Interrupted, match="Ctrl-C"):
            thaw.thaw(workspace, needed, wait=True, run=RUN, progress=Silent(), cancellation=cancellation)
        stopping.join()


def test_all_links_of_a_chain_that_the_bucket_itself_has_moved_are_thawed(
    tmp_path: Path, s3_server: S3Server, thaws_after: Callable[[int], None]
) -> None:
    project = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket)
    document = yaml.safe_load(project.config.read_text())
    document["databases"]["shop"]["types"] = ["full", "incremental"]
    project.config.write_text(yaml.safe_dump(document))
    full = created(project)
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as database, database:
        database.execute("insert into orders values (1000, 1, 'after the full')")
    (increment,) = project.json("create", "shop", "--type", "incremental")["backups"]
    client = s3_server.client()
    for found in client.list_objects_v2(Bucket=bucket, Prefix="backups/database/")["Contents"]:
        where = {"Bucket": bucket, "Key": found["Key"]}
        client.copy(where, bucket, where["Key"], ExtraArgs={"StorageClass": "DEEP_ARCHIVE"})
        for _ in range(60):
            client.head_object(**where)

    thaws_after(60)
    restored = project.json("restore", increment["id"], "--as", str(tmp_path / "copy.sqlite"))

    assert {copy["backup_id"] for copy in restored["thaw"]["copies"]} == {full, increment["id"]}
    assert rows(tmp_path / "copy.sqlite") == rows(tmp_path / "shop.sqlite")


def test_a_copy_that_can_be_read_at_once_is_read_instead(project: Project, s3_server: S3Server, tmp_path: Path) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket(), local=True, archive=_POLICY)
    old, _ = created(project), created(project)
    assert [moved["storage"] for moved in archived(project)["archive"]] == ["s3"]

    restored = project.json("restore", old, "--as", str(tmp_path / "copy.sqlite"))

    assert restored["read_from"] == {old: "local"}
    assert restored["thaw"] is None


def test_a_download_waits_for_the_thaw_as_a_restore_does(
    project: Project, s3_server: S3Server, thaws_after: Callable[[int], None], tmp_path: Path
) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket(), archive=_POLICY)
    old, _ = created(project), created(project)
    archived(project)

    thaws_after(3)
    asked = project.run("download", old, "-o", str(tmp_path / "fetched.sqlite"), "--no-wait")
    assert asked.returncode == 1
    assert "asked for" in asked.stderr
    fetched = project.run("download", old, "-o", str(tmp_path / "fetched.sqlite"))

    assert fetched.returncode == 0, fetched.stderr
    assert rows(tmp_path / "fetched.sqlite") == rows(tmp_path / "shop.sqlite")


def test_a_pinned_backup_is_archived_and_stays(project: Project, s3_server: S3Server) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket(), archive=_POLICY)
    old, _ = created(project), created(project)
    project.run("pin", old)

    assert [moved["backup_id"] for moved in archived(project)["archive"]] == [old]
    assert next(backup for backup in project.json("list")["backups"] if backup["id"] == old)["pinned"]


def test_what_is_in_use_stays(project: Project, s3_server: S3Server) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket(), archive=_POLICY)
    old, _ = created(project), created(project)

    with Workspace.open(project.environment) as workspace, workspace.catalog.lease(old, "a restore"):
        report = archived(project)

    assert report["archive"] == []
    assert any("in use" in kept["reason"] for kept in report["keep"] if kept["backup_id"] == old)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--older-than", "5"], "Nothing says which backups"),
        (["--older-than", "5", "--storage", "s3", "--storage-class", "Archive"], "has no class 'Archive'"),
        (["--older-than", "5", "--storage", "local", "--storage-class", "GLACIER"], "has no class 'GLACIER'"),
        (["--older-than", "5", "--storage", "s4", "--storage-class", "GLACIER"], "no storage called 's4'"),
    ],
)
def test_what_cannot_be_archived_is_a_wrong_usage(
    project: Project, s3_server: S3Server, arguments: list[str], told: str
) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket())

    done = project.run("archive", *arguments)

    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize(("there", "told"), [("GLACIER", ""), ("DEEP_ARCHIVE", "it lay in DEEP_ARCHIVE already")])
def test_what_a_crash_left_behind_or_a_rule_of_the_bucket_was_faster_with_is_written_down(
    project: Project, s3_server: S3Server, there: str, told: str
) -> None:
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket, archive=_POLICY)
    old, _ = created(project), created(project)
    (part,) = (name for name in classes(s3_server, bucket) if name.startswith(f"{old}.") and "json" not in name)
    where = {"Bucket": bucket, "Key": f"backups/database/{part}"}
    s3_server.client().copy(where, bucket, where["Key"], ExtraArgs={"StorageClass": there})

    (moved,) = archived(project)["archive"]

    assert told in moved["remark"]
    assert classes(s3_server, bucket)[part] == there
    assert [backup["cold"] for backup in project.json("list")["backups"] if backup["id"] == old] == [["s3"]]
    assert archived(project)["archive"] == []


def test_what_cannot_be_moved_is_told_and_fails(project: Project, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket, archive=_POLICY)
    old, _ = created(project), created(project)
    with mock.patch("db_backup.storage.object_store.s3_classes.S3Classes._copy"):  # nothing happens
        report = archived(project, exit_code=1)

    assert [(failed["backup_id"], failed["storage"]) for failed in report["failed"]] == [(old, "s3")]
    assert "is now in STANDARD" in report["failed"][0]["error"]
