"""When reading begins again with another copy, and when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db_backup.encryption import Keyring
from db_backup.errors import (
    ArtefactCorrupt,
    BackupError,
    ChainBroken,
    Interrupted,
    KeyUnavailable,
    LoadFailed,
    ObjectCold,
    StorageError,
)
from db_backup.jobs import fallback
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.sidecars import Located
from db_backup.manifest import State
from db_backup.progress import Cancellation
from db_backup.storage import Storage
from support.factories import make_manifest

pytestmark = pytest.mark.unit

MANIFEST = make_manifest()
Failing = Callable[[str], BackupError | None]


class World:
    """A backup with copies in these storages; ``spoilt``: those whose bytes are not what was written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str, spoilt: Sequence[str] = ()) -> None:
        storages = {name: cast(Storage, SimpleNamespace(name=name)) for name in names}
        self.copies = [
            Located(storage, MANIFEST, State(id=MANIFEST.id), cast(Keyring, None)) for storage in storages.values()
        ]
        self.workspace: Any = SimpleNamespace(storages=storages)
        self.marked: list[str] = []
        self.checked: list[str] = []
        self.tried: list[str] = []
        self.spoilt = spoilt
        self.cancellation = Cancellation()
        monkeypatch.setattr(fallback, "copies_of", lambda _workspace, _id: tuple(self.copies))
        monkeypatch.setattr(fallback, "update_state", self._mark)
        monkeypatch.setattr(fallback, "check_copy", self._check)

    def _mark(self, _workspace: object, _copy: Located, change: Callable[[State], State]) -> None:
        self.marked += [proof.storage for proof in change(State(id=MANIFEST.id)).proofs]

    def _check(self, copy: Located, _progress: object, _cancellation: object) -> None:
        self.checked.append(copy.storage.name)
        if copy.storage.name in self.spoilt:
            raise blamed(ArtefactCorrupt("It is damaged."), copy.storage.name)

    def reading(self, **arguments: Any) -> Fallback:
        return Fallback(self.workspace, self.copies[:1], self.cancellation, **arguments)


def blamed(error: BackupError, storage: str) -> BackupError:
    error.backup_id, error.storage = MANIFEST.id, storage
    return error


def work(tried: list[str], failing: Failing) -> Callable[[tuple[Located, ...]], str]:
    def run(copies: tuple[Located, ...]) -> str:
        name = copies[0].storage.name
        tried.append(name)
        if (error := failing(name)) is not None:
            raise error
        return name

    return run


def always(kind: type[BackupError]) -> Failing:
    return lambda name: blamed(kind(f"{name} cannot be read."), name)


def test_copies_are_tried_in_their_order_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b", "c")
    tried = world.tried
    reading = world.reading()

    with pytest.raises(ArtefactCorrupt, match="None of the 3 copies") as caught:
        reading.run(work(tried, always(ArtefactCorrupt)))

    assert tried == world.marked == ["a", "b", "c"]
    assert all(f"'{name}'" in caught.value.message for name in tried)


def test_the_only_copy_keeps_its_own_error_and_is_not_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a")

    with pytest.raises(ArtefactCorrupt, match="a cannot be read"):
        world.reading().run(work([], always(ArtefactCorrupt)))

    assert world.marked == []


@pytest.mark.parametrize("kind", [StorageError, ObjectCold])
def test_what_cannot_be_reached_is_not_marked_and_where_nothing_can_be_the_last_error_stays_of_its_kind(
    monkeypatch: pytest.MonkeyPatch, kind: type[BackupError]
) -> None:
    world = World(monkeypatch, "a", "b")

    with pytest.raises(kind):
        world.reading().run(work([], always(kind)))

    assert world.marked == []


@pytest.mark.parametrize("error", [KeyUnavailable("No key."), LoadFailed("The tool said so."), Interrupted("Stopped.")])
def test_what_says_nothing_of_a_copy_ends_the_work(monkeypatch: pytest.MonkeyPatch, error: BackupError) -> None:
    world = World(monkeypatch, "a", "b")
    tried = world.tried

    with pytest.raises(type(error)) as caught:
        world.reading().run(work(tried, lambda _: error))

    assert caught.value is error
    assert tried == ["a"]


def test_a_load_that_failed_on_damaged_bytes_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b", spoilt=["a"])
    tried = world.tried
    reading = world.reading()

    read = reading.run(work(tried, lambda name: LoadFailed("A syntax error.") if name == "a" else None))

    assert (read, tried, world.checked, world.marked) == ("b", ["a", "b"], ["a"], ["a"])
    assert reading.passed_over[0].reason == "It is damaged."


def test_without_another_copy_nothing_is_read_again_to_find_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", spoilt=["a"])

    with pytest.raises(LoadFailed):
        world.reading().run(work([], lambda _: LoadFailed("A syntax error.")))

    assert world.checked == []


def test_that_a_full_is_cheaper_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b", spoilt=["a"])

    with pytest.raises(ChainBroken):
        world.reading().run(work([], lambda _: ChainBroken("Most of it changed.", worth_a_full=True)))

    assert world.checked == []


def test_what_cannot_be_begun_again_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b")
    tried = world.tried

    with pytest.raises(ArtefactCorrupt, match="a cannot be read"):
        world.reading().run(work(tried, always(ArtefactCorrupt)), again=lambda: False)

    assert (tried, world.marked) == (["a"], ["a"])


def test_a_copy_that_is_named_is_the_only_one_that_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b")
    tried = world.tried

    with pytest.raises(ArtefactCorrupt, match="a cannot be read"):
        world.reading(fixed=True).run(work(tried, always(ArtefactCorrupt)))

    assert tried == world.marked == ["a"]


def test_a_copy_with_another_manifest_is_not_the_same_backup(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b")
    tried = world.tried
    other = world.copies[1].manifest.model_copy(update={"retention_days": 999})
    world.copies[1] = Located(world.copies[1].storage, other, world.copies[1].state, world.copies[1].keyring)

    with pytest.raises(ArtefactCorrupt, match="a cannot be read"):
        world.reading().run(work(tried, always(ArtefactCorrupt)))

    assert tried == ["a"]


def test_after_a_stop_was_asked_for_nothing_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "a", "b")
    tried = world.tried
    world.cancellation.cancel("by SIGTERM")

    with pytest.raises(ArtefactCorrupt):
        world.reading().run(work(tried, always(ArtefactCorrupt)))

    assert (tried, world.marked) == (["a"], [])
