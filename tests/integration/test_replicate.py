"""db-backup replicate: missing copies are made and damaged ones mended; local ones go where they are not to stay."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from db_backup.errors import ObjectLocked, StorageAccessDenied, StorageFull
from db_backup.jobs.contents import check_copy
from db_backup.model import ConnectionInfo, EngineName
from db_backup.storage import LocalStorage
from db_backup.storage.local import _LocalSink
from support.several_storages import SECOND, THIRD, SpreadProject

pytestmark = pytest.mark.integration


def shop_file(folder: Path) -> ConnectionInfo:
    source = folder / "shop.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {n}",) for n in range(2000)])
    database.close()
    return ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))


@pytest.fixture
def project(tmp_path: Path) -> SpreadProject:
    return SpreadProject(tmp_path / "project", {"shop": shop_file(tmp_path)}, storages=(SECOND, THIRD))


def down(project: SpreadProject, storage: str) -> Path:
    """The disk of this storage is not mounted."""
    aside = project.storages[storage].with_name(f"{storage}-aside")
    project.storages[storage].rename(aside)
    return aside


def told(state: dict[str, Any]) -> dict[str, Any]:
    """What a state says of each copy."""
    return {copy["storage"]: copy for copy in state["copies"]}


def test_a_storage_that_was_down_while_the_backup_was_made_gets_its_copy(project: SpreadProject) -> None:
    project.create()
    aside = down(project, SECOND)
    backup = project.create()
    shown = project.backup(backup)
    assert (sorted(shown["storages"]), shown["missing_copies"]) == (["local", THIRD], [SECOND])
    unreachable = project.json("replicate", exit_code=1)
    assert (unreachable["made"], unreachable["unreachable"]) == ([], [SECOND])

    aside.rename(project.storages[SECOND])
    report = project.json("replicate")

    (made,) = report["made"]
    assert (made["backup_id"], made["storage"], made["read_from"], made["mended"]) == (backup, SECOND, "local", False)
    assert project.parts(backup, SECOND)[0].read_bytes() == project.parts(backup, "local")[0].read_bytes()
    shown = project.backup(backup)
    assert (sorted(shown["storages"]), shown["missing_copies"]) == (["local", SECOND, THIRD], [])
    assert told(project.state(backup, SECOND)) == told(project.state(backup, THIRD))
    assert project.json("replicate")["wanted"] == []
    acts = [act for act in project.json("audit")["acts"] if act["act"] == "replicate"]
    assert [(act["backup_id"], act["outcome"]) for act in acts] == [(backup, "done"), (backup, "started")]


def test_a_storage_that_is_configured_later_gets_all_that_there_is_and_a_dry_run_makes_nothing(
    project: SpreadProject,
) -> None:
    project.place("local")
    backups = [project.create(), project.create()]
    project.place("local", THIRD)

    planned = project.json("replicate", "--dry-run")
    assert [(copy["backup_id"], copy["storage"]) for copy in planned["wanted"]] == [(one, THIRD) for one in backups]
    assert not any(project.parts(one, THIRD) for one in backups)
    assert len(project.json("replicate")["made"]) == 2

    shutil.rmtree(project.storage / "database")
    shutil.rmtree(project.storage / "metadata")
    project.json("catalog", "reindex")
    assert project.run("verify", backups[0], "--level", "archive").returncode == 0


def test_a_damaged_copy_is_mended_and_its_good_parts_stay_as_they_were(project: SpreadProject) -> None:
    backup = project.create()
    good = project.parts(backup, "local")[0].read_bytes()
    project.spoil(backup, SECOND)
    assert project.run("download", backup, "--from-storage", SECOND).returncode == 3

    (made,) = project.json("replicate")["made"]

    assert (made["storage"], made["mended"]) == (SECOND, True)
    assert project.parts(backup, SECOND)[0].read_bytes() == good
    assert project.run("download", backup, "--from-storage", SECOND).returncode == 0
    assert project.json("replicate")["wanted"] == []


@pytest.mark.parametrize("what", ["part", "manifest", "state", "everything"])
def test_what_was_removed_from_a_storage_is_put_back(project: SpreadProject, what: str) -> None:
    backup = project.create()
    second = project.storages[SECOND]
    lost = {
        "part": project.parts(backup, SECOND),
        "manifest": [second / "metadata" / f"{backup}.json"],
        "state": [second / "metadata" / f"{backup}.state.json"],
    }
    for path in lost[what] if what in lost else [path for paths in lost.values() for path in paths]:
        path.unlink()

    project.json("replicate")

    assert project.parts(backup, SECOND)[0].read_bytes() == project.parts(backup, "local")[0].read_bytes()
    assert told(project.state(backup, SECOND)) == told(project.state(backup, "local"))
    assert project.json("replicate", "--dry-run")["wanted"] == []


def test_a_source_that_turns_out_to_be_damaged_is_passed_over_and_marked(project: SpreadProject) -> None:
    project.place("local", SECOND)
    backup = project.create()
    project.spoil(backup, "local")
    project.place("local", SECOND, THIRD)

    report = project.json("replicate")

    (made,) = [copy for copy in report["made"] if copy["storage"] == THIRD]
    assert made["read_from"] == SECOND
    assert [passed["storage"] for passed in made["passed_over"]] == ["local"]
    assert project.parts(backup, THIRD)[0].read_bytes() == project.parts(backup, SECOND)[0].read_bytes()
    # the next run knows of the damage, and mends it
    assert [copy["storage"] for copy in project.json("replicate")["made"]] == ["local"]
    assert project.parts(backup, "local")[0].read_bytes() == project.parts(backup, SECOND)[0].read_bytes()


def test_where_every_copy_is_damaged_nothing_is_made_and_nothing_is_left(project: SpreadProject) -> None:
    project.place("local", SECOND)
    backup = project.create()
    project.spoil(backup, "local")
    project.spoil(backup, SECOND)
    project.place("local", SECOND, THIRD)

    report = project.json("replicate", "--to", THIRD, exit_code=1)

    (failed,) = report["failed"]
    assert "'local'" in failed["error"]
    assert f"'{SECOND}'" in failed["error"]
    assert project.parts(backup, THIRD) == []
    assert not (project.storages[THIRD] / "metadata" / f"{backup}.json").exists()
    assert project.backup(backup)["status"] == "failed_verification"


def test_a_full_disk_stops_nothing_else_and_leaves_nothing(project: SpreadProject) -> None:
    project.place("local")
    backups = [project.create(), project.create()]
    project.place("local", SECOND, THIRD)
    write = _LocalSink.write

    def full(sink: _LocalSink, block: bytes) -> None:
        if sink._place.storage == SECOND:
            raise StorageFull("The storage 'second' is full.", hint="Make room.")
        write(sink, block)

    with mock.patch.object(_LocalSink, "write", full):
        report = project.json("replicate", exit_code=1)

    assert [copy["storage"] for copy in report["made"]] == [THIRD, THIRD]
    assert [failed["backup_id"] for failed in report["failed"]] == backups[:1]  # not tried again for the second
    assert not any(project.parts(backup, SECOND) for backup in backups)
    assert project.backup(backups[0])["missing_copies"] == [SECOND]
    assert len(project.json("replicate")["made"]) == 2


KILLED = """
import os, signal, sys
from db_backup.storage import LocalStorage
create = LocalStorage.create
def die(storage, key, content):
    if storage.name == "third":
        os.kill(os.getpid(), signal.SIGKILL)
    create(storage, key, content)
