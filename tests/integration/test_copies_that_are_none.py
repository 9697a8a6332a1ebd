"""What looks like one more copy and is none: no backup is lost for it, and none is said to lie where it does not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest

from db_backup.errors import StorageError
from db_backup.jobs.copies import locate
from db_backup.jobs.holdings import Holdings
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus, utc_now
from db_backup.retention import Presence
from support.several_storages import SECOND, SpreadProject
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

LET_GO = {"BACKUP_KEEP_LOCAL_COPY": "false"}


@pytest.fixture
def project(tmp_path: Path) -> SpreadProject:
    return SpreadProject(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")})


def test_another_backup_under_the_same_id_is_not_written_over(project: SpreadProject) -> None:
    backup = project.create()
    manifest = project.storages[SECOND] / "metadata" / f"{backup}.json"
    document = json.loads(manifest.read_text())
    document["run"]["host"] = "another-tower"
    manifest.write_text(json.dumps(document))
    (part,) = project.parts(backup, SECOND)
    part.write_bytes(b"what another host has stored under this id")
    before = {path: path.read_bytes() for path in project.storages[SECOND].rglob(f"{backup}.*")}

    (failed,) = project.json("replicate", exit_code=1)["failed"]

    assert (failed["storage"], "another backup" in failed["error"]) == (SECOND, True)
    assert {path: path.read_bytes() for path in project.storages[SECOND].rglob(f"{backup}.*")} == before
    project.json("catalog", "reindex", exit_code=1)
    shown = project.backup(backup)
    assert (shown["storages"], shown["missing_copies"]) == (["local"], [SECOND])


def test_who_reads_a_backup_hears_that_another_lies_elsewhere_under_its_id(project: SpreadProject) -> None:
    """The first storage's is believed: where that is not ``local``, it need not be the right one."""
    backup = project.create()
    manifest = project.storages[SECOND] / "metadata" / f"{backup}.json"
    document = json.loads(manifest.read_text())
    document["run"]["host"] = "another-tower"
    manifest.write_text(json.dumps(document))
    told = f"What lies in '{SECOND}' under this id is another backup than the one in 'local'."

    named = project.run("restore", backup, "--test")
    latest = project.json("restore", "latest", "--database", "shop", "--test")

    assert (named.returncode, named.stderr.count(told)) == (0, 1)
    (warning,) = (warning for warning in latest["warnings"] if told in warning)
    assert warning.startswith(f"{backup}: ")
    assert "Look at both manifests" in warning


def test_two_names_of_one_place_are_one_copy(project: SpreadProject) -> None:
    project.storage.mkdir()
    project.storages[SECOND].symlink_to(project.storage)

    backup = project.create()
    refused = project.run("replicate", **LET_GO)

    assert (refused.returncode, "is the same place as 'local'" in refused.stderr) == (1, True)
    assert project.parts(backup, "local")
    shown = project.backup(backup)
    assert (shown["storages"], shown["missing_copies"]) == (["local"], [SECOND])
    project.storages[SECOND].unlink()  # and another place is given to it
    assert len(project.json("replicate")["made"]) == 1
    assert project.backup(backup)["storages"] == ["local", SECOND]


def test_the_second_name_is_refused_also_where_the_catalogue_knows_both(project: SpreadProject) -> None:
    backup = project.create()
    with Workspace.open(project.environment) as workspace:
        known = workspace.catalog.storage_id("local")
        assert known is not None
        workspace.catalog.remember_storage(SECOND, known, "somewhere")
    project.storages[SECOND].rename(project.folder / "aside")
    project.storages[SECOND].symlink_to(project.storage)

    refused = project.run("replicate", **LET_GO)

    assert (refused.returncode, "is the same place as 'local'" in refused.stderr) == (1, True)
    assert project.parts(backup, "local")
    assert "is the same place as 'local'" in project.run("storages", "--check").stderr


def test_what_was_read_back_long_ago_is_read_again_before_the_local_copy_goes(project: SpreadProject) -> None:
    backup = project.create()
    assert project.run("verify", backup).returncode == 0
    for storage in project.storages:
        path = project.storages[storage] / "metadata" / f"{backup}.state.json"
        document = json.loads(path.read_text())
        for proof in document["proofs"]:
            proof["checked_at"] = (utc_now() - timedelta(days=40)).isoformat()
        path.write_text(json.dumps(document))
    good = project.parts(backup, "local")[0].read_bytes()
    project.spoil(backup, SECOND)

    first = project.json("replicate", **LET_GO)
    second = project.json("replicate", **LET_GO)

    assert (first["local_removed"], second["local_removed"]) == ([], [backup])
    assert [copy["mended"] for copy in second["made"]] == [True]
    assert project.parts(backup, SECOND)[0].read_bytes() == good


