"""What must hold after every fault: asked of the storage, the catalogue, the processes and the temporary folders."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from db_backup.catalog import AttemptOutcome
from db_backup.catalog.database import Database
from db_backup.catalog.tables import leases, locks
from db_backup.jobs.workspace import Workspace
from support import processes
from support.project import Project

_LAST_BREATHS_SECONDS = 30  # a server whose parent was killed notices, and ends what it is at


def with_temporary_folder(project: Project) -> Project:
    """Give it a TMPDIR of its own, in which litter shows, and by which its processes are known."""
    folder = project.scratch / "tmp"
    folder.mkdir(mode=0o755)
    project.environment["TMPDIR"] = str(folder)
    return project


def assert_every_published_backup_is_whole(project: Project) -> None:
    """At any moment, also right after a SIGKILL: what has a manifest has all its bytes, unless it is being deleted."""
    for path in _manifests(project):
        manifest = json.loads(path.read_bytes())
        state = path.with_suffix(".state.json")
        if state.exists() and json.loads(state.read_bytes()).get("tombstone"):
            continue
        for part in manifest["parts"]:
            content = (project.storage / "database" / part["path"]).read_bytes()
            assert len(content) == part["stored_bytes"], part["path"]
            assert hashlib.sha256(content).hexdigest() == part["stored_sha256"], part["path"]


def assert_nothing_else_is_stored(project: Project) -> None:
    """After the sweep: every file belongs to a manifest, and none is hidden but the lock that stays."""
    expected = set()
    for path in _manifests(project):
        expected |= {f"metadata/{path.name}", f"metadata/{path.stem}.state.json"}
        expected |= {f"database/{part['path']}" for part in json.loads(path.read_bytes())["parts"]}
    assert project.files() - {".lock"} == expected


def assert_no_process_is_left(project: Project) -> None:
    """None of ours, none of a tool, none of a scratch server."""
    deadline = time.monotonic() + _LAST_BREATHS_SECONDS
    while left := processes.at_work_in(project.scratch):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


# A process that is killed as it starts may leave the file with which the module tempfile tries a folder out.
_PROBES_OF_TEMPFILE = {b"", b"blat"}


def assert_no_temporary_file_is_left(project: Project) -> None:
    folder = Path(project.environment["TMPDIR"])
    found = [path for place in (project.scratch, folder) for path in place.iterdir() if path != folder]
    left = [path.name for path in found if path.is_dir() or path.read_bytes() not in _PROBES_OF_TEMPFILE]
    assert not left, left


def assert_no_claim_is_left(project: Project) -> None:
    """No lock, no lease, no attempt without an end: dead ones are released by the next run."""
    database = Database.open(project.catalog)
    with database.read() as connection:
        held = [connection.scalar(select(func.count()).select_from(table)) for table in (locks, leases)]
    database.close()
    assert held == [0, 0]
    with Workspace.open(project.environment) as workspace:
        assert workspace.catalog.abandoned_attempts() == []
        assert {attempt.outcome for attempt in workspace.catalog.attempts()} <= set(AttemptOutcome)


def assert_all_is_well(project: Project, *, entry: str, earlier: Collection[str]) -> str:
    """After a fault has passed: the next `create` of the entry works, and sweeps; returns the new backup's id.

    :param earlier: ids of backups that were there before the fault; they must be there still, and verify.
    """
    assert_every_published_backup_is_whole(project)
    assert_no_process_is_left(project)
    (backup,) = project.json("create", entry, "--no-verify", "--no-cleanup")["backups"]
    with Workspace.open(project.environment) as workspace:
        assert {*earlier, backup["id"]} <= set(workspace.catalog.ids())
    for backup_id in (*earlier, backup["id"]):
        (proof,) = project.json("verify", backup_id, "--level", "checksum")["proofs"]
        assert proof["result"] == "passed", proof
    assert_nothing_else_is_stored(project)
    assert_no_temporary_file_is_left(project)
    assert_no_claim_is_left(project)
    assert project.json("catalog", "check")["problems"] == []
    return str(backup["id"])


def failure_of(said: dict[str, Any], *, entry: str) -> dict[str, str]:
    """The one failure of a `create --json`: it names the database and what to do."""
    assert said["backups"] == []
    (failed,) = said["failed"]
    assert failed["database"] == entry
    assert failed["hint"]
    found: dict[str, str] = failed
    return found


def _manifests(project: Project) -> list[Path]:
    folder = project.storage / "metadata"
    return [path for path in folder.glob("*.json") if not path.name.endswith(".state.json")]
