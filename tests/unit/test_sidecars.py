"""State and catalogue: several writers of one backup, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup import naming
from db_backup.errors import Refused, UnknownBackup
from db_backup.jobs.copies import leased, locate, record_newest, reserve, update_state
from db_backup.jobs.pins import set_pin
from db_backup.jobs.sidecars import rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State, Tombstone
from db_backup.model import utc_now
from support.history import past_backup, publish
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.unit


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    project = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")})
    with Workspace.open(project.environment) as opened:
        yield opened


@pytest.fixture
def backup_id(workspace: Workspace) -> str:
    return publish(workspace, [past_backup(1)])[0]


def pinned(state: State) -> State:
    return state.model_copy(update={"pinned": True})


def test_who_records_last_has_recorded_the_newest_state(
    workspace: Workspace, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rewrites; before it records, another rewrites and records: the older state comes last."""
    located = locate(workspace, backup_id)
    record = workspace.catalog.record
    written: list[bool] = []

    def slowly(manifest: Manifest, state: State) -> None:
        if not written:
            written.append(True)
            record(manifest, rewrite_state(located.storage, backup_id, pinned))
        record(manifest, state)

    monkeypatch.setattr(workspace.catalog, "record", slowly)
    suspected = update_state(
        workspace, located, lambda state: state.model_copy(update={"suspect_reason": "sizes differ"})
    )

    assert (suspected.pinned, suspected.suspect_reason) == (True, "sizes differ")
    listed = workspace.catalog.get(backup_id)
    assert (listed.pinned, listed.status) == (True, "suspect")


def test_a_backup_that_is_deleted_while_its_state_is_recorded_is_forgotten(
    workspace: Workspace, backup_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = locate(workspace, backup_id)
    record = workspace.catalog.record

    def deleted_first(*pair: Any) -> None:
        for key in (naming.manifest_key(backup_id), naming.state_key(backup_id)):
            located.storage.delete(key)
        record(*pair)

    monkeypatch.setattr(workspace.catalog, "record", deleted_first)
    with pytest.raises(UnknownBackup, match="deleted meanwhile"):
        record_newest(workspace, located)
    assert list(workspace.catalog.ids()) == []


def test_a_backup_that_was_deleted_since_it_was_located_is_not_leased(workspace: Workspace, backup_id: str) -> None:
    located = locate(workspace, backup_id)
    located.storage.delete(naming.manifest_key(backup_id))
    with pytest.raises(UnknownBackup, match="deleted meanwhile"), leased(workspace, located, "restore"):
        pass
    assert workspace.catalog.leases() == []


def test_neither_a_lease_nor_a_pin_is_given_on_a_tombstone(workspace: Workspace, backup_id: str) -> None:
    located = locate(workspace, backup_id)
    stone = Tombstone(marked_at=utc_now(), reason="its days ended", actor="ada")
    rewrite_state(located.storage, backup_id, lambda state: state.model_copy(update={"tombstone": stone}))
    with pytest.raises(Refused, match="being deleted"), leased(workspace, located, "restore"):
        pass
    with pytest.raises(Refused, match="being deleted"):
        reserve(workspace, backup_id, "restore", lasting=timedelta(hours=1))
    assert workspace.catalog.leases() == []
    for pin in (True, False):
        with pytest.raises(Refused, match="being deleted"):
            set_pin(workspace, backup_id, pinned=pin, run=RunInfo(origin="cli"))