def test_a_damaged_copy_of_the_right_size_makes_no_backup_whole(project: SpreadProject) -> None:
    backup = project.create()
    assert project.run("verify", backup).returncode == 0
    project.spoil(backup, "local")
    project.run("verify", backup)
    for part in project.parts(backup, SECOND):
        part.unlink()

    with Workspace.open(project.environment) as workspace:
        held = Holdings(workspace).read("shop").backups[backup]

    assert (held.status, held.presence, held.good) == (BackupStatus.GOOD, Presence.DAMAGED, False)


def test_a_renamed_storage_is_no_copy_more(project: SpreadProject) -> None:
    backup = project.create()
    project.storages["off-site"] = project.storages.pop(SECOND)
    project.place("local", "off-site")

    project.json("replicate")
    project.json("verify", backup)

    shown = project.backup(backup)
    assert (shown["storages"], shown["missing_copies"], shown["status"]) == (["local", "off-site"], [], "good")


def test_a_backup_does_not_stand_by_a_copy_in_a_storage_that_is_not_configured_any_more(
    project: SpreadProject,
) -> None:
    backup = project.create()
    assert project.run("verify", backup).returncode == 0
    project.spoil(backup, "local")
    second = project.storages.pop(SECOND)
    project.place("local")

    assert project.run("verify", backup).returncode == 3
    assert project.backup(backup)["status"] == "failed_verification"

    project.storages[SECOND] = second
    project.place("local", SECOND)
    assert len(project.json("replicate")["made"]) == 1
    assert project.backup(backup)["status"] == "good"


def test_the_local_copy_stays_of_an_entry_whose_backups_are_to_lie_there_alone(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()

    assert project.json("replicate", backup, "--to", SECOND, **LET_GO)["local_removed"] == []

    assert project.parts(backup, "local")
    assert project.json("replicate", **LET_GO)["wanted"] == []


def test_an_unmounted_disk_is_no_new_storage_for_a_catalogue_that_was_rebuilt_meanwhile(project: SpreadProject) -> None:
    backup = project.create()
    aside = project.folder / "aside"
    project.storages[SECOND].rename(aside)
    for path in project.folder.glob("catalog.sqlite*"):
        path.unlink()
    project.json("catalog", "reindex", exit_code=1)
    project.storages[SECOND].mkdir()  # the mount point

    assert project.json("replicate", exit_code=1, **LET_GO)["unreachable"] == [SECOND]

    assert project.parts(backup, "local")
    project.storages[SECOND].rmdir()
    aside.rename(project.storages[SECOND])
    assert project.json("replicate")["wanted"] == []


def test_a_catalogue_that_was_not_told_of_a_copy_any_more_learns_of_it(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()
    before = project.backup(backup)
    project.place("local", SECOND)
    project.json("replicate")
    with Workspace.open(project.environment) as workspace:  # as if the process had been killed just before
        found = locate(workspace, backup)
        alone = [copy for copy in found.state.copies if copy.storage == "local"]
        workspace.catalog.record(found.manifest, found.state.model_copy(update={"copies": tuple(alone), "proofs": ()}))
    assert project.backup(backup) == before

    assert project.json("replicate")["wanted"] == []

    assert project.backup(backup)["storages"] == ["local", SECOND]


def test_copies_that_are_left_to_another_replication_are_not_said_to_be_there(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()
    project.place("local", SECOND)
    with Workspace.open(project.environment) as workspace, workspace.catalog.entry_lock("copies of shop", "copying"):
        report = project.json("replicate", exit_code=1)
    assert [left["backup_id"] for left in report["left_alone"]] == [backup]
    assert (len(report["wanted"]), report["made"]) == (1, [])


def test_a_backup_that_was_not_looked_at_to_its_end_is_not_called_complete(project: SpreadProject) -> None:
    backup = project.create()
    (project.storages[SECOND] / "metadata" / f"{backup}.state.json").unlink()
    with mock.patch("db_backup.jobs.replicate.bring_states_in_line", side_effect=StorageError("read-only")):
        assert project.json("replicate", exit_code=1)["unfinished"] == [backup]
    assert project.json("replicate")["unfinished"] == []
