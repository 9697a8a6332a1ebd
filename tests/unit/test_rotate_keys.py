"""Rotation of keys over many backups: artefacts untouched, every data key re-wrapped, whatever happens on the way."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from db_backup import naming
from db_backup.catalog import AuditAct
from db_backup.encryption.key_file import generate_pair, generate_secret
from db_backup.errors import Interrupted, KeyUnavailable, StorageError
from db_backup.jobs.canary import CanaryResult, last_canary, try_keys
from db_backup.jobs.keys import list_keys
from db_backup.jobs.reindex import reindex_catalog
from db_backup.jobs.rotate_keys import RotationReport, rotate_keys
from db_backup.jobs.sidecars import read_manifest, read_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.progress import Cancellation, Silent
from db_backup.storage import LocalStorage
from support.encrypted import publish_encrypted, put_key
from support.factories import MORNING

pytestmark = pytest.mark.unit

RUN = RunInfo(origin="cli", actor="ada", host="tower")


def environment(folder: Path, key: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(folder),
        "BACKUP_CONFIG": str(folder / "backup.yaml"),
        "BACKUP_LOCAL_PATH": str(folder / "backups"),
        "BACKUP_CATALOG_PATH": str(folder / "catalog.sqlite"),
        "BACKUP_KEYS_PATH": str(folder / "keys"),
        "BACKUP_ENCRYPTION_KEY_ID": key,
    }


@contextmanager
def workspace(folder: Path, key: str) -> Iterator[Workspace]:
    with Workspace.open(environment(folder, key)) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "backup.yaml").write_text("version: 1\ndatabases: {shop: {conn_id: shop_db, engine: postgres}}\n")
    for name in ("old", "new"):
        put_key(tmp_path / "keys", generate_secret(name))
    return tmp_path


def local(opened: Workspace) -> LocalStorage:
    storage = opened.storages["local"]
    assert isinstance(storage, LocalStorage)
    return storage


def fill(folder: Path, count: int, key: str = "old") -> None:
    """So many backups, a minute apart, their data keys wrapped for this key."""
    with workspace(folder, key) as opened:
        local(opened).initialise()
        for number in range(count):
            publish_encrypted(local(opened), opened.keyring, created_at=MORNING + timedelta(minutes=number))
        reindex_catalog(opened, run=RUN)


def rotate(folder: Path, key: str = "new", *, dry_run: bool = False) -> RotationReport:
    with workspace(folder, key) as opened:
        return rotate_keys(opened, dry_run=dry_run, run=RUN, progress=Silent(), cancellation=Cancellation())


def hashes(folder: Path, of: str) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "backups" / of).iterdir()}


def assert_all_open(folder: Path, key: str) -> None:
    """Every backup's plain bytes are read with what keys there are."""
    with workspace(folder, key) as opened:
        storage = local(opened)
        for path in sorted((folder / "backups" / "database").iterdir()):
            backup_id = naming.backup_id_of_file(path.name)
            manifest, state = read_manifest(storage, backup_id), read_state(storage, backup_id)
            data_key = opened.keyring.unwrap(manifest, state)
            plain = b"".join(data_key.decrypt([path.read_bytes()], backup_id=backup_id, part=path.name))
            assert plain == backup_id.encode()


def needed(folder: Path) -> dict[str, int]:
    with workspace(folder, "new") as opened:
        return {key.name: key.backups for key in list_keys(opened).keys}


def test_a_thousand_backups_are_rewrapped_without_touching_an_artefact(folder: Path) -> None:
    fill(folder, 1000)
    artefacts, sidecars = hashes(folder, "database"), hashes(folder, "metadata")
    assert needed(folder) == {"new": 0, "old": 1000}
    report = rotate(folder)
    assert (report.rewrapped, report.already, report.failed, report.unreached) == (1000, 0, (), ())
    assert hashes(folder, "database") == artefacts
    after = hashes(folder, "metadata")
    changed = {name for name in sidecars if sidecars[name] != after[name]}
    assert changed == {name for name in sidecars if name.endswith(".state.json")}
    assert needed(folder) == {"new": 1000, "old": 0}
    (folder / "keys" / "old.json").unlink()
    assert_all_open(folder, "new")


