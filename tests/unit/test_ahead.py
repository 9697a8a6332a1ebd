"""Many small requests to an object storage: several on their way at once, the answers in order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from db_backup import naming
from db_backup.encryption.key_file import generate_secret
from db_backup.errors import Interrupted, ManifestError, StorageError
from db_backup.jobs.ahead import copies_ahead, worked_ahead
from db_backup.jobs.holdings import Holdings
from db_backup.jobs.rotate_keys import rotate_keys
from db_backup.jobs.sidecars import read_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.progress import Cancellation, Silent
from db_backup.settings.addresses import StorageAddress
from db_backup.storage import LocalStorage, ObjectStorage
from db_backup.storage.base import Document
from support.encrypted import publish_encrypted, put_key
from support.factories import MORNING

pytestmark = pytest.mark.unit

RUN = RunInfo(origin="cli", actor="ada", host="tower")
LONGEST_SECONDS = 60  # that a test waits for what does not come


class Remote(LocalStorage):
    """A folder that takes several requests at once, as object storages do; what is read of it, and by which threads.

    ``together``: documents that are given out only when as many are asked for as the barrier has parties.
    """

    requests_at_once = 4

    def __init__(self, folder: Path) -> None:
        super().__init__("local", folder, group="", expected_id=None)
        self.read_by: dict[str, int] = {}
        self.together: dict[str, threading.Barrier] = {}

    def read_document(self, key: str) -> Document:
        self.read_by[key] = threading.get_ident()
        if key in self.together:
            self.together[key].wait(LONGEST_SECONDS)
        return super().read_document(key)


class Folder(Remote):
    requests_at_once = 1


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "backup.yaml").write_text("version: 1\ndatabases: {shop: {conn_id: shop_db, engine: postgres}}\n")
    for name in ("default", "new"):
        put_key(tmp_path / "keys", generate_secret(name))
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(tmp_path),
        "BACKUP_CONFIG": str(tmp_path / "backup.yaml"),
        "BACKUP_CATALOG_PATH": str(tmp_path / "catalog.sqlite"),
        "BACKUP_KEYS_PATH": str(tmp_path / "keys"),
    }
    with Workspace.open(environment) as opened:
        yield opened


def filled(workspace: Workspace, storage: Remote, count: int = 8) -> list[str]:
    """The ids of so many backups in this storage, which takes the place of `local`."""
    workspace.storages = {"local": storage}
    storage.initialise()
    ids = []
    for number in range(count):
        manifest, _ = publish_encrypted(storage, workspace.keyring, created_at=MORNING + timedelta(minutes=number))
        ids.append(manifest.id)
    storage.read_by.clear()
    return ids


# Work


def test_answers_come_in_the_order_of_the_questions_and_failures_at_their_place() -> None:
    later = threading.Event()

    def work(number: int) -> int:
        if number == 1:
            later.wait(LONGEST_SECONDS)  # for one that was begun after it
        if number == 2:
            later.set()
        if number == 5:
            raise StorageError("The fifth is lost.")
        return number

    answers: list[int | str] = []
    for number, answer in worked_ahead(work, range(12), at_once=3):
        try:
            answers.append(answer())
        except StorageError as error:
            assert number == 5
            answers.append(error.message)
    assert answers == [0, 1, 2, 3, 4, "The fifth is lost.", 6, 7, 8, 9, 10, 11]


def test_no_more_are_at_work_than_may_be() -> None:
    at_work = threading.Semaphore(3)

    def work(number: int) -> int:
        assert at_work.acquire(blocking=False)
        threading.Event().wait(0.001)
        at_work.release()
        return number

    assert [answer() for _, answer in worked_ahead(work, range(50), at_once=3)] == list(range(50))


def test_who_finds_what_he_looks_for_in_the_first_has_begun_no_other() -> None:
    begun: list[int] = []
    for _, answer in worked_ahead(begun.append, range(100), at_once=16):
        answer()
        break
    assert begun == [0]


def test_one_at_a_time_is_the_callers_own_work_when_he_asks() -> None:
    begun: list[tuple[int, int]] = []
    work = worked_ahead(lambda number: begun.append((number, threading.get_ident())), range(3), at_once=1)
    for number, answer in work:
        assert len(begun) == number
        answer()
    assert begun == [(number, threading.get_ident()) for number in range(3)]


# Sidecars


def test_sidecars_of_an_object_storage_are_read_at_the_same_time(workspace: Workspace, tmp_path: Path) -> None:
    storage = Remote(tmp_path / "remote")
    ids = filled(workspace, storage)
    both = threading.Barrier(2)
    storage.together = {naming.manifest_key(backup_id): both for backup_id in ids[1:3]}

    found = [(backup_id, copies().manifest.id) for backup_id, copies in copies_ahead(workspace, ids)]

    assert found == [(backup_id, backup_id) for backup_id in ids]
    assert threading.get_ident() not in storage.read_by.values()


def test_sidecars_of_a_folder_are_read_by_whoever_asks(workspace: Workspace, tmp_path: Path) -> None:
    storage = Folder(tmp_path / "folder")
    ids = filled(workspace, storage)
    assert [copies().manifest.id for _, copies in copies_ahead(workspace, ids)] == ids
    assert set(storage.read_by.values()) == {threading.get_ident()}


def test_object_storages_take_many_requests_at_once_and_folders_one(tmp_path: Path) -> None:
    address = StorageAddress.parse("s3://bucket/backups")
    assert ObjectStorage("s3", address, lambda: pytest.fail("It was opened.")).requests_at_once == 16
    assert LocalStorage("local", tmp_path, group="", expected_id=None).requests_at_once == 1


@pytest.mark.parametrize("storage", [Remote, Folder])
def test_a_sidecar_that_cannot_be_read_is_told_of_its_own_backup(
    workspace: Workspace, tmp_path: Path, storage: type[Remote]
) -> None:
    root = tmp_path / "place"
    ids = filled(workspace, storage(root))
    (root / naming.manifest_key(ids[3])).write_text("{")
    (root / naming.state_key(ids[5])).unlink()
    (root / naming.manifest_key(ids[5])).unlink()

    found = {backup_id: copies() for backup_id, copies in copies_ahead(workspace, ids)}

    assert list(found) == ids
    assert [backup_id for backup_id, copies in found.items() if copies.found] == [
        backup_id for backup_id in ids if backup_id not in {ids[3], ids[5]}
    ]
    assert isinstance(found[ids[3]].unreadable["local"], ManifestError)
    assert found[ids[5]].state is None
    assert "cannot be read" in Holdings(workspace).read("shop").unreadable


def test_a_storage_that_does_not_answer_is_told_for_each_backup(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Remote(tmp_path / "remote")
    ids = filled(workspace, storage)

    def is_down(_key: str) -> Document:
        raise StorageError("The line is down.")

    monkeypatch.setattr(storage, "read_document", is_down)
    for _, copies in copies_ahead(workspace, ids):
        (silent,) = copies().unasked
        assert silent.error.message == "The line is down."


# Rotation


def test_a_rotation_that_is_stopped_tells_of_all_that_were_at_work(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Remote(tmp_path / "remote")
    ids = filled(workspace, storage, 60)
    cancellation = Cancellation()
    written: list[str] = []
    replace = storage.replace

    def replaced(key: str, content: bytes, *, version: str | None) -> None:
        replace(key, content, version=version)
        written.append(key)
        if len(written) == 10:
            cancellation.cancel("by hand")

    monkeypatch.setattr(storage, "replace", replaced)
    workspace.keyring.recipients = ("new",)
    with pytest.raises(Interrupted) as stop:
        rotate_keys(workspace, dry_run=False, run=RUN, progress=Silent(), cancellation=cancellation)

    assert 10 <= len(written) < len(ids)
    assert f"{len(written)} rewrapped" in stop.value.message


def test_a_rotation_in_parallel_rewraps_every_backup(workspace: Workspace, tmp_path: Path) -> None:
    storage = Remote(tmp_path / "remote")
    ids = filled(workspace, storage, 30)
    workspace.keyring.recipients = ("new",)
    report = rotate_keys(workspace, dry_run=False, run=RUN, progress=Silent(), cancellation=Cancellation())
    assert (report.rewrapped, report.failed) == (30, ())
    wraps = [read_state(storage, backup_id).wrapped_keys for backup_id in ids]
    assert {tuple(wrap.recipient for wrap in own) for own in wraps} == {("new",)}
