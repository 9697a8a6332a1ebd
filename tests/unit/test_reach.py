"""Asking storages of which one does not answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.errors import ConnectionNotFound, ObjectCold, ObjectMissing, StorageError
from db_backup.jobs import reach
from db_backup.jobs.listing import survey
from db_backup.jobs.reach import Unanswered, ask, tell
from db_backup.jobs.workspace import Workspace
from db_backup.storage import Storage
from support.several_storages import SECOND, SpreadProject
from support.shop_database import sqlite_database

pytestmark = pytest.mark.unit

SILENCE = StorageError("The bucket does not answer.", hint="Look at the network.")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    project = SpreadProject(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")})
    with Workspace.open(project.environment) as opened:
        yield opened


class Asked:
    """A question that every storage leaves without an answer; how often it was put."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.count = 0

    def __call__(self, _: Storage) -> str:
        self.count += 1
        raise self.error


@pytest.mark.parametrize("error", [SILENCE, ConnectionNotFound("There is no connection 'aws_default'.")])
def test_whatever_keeps_a_storage_from_answering_is_its_silence(workspace: Workspace, error: StorageError) -> None:
    answer = ask(workspace, workspace.storage(SECOND), Asked(error))

    assert isinstance(answer, Unanswered)
    assert answer.error is error
    assert f"'{SECOND}'" in str(answer)


def test_that_something_is_missing_is_an_answer(workspace: Workspace) -> None:
    with pytest.raises(ObjectMissing):
        ask(workspace, workspace.storage(SECOND), Asked(ObjectMissing("There is none.")))


def test_what_stands_in_a_cold_sidecar_is_not_known(workspace: Workspace) -> None:
    cold = ObjectCold("The state is in the class GLACIER.")

    answer = ask(workspace, workspace.storage(SECOND), Asked(cold))

    assert isinstance(answer, Unanswered)
    assert answer.error is cold


def test_a_storage_that_took_long_to_say_nothing_is_not_asked_again_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.storage("local").initialise()
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    asked = Asked(SILENCE)

    def slowly(storage: Storage) -> str:
        now[0] += 30
        return asked(storage)

    for _ in range(3):
        assert isinstance(ask(workspace, workspace.storage(SECOND), slowly), Unanswered)
    assert asked.count == 1
    assert ask(workspace, workspace.storage("local"), lambda storage: storage.name) == "local"

    now[0] += reach._PAUSE_SECONDS
    ask(workspace, workspace.storage(SECOND), slowly)
    assert asked.count == 2


def test_a_storage_that_says_no_at_once_is_asked_each_time(workspace: Workspace) -> None:
    asked = Asked(SILENCE)
    for _ in range(3):
        ask(workspace, workspace.storage(SECOND), asked)
    assert asked.count == 3


def test_a_person_hears_of_each_silent_storage_once(workspace: Workspace) -> None:
    silent = Unanswered(workspace.storage(SECOND), SILENCE)
    tell(workspace, [silent, silent])
    tell(workspace, [silent])
    assert len(workspace.warnings) == 1


def test_storages_that_are_all_silent_are_no_empty_ones(workspace: Workspace) -> None:
    with pytest.raises(StorageError, match=r"No storage can be read: .*'local'.*'second'"):
        survey(workspace)
