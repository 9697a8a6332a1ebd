"""One backup into several storages: whichever fails, and at whichever step, the others have it, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from db_backup.errors import DumpFailed, Interrupted, StorageConflict, StorageError
from db_backup.jobs.sidecars import read_manifest, read_state
from db_backup.progress import Cancellation
from support.creations import MISCHIEF, Fragile, create, fragile, left_in, plan, read_back
from support.sample_data import sql_dump

pytestmark = pytest.mark.unit

_CONTENT = sql_dump(700_000)
_STEPS = [
    ("storage_id", 2),
    ("reserve", 1),
    ("open_sink", 1),
    ("open_sink", 2),
    ("write", 1),
    ("write", 2),
    ("commit", 1),
    ("commit", 2),
    ("after commit", 2),
    ("state", 1),
    ("after state", 1),
    ("manifest", 1),
    ("after manifest", 1),
]


def _storages(folder: Path, *names: str) -> list[Fragile]:
    """Of small objects, so that there are several parts."""
    return [fragile(name, folder, max_object_bytes=500_000) for name in names]


def _whole(storage: Fragile, backup_id: str) -> None:
    assert read_back(storage, backup_id) == [_CONTENT]


@pytest.mark.parametrize("broken_first", [False, True])
@pytest.mark.parametrize(("step", "count"), _STEPS)
def test_a_storage_that_fails_is_left_out_and_its_copy_is_missed(
    tmp_path: Path, step: str, count: int, broken_first: bool
) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.storage_id  # noqa: B018 - counted
    bad.break_at(step, count)
    made = create(plan(tmp_path, [bad, good] if broken_first else [good, bad], key=True), _CONTENT)

    assert len(made.manifest.parts) > 1
    _whole(good, made.manifest.id)
    assert read_state(good, made.manifest.id) == made.state
    assert [copy.storage for copy in made.state.present] == ["good"]
    (missing,) = made.state.missing
    assert (missing.storage, MISCHIEF in missing.missing) == ("bad", True)
    assert any("bad" in warning and MISCHIEF in warning for warning in made.warnings)
    bad.breaks = lambda _step, _count: None
    assert left_in(tmp_path / "bad") == set()


@pytest.mark.parametrize(("step", "count"), _STEPS)
def test_when_all_fail_the_first_failure_is_told_and_nothing_is_left(tmp_path: Path, step: str, count: int) -> None:
    one, two = _storages(tmp_path, "one", "two")
    for storage in (one, two):
        storage.storage_id  # noqa: B018 - counted
        storage.break_at(step, count)
    with pytest.raises(StorageError, match=r"^one: "):
        create(plan(tmp_path, [one, two]), _CONTENT)
    assert left_in(tmp_path / "one") == left_in(tmp_path / "two") == set()


def test_storages_that_fail_at_different_steps_leave_the_third_one_alone(tmp_path: Path) -> None:
    one, two, three = _storages(tmp_path, "one", "two", "three")
    one.break_at("write", 2)
    three.break_at("manifest")
    made = create(plan(tmp_path, [one, two, three]), _CONTENT, sql_dump(300_000))
    assert {copy.storage for copy in made.state.missing} == {"one", "three"}
    assert read_back(two, made.manifest.id) == [_CONTENT, sql_dump(300_000)]
    assert left_in(tmp_path / "one") == left_in(tmp_path / "three") == set()


def test_a_copy_missed_at_the_very_last_step_is_missed_in_the_states_that_were_written_before(tmp_path: Path) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.break_at("manifest")
    made = create(plan(tmp_path, [good, bad]), _CONTENT)
    assert read_state(good, made.manifest.id).missing[0].storage == "bad"


def test_a_state_that_cannot_be_put_right_any_more_is_a_warning(tmp_path: Path) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.break_at("manifest")
    good.break_at("replace")
    made = create(plan(tmp_path, [good, bad]), _CONTENT)
    _whole(good, made.manifest.id)
    assert any("does not know which copies are missing" in warning for warning in made.warnings)


def test_what_cannot_be_taken_back_does_not_harm_the_others(tmp_path: Path) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.breaks = lambda step, count: (
        StorageError("bad: gone.") if step in {"delete", "release"} or (step == "commit" and count == 2) else None
    )
    made = create(plan(tmp_path, [good, bad]), _CONTENT)
    _whole(good, made.manifest.id)
    assert [copy.storage for copy in made.state.missing] == ["bad"]


def test_where_a_manifest_cannot_be_taken_back_its_parts_stay_too(tmp_path: Path) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.breaks = lambda step, count: (
        StorageError("bad: gone.") if step == "after manifest" or (step == "delete" and count == 1) else None
    )
    made = create(plan(tmp_path, [good, bad]), _CONTENT)
    assert [copy.storage for copy in made.state.missing] == ["bad"]
    assert read_manifest(bad, made.manifest.id) == made.manifest
    _whole(bad, made.manifest.id)


def test_a_reservation_that_cannot_be_released_is_a_warning_and_the_backup_stands(tmp_path: Path) -> None:
    (storage,) = _storages(tmp_path, "only")
    storage.break_at("release")
    made = create(plan(tmp_path, [storage]), _CONTENT)
    _whole(storage, made.manifest.id)
    assert any("left behind" in warning for warning in made.warnings)


def test_an_id_is_free_in_all_storages_or_not_at_all(tmp_path: Path) -> None:
    one, two = _storages(tmp_path, "one", "two")
    first = create(plan(tmp_path, [two]), _CONTENT).manifest
    for _ in range(3):
        made = create(plan(tmp_path, [one, two]), _CONTENT).manifest
        assert made.id != first.id
        _whole(one, made.id)
        _whole(two, made.id)
    _whole(two, first.id)


def test_somebody_elses_file_under_our_name_stays(tmp_path: Path) -> None:
    good, bad = _storages(tmp_path, "good", "bad")
    bad.breaks = lambda step, _count: StorageConflict("bad: taken.") if step == "manifest" else None
    made = create(plan(tmp_path, [good, bad]), _CONTENT)
    assert [copy.missing for copy in made.state.missing] == ["bad: taken."]


@pytest.mark.parametrize("key", [False, True])
def test_a_dump_that_fails_in_mid_stream_leaves_nothing_anywhere(tmp_path: Path, key: bool) -> None:
    storages = _storages(tmp_path, "one", "two")
    with pytest.raises(DumpFailed):
        create(plan(tmp_path, storages, key=key), _CONTENT, failure=DumpFailed("it broke"))
    assert left_in(tmp_path / "one") == left_in(tmp_path / "two") == set()


@pytest.mark.parametrize("error", [Interrupted("stop"), KeyboardInterrupt(), ValueError("a bug")])
@pytest.mark.parametrize("step", ["write", "commit", "after commit", "state", "manifest", "after manifest"])
def test_what_is_no_failure_of_a_storage_ends_the_whole_backup(tmp_path: Path, step: str, error: BaseException) -> None:
    one, two = _storages(tmp_path, "one", "two")
    two.breaks = lambda found, _count: error if found == step else None
    with pytest.raises(type(error)):
        create(plan(tmp_path, [one, two], key=True), _CONTENT)
    assert left_in(tmp_path / "one") == left_in(tmp_path / "two") == set()


def test_a_cancelled_backup_leaves_nothing(tmp_path: Path) -> None:
    (storage,) = _storages(tmp_path, "only")
    cancellation = Cancellation()

    def stop(step: str, _count: int) -> None:
        if step == "write":
            cancellation.cancel("by a test")

    storage.breaks = stop
    with pytest.raises(Interrupted):
        create(plan(tmp_path, [storage], key=True), _CONTENT, cancellation=cancellation)
    assert left_in(tmp_path / "only") == set()


def test_the_smallest_limit_decides_also_once_its_storage_has_failed_and_is_to_get_a_copy_later(tmp_path: Path) -> None:
    small = fragile("small", tmp_path, max_object_bytes=200_000)
    large = fragile("large", tmp_path, max_object_bytes=600_000)
    parts = create(plan(tmp_path, [small, large]), _CONTENT * 4).manifest.parts
    assert max(part.stored_bytes for part in parts) <= 200_000
    small.break_at("write", 2)
    as_many = create(plan(tmp_path, [small, large]), _CONTENT * 4).manifest.parts
    assert len(as_many) == len(parts)
    assert read_manifest(large, as_many[0].path.partition(".")[0]).parts == as_many