def test_rotation_again_does_nothing(folder: Path) -> None:
    fill(folder, 3)
    rotate(folder)
    before = hashes(folder, "metadata")
    report = rotate(folder)
    assert (report.rewrapped, report.already) == (0, 3)
    assert hashes(folder, "metadata") == before


def test_rotation_is_for_the_keys_of_the_setting_and_no_others(folder: Path) -> None:
    fill(folder, 1)
    put_key(folder / "keys", generate_pair("escrow")[1])
    with Workspace.open(
        environment(folder, "old") | {"BACKUP_ENCRYPTION_KEY_ID": "new, escrow", "BACKUP_KEYS_PATH": f"{folder}/keys"}
    ) as opened:
        report = rotate_keys(opened, dry_run=False, run=RUN, progress=Silent(), cancellation=Cancellation())
    assert [(key.name, key.kind) for key in report.recipients] == [("new", "local"), ("escrow", "public")]
    assert needed(folder) == {"new": 1, "escrow": 1, "old": 0}


def test_a_dry_run_opens_every_data_key_and_changes_nothing(folder: Path) -> None:
    fill(folder, 3)
    before = hashes(folder, "metadata")
    assert rotate(folder, dry_run=True).rewrapped == 3
    (folder / "keys" / "old.json").unlink()
    report = rotate(folder, dry_run=True)
    assert (report.rewrapped, len(report.failed), report.complete) == (0, 3, False)
    assert hashes(folder, "metadata") == before


def test_killed_half_way_and_run_again_it_completes(folder: Path) -> None:
    fill(folder, 60)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AT_30],
        env=environment(folder, "new") | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    half = needed(folder)
    assert 0 < half["new"] < 60
    assert half["new"] + half["old"] == 60
    assert_all_open(folder, "new")
    report = rotate(folder)
    assert (report.rewrapped + report.already, report.failed) == (60, ())
    (folder / "keys" / "old.json").unlink()
    assert_all_open(folder, "new")


# In mid-write of the 30th state: its temporary file is there, its rename is not.
_KILLED_AT_30 = textwrap.dedent("""
    import os, signal
    from db_backup.jobs.rotate_keys import rotate_keys
    from db_backup.jobs.workspace import Workspace
    from db_backup.manifest import RunInfo
    from db_backup.progress import Cancellation, Silent

    replaced, written = os.replace, [0]

    def replace(source, target, **options):
        if str(target).endswith(".state.json"):
            written[0] += 1
            if written[0] == 30:
                os.kill(os.getpid(), signal.SIGKILL)
        return replaced(source, target, **options)

    os.replace = replace
    run = RunInfo(origin="cli", actor="ada", host="tower")
    with Workspace.open() as opened:
        rotate_keys(opened, dry_run=False, run=run, progress=Silent(), cancellation=Cancellation())
""")


def test_stopped_by_a_person_it_says_how_far_it_came_and_how_to_go_on(folder: Path) -> None:
    fill(folder, 3)
    cancellation = Cancellation()

    class StopsAtOnce(Silent):
        def stage(self, description: str, total_bytes: int | None = None) -> None:
            cancellation.cancel("by hand")

    with workspace(folder, "new") as opened, pytest.raises(Interrupted, match="1 rewrapped") as stop:
        rotate_keys(opened, dry_run=False, run=RUN, progress=StopsAtOnce(), cancellation=cancellation)
    assert "keys rotate" in stop.value.hint
    assert needed(folder) == {"new": 1, "old": 2}