LocalStorage.create = die
from db_backup.cli.main import main
main(["replicate"])
"""


def test_killed_between_the_parts_and_the_manifest_it_goes_on_when_it_is_run_again(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()
    project.place("local", THIRD)

    done = project.run_process([sys.executable, "-c", KILLED])

    assert done.returncode == -signal.SIGKILL
    part = project.parts(backup, THIRD)[0]
    written = part.stat().st_mtime_ns, part.stat().st_ino
    assert project.backup(backup)["storages"] == ["local"]  # parts without a manifest are no copy
    (made,) = project.json("replicate")["made"]
    assert made["storage"] == THIRD
    assert (part.stat().st_mtime_ns, part.stat().st_ino) == written  # what was whole was not copied again
    assert sorted(project.backup(backup)["storages"]) == ["local", THIRD]


def test_what_a_killed_replication_left_goes_with_its_backup(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()
    project.place("local", THIRD)
    project.run_process([sys.executable, "-c", KILLED])
    assert project.parts(backup, THIRD)

    assert project.run("delete", backup, "--force").returncode == 0

    assert project.parts(backup, THIRD) == []


def test_what_a_killed_replication_was_writing_goes_with_the_next_one(project: SpreadProject) -> None:
    project.place("local")
    backup = project.create()
    killed = KILLED.replace("LocalStorage.create", "_LocalSink.commit").replace("(storage, key, content)", "(storage)")
    killed = killed.replace("storage.name", "storage._place.storage").replace(
        "import LocalStorage", "import LocalStorage\nfrom db_backup.storage.local import _LocalSink"
    )
    done = project.run_process([sys.executable, "-c", killed.replace('"replicate"', f'"replicate", "--to", "{THIRD}"')])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list((project.storages[THIRD] / "database").iterdir())) == 1
    assert project.run("delete", backup, "--force").returncode == 0

    assert project.json("replicate")["wanted"] == []

    assert list((project.storages[THIRD] / "database").iterdir()) == []


def test_leavings_that_may_not_go_yet_stop_no_copy(project: SpreadProject, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(storage: LocalStorage, *, older_than: timedelta) -> tuple[str, ...]:
        raise ObjectLocked(f"In {storage.name} something may not go yet.", hint="Wait.")

    project.place("local")
    backup = project.create()
    project.place("local", SECOND)
    monkeypatch.setattr(LocalStorage, "sweep", locked)

    done = project.json("replicate")

    assert [copy["backup_id"] for copy in done["made"]] == [backup]
    assert (
        "What killed runs left was not taken away to the end: In local something may not go yet. Wait."
        in done["warnings"]
    )


def test_of_a_backup_that_is_named_everything_that_it_needs_is_copied(tmp_path: Path) -> None:
    project = SpreadProject(tmp_path / "project", {"shop": shop_file(tmp_path)}, storages=(SECOND,))
    project.place("local")
    chain(project)
    full, other = project.create(), None
    links = [project.create("shop", "--type", "incremental") for _ in range(2)]
    other = project.create("shop", "--type", "structure")

    report = project.json("replicate", links[-1], "--to", SECOND)

    assert [copy["backup_id"] for copy in report["made"]] == [full, *links]
    assert project.parts(other, SECOND) == []


def chain(project: SpreadProject) -> None:
    import yaml

    document = yaml.safe_load(project.config.read_text())
    document["databases"]["shop"]["types"] = ["full", "incremental", "structure"]
    project.config.write_text(yaml.safe_dump(document))


def test_a_pin_that_a_storage_missed_reaches_it_later(project: SpreadProject) -> None:
    backup = project.create()
    aside = down(project, SECOND)
    assert project.run("pin", backup).returncode == 0
    aside.rename(project.storages[SECOND])
    assert project.state(backup, SECOND)["pinned"] is False

    project.json("replicate")

    assert project.state(backup, SECOND)["pinned"] is True


def test_what_is_changed_while_a_copy_is_being_made_holds_for_that_copy_too(project: SpreadProject) -> None:
    project.environment["BACKUP_KEYS_PATH"] = str(project.folder / "keys")
    for name in ("default", "newer"):
        assert project.run("keys", "generate", name).returncode == 0
    project.place("local")
    backup = project.create("shop", "--encrypt")
    assert project.run("pin", backup).returncode == 0
    project.place("local", THIRD)

    def meanwhile(*arguments: Any) -> None:
        check_copy(*arguments)
        assert project.run("unpin", backup).returncode == 0
        assert project.json("keys", "rotate", BACKUP_ENCRYPTION_KEY_ID="newer")["rewrapped"] == 1

    with mock.patch("db_backup.jobs.copying.check_copy", meanwhile):
        assert len(project.json("replicate")["made"]) == 1

    state = project.state(backup, THIRD)
    assert [wrapped["recipient"] for wrapped in state["wrapped_keys"]] == ["newer"]
    assert not state["pinned"]
    assert not project.backup(backup)["pinned"]


def test_a_storage_that_nobody_knows_is_refused(project: SpreadProject) -> None:
    done = project.run("replicate", "--to", "secnd")
    assert done.returncode == 2
    assert "second" in done.stderr


# The local copy that is not to stay


def without_local(project: SpreadProject) -> None:
    project.environment["BACKUP_KEEP_LOCAL_COPY"] = "false"


def test_the_local_copy_goes_once_another_was_read_back(project: SpreadProject) -> None:
    project.environment["BACKUP_KEEP_LOCAL_COPY"] = "false"
    (made,) = project.json("create", "shop")["backups"]

    assert project.parts(made["id"], "local") == []
    assert sorted(project.backup(made["id"])["storages"]) == [SECOND, THIRD]
    assert project.backup(made["id"])["missing_copies"] == []
    assert project.backup(made["id"])["status"] == "good"
    acts = [act["outcome"] for act in project.json("audit")["acts"] if act["act"] == "remove_copy"]
    assert acts == ["done", "started"]
    assert project.json("replicate")["wanted"] == []
    copy = project.folder / "copy.sqlite"
    assert project.json("restore", made["id"], "--as", str(copy))["read_from"] == {made["id"]: SECOND}


def test_the_only_copy_stays_until_the_other_storage_has_one(project: SpreadProject) -> None:
    project.place("local", SECOND)
    project.create()
    without_local(project)
    aside = down(project, SECOND)
    (made,) = project.json("create", "shop")["backups"]
    assert project.parts(made["id"], "local")

    aside.rename(project.storages[SECOND])
    report = project.json("replicate")

    assert made["id"] in report["local_removed"]
    assert project.parts(made["id"], "local") == []
    assert project.backup(made["id"])["storages"] == [SECOND]


def test_the_local_copy_stays_where_the_other_one_is_damaged(project: SpreadProject) -> None:
    project.place("local", SECOND)
    backup = project.create()
    project.spoil(backup, SECOND)
    without_local(project)

    with mock.patch.object(LocalStorage, "open_sink", side_effect=StorageFull("The disk is full.", hint="Make room.")):
        assert project.json("replicate", exit_code=0)["local_removed"] == []
    assert project.parts(backup, "local")
    # the reading found the damage: it is mended first, and only then the local copy goes
    assert project.json("replicate")["local_removed"] == [backup]
    assert project.backup(backup)["storages"] == [SECOND]


def test_the_local_copy_stays_while_what_its_state_knows_stands_nowhere_else(project: SpreadProject) -> None:
    project.environment["BACKUP_KEYS_PATH"] = str(project.folder / "keys")
    assert project.run("keys", "generate", "default").returncode == 0
    project.place("local", SECOND)
    backup = project.create("shop", "--encrypt")
    assert project.run("verify", backup).returncode == 0
    (project.storages[SECOND] / "metadata" / f"{backup}.state.json").unlink()
    assert project.run("pin", backup).returncode == 0
    (project.storages[SECOND] / "metadata" / f"{backup}.state.json").unlink()
    without_local(project)
    replace = LocalStorage.replace

    def denied(storage: LocalStorage, *arguments: Any, **named: Any) -> Any:
        if storage.name == SECOND:
            raise StorageAccessDenied("The storage 'second' is read-only.", hint="Change that.")
        return replace(storage, *arguments, **named)

    with mock.patch.object(LocalStorage, "replace", denied):
        project.run("replicate")
    assert project.parts(backup, "local")

    assert project.json("replicate")["local_removed"] == [backup]
    state = project.state(backup, SECOND)
    assert (len(state["wrapped_keys"]), state["pinned"]) == (1, True)


def test_a_local_copy_that_is_gone_is_not_shown_where_the_others_could_not_be_told(project: SpreadProject) -> None:
    project.place("local", SECOND)
    without_local(project)
    replace = LocalStorage.replace

    def denied(storage: LocalStorage, *arguments: Any, **named: Any) -> Any:
        if storage.name == SECOND and not any((project.storage / "metadata").glob("*.state.json")):
            raise StorageAccessDenied("The storage 'second' is read-only.", hint="Change that.")
        return replace(storage, *arguments, **named)

    with mock.patch.object(LocalStorage, "replace", denied):
        (made,) = project.json("create", "shop")["backups"]

    assert project.parts(made["id"], "local") == []
    assert project.backup(made["id"])["storages"] == [SECOND]
    assert not any("stays" in warning for warning in made["warnings"])
    assert project.json("replicate")["local_removed"] == [made["id"]]
    assert [copy["storage"] for copy in project.state(made["id"], SECOND)["copies"]] == [SECOND]


def test_a_backup_that_somebody_reads_keeps_its_local_copy(project: SpreadProject) -> None:
    project.place("local", SECOND)
    backup = project.create()
    without_local(project)
    from db_backup.catalog import Catalog

    with Catalog.open(project.catalog) as catalog, catalog.lease(backup, "restore"):
        assert project.json("replicate")["local_removed"] == []
    assert project.parts(backup, "local")
    assert project.json("replicate")["local_removed"] == [backup]


def test_what_a_killed_removal_left_is_removed_by_the_next(project: SpreadProject) -> None:
    project.place("local", SECOND)
    backup = project.create()
    (project.storage / "metadata" / f"{backup}.json").unlink()  # which goes first
    without_local(project)

    assert project.json("replicate")["local_removed"] == [backup]

    assert project.parts(backup, "local") == []
    assert not (project.storage / "metadata" / f"{backup}.state.json").exists()
    assert json.dumps(project.state(backup, SECOND)["copies"]).count("storage_id") == 1


def test_an_increment_follows_a_full_whose_local_copy_is_gone(tmp_path: Path) -> None:
    project = SpreadProject(tmp_path / "project", {"shop": shop_file(tmp_path)}, storages=(SECOND,))
    chain(project)
    without_local(project)
    (full,) = project.json("create", "shop")["backups"]
    assert project.parts(full["id"], "local") == []

    (increment,) = project.json("create", "shop", "--type", "incremental", "--no-full")["backups"]

    assert (increment["parent_id"], increment["type"]) == (full["id"], "incremental")
    assert project.run("verify", increment["id"], "--level", "restore").returncode == 0