def test_a_backup_that_no_key_opens_fails_alone(folder: Path) -> None:
    put_key(folder / "keys", generate_secret("lost"))
    with workspace(folder, "lost") as opened:
        local(opened).initialise()
        lost, _ = publish_encrypted(local(opened), opened.keyring)
    (folder / "keys" / "lost.json").unlink()
    with workspace(folder, "old") as opened:
        publish_encrypted(local(opened), opened.keyring, created_at=MORNING + timedelta(minutes=1))
        reindex_catalog(opened, run=RUN)
    report = rotate(folder)
    assert (report.rewrapped, [failed.backup_id for failed in report.failed]) == (1, [lost.id])
    assert "'lost'" in report.failed[0].error
    assert not report.complete
    with workspace(folder, "new") as opened:
        listed = {key.name: key for key in list_keys(opened).keys}
        assert (listed["lost"].backups, listed["lost"].alone, listed["lost"].opens) == (1, 1, False)
        assert "not here" in listed["lost"].error


def test_nothing_is_done_when_the_new_key_is_not_here(folder: Path) -> None:
    fill(folder, 1)
    with pytest.raises(KeyUnavailable, match="elsewhere"):
        rotate(folder, "elsewhere")
    assert needed(folder) == {"new": 0, "old": 1}


def test_a_storage_that_does_not_answer_is_told_and_the_old_key_is_still_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, 2)
    with workspace(folder, "new") as opened:
        silent = LocalStorage("vault", folder / "vault", group="", expected_id=None)
        monkeypatch.setattr(silent, "list", _does_not_answer)
        monkeypatch.setattr(silent, "read_document", _does_not_answer)
        opened.storages = {**opened.storages, "vault": silent}
        report = rotate_keys(opened, dry_run=False, run=RUN, progress=Silent(), cancellation=Cancellation())
    assert report.rewrapped == 2
    assert not report.complete
    (told,) = report.unreached
    assert "'vault'" in told


def _does_not_answer(*_arguments: object) -> None:
    raise StorageError("The line is down.", hint="Wait.")


def test_rotation_is_audited_with_names_and_fingerprints_and_no_key(folder: Path) -> None:
    fill(folder, 1)
    rotate(folder)
    with workspace(folder, "new") as opened:
        done = opened.catalog.audit_trail(act=AuditAct.KEY, limit=1)[0]
    assert "rotate to new" in done.detail
    assert "1 rewrapped" in done.detail


# The canary


def test_the_canary_opens_the_newest_encrypted_backup_of_every_entry(folder: Path) -> None:
    fill(folder, 2)
    with workspace(folder, "old") as opened:
        (canary,) = try_keys(opened, run=RUN)
        assert (canary.entry, canary.result) == ("shop", CanaryResult.OPENED)
        assert canary.backup_id.endswith("03-01-00")
        known = last_canary(opened, "shop")
        assert known is not None
        assert (known.result, known.backup_id, known.reason) == (CanaryResult.OPENED, canary.backup_id, "")


def test_the_canary_is_not_deceived_by_a_data_key_that_is_at_hand(folder: Path) -> None:
    with workspace(folder, "old") as opened:
        local(opened).initialise()
        publish_encrypted(local(opened), opened.keyring)
        reindex_catalog(opened, run=RUN)
        (folder / "keys" / "old.json").unlink()
        (canary,) = try_keys(opened, run=RUN)
        assert canary.result is CanaryResult.FAILED
        assert "old.json does not exist" in canary.reason
        known = last_canary(opened, "shop")
        assert known is not None
        assert known.result is CanaryResult.FAILED


def test_the_canary_says_that_only_an_offline_key_could_tell(folder: Path) -> None:
    put_key(folder / "keys", generate_pair("safe")[1])
    fill(folder, 1, "safe")
    with workspace(folder, "safe") as opened:
        (canary,) = try_keys(opened, run=RUN)
        known = last_canary(opened, "shop")
    assert known is not None
    assert canary.result is known.result is CanaryResult.OFFLINE
    assert "offline" in known.reason
