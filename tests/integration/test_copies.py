"""One backup in several storages, some of them unreachable, damaged or without their copy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.errors import ManifestError, Refused, StorageError
from db_backup.jobs.cleanup import CleanupReport, CleanupRequest, clean_up
from db_backup.jobs.copies import bring_states_in_line, known_copies, locate, update_state
from db_backup.jobs.deletion import erase
from db_backup.jobs.freshness import fresh_backup
from db_backup.jobs.pins import set_pin
from db_backup.jobs.sidecars import rewrite_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, RunInfo, State, Tombstone
from db_backup.model import utc_now
from db_backup.progress import Cancellation, Silent
from support.history import past_backup, publish, spread_over
from support.several_storages import SECOND, SpreadProject
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

BOTH = ("local", SECOND)
RUN = RunInfo(origin="cli", actor="ada", host="tower")
TESTS = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> SpreadProject:
    databases = {name: sqlite_database(tmp_path, name) for name in ("shop", "crm")}
    return SpreadProject(tmp_path / "project", databases)


@pytest.fixture
def workspace(project: SpreadProject) -> Iterator[Workspace]:
    with Workspace.open(project.environment) as opened:
        yield opened


@contextmanager
def unmounted(project: SpreadProject, storage: str) -> Iterator[None]:
    """The folder of this storage is not there while the block runs."""
    folder = project.storages[storage]
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    try:
        yield
    finally:
        aside.rename(folder)


def left_of(project: SpreadProject, backup_id: str) -> list[str]:
    """Every file of the backup, by storage."""
    return sorted(
        f"{name}/{path.parent.name}/{path.name}"
        for name, folder in project.storages.items()
        for path in folder.rglob(f"{backup_id}.*")
    )


def state_path(project: SpreadProject, backup_id: str, storage: str) -> Path:
    return project.storages[storage] / "metadata" / f"{backup_id}.state.json"


def proofs_of(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {proof["storage"]: (proof["result"], proof["reached"]) for proof in document["proofs"]}


# Verification


def test_one_copy_is_proved_as_far_as_asked_and_every_byte_of_the_others_is_read(project: SpreadProject) -> None:
    backup = project.create()

    proofs = proofs_of(project.json("verify", backup))

    assert proofs == {"local": ("passed", "restore"), SECOND: ("passed", "checksum")}
    shown = project.backup(backup)
    assert (shown["status"], shown["proof_level"], shown["proof_result"]) == ("good", "restore", "passed")
    assert all(copy["proven_at"] for copy in shown["copies"])


def test_a_damaged_copy_is_told_of_and_the_backup_stands_by_the_other(project: SpreadProject) -> None:
    backup = project.create()
    project.spoil(backup, "local")

    done = project.run("verify", backup)

    assert done.returncode == 3
    assert "in 'local' is damaged" in done.stderr
    assert f"It stands by its copy in '{SECOND}'; `db-backup replicate` mends the other." in done.stderr
    shown = project.backup(backup)
    assert (shown["status"], shown["verified"], shown["damaged_copies"]) == ("good", True, ["local"])
    assert (shown["proof_level"], shown["proof_result"]) == ("restore", "passed")
    assert f"local (damaged), {SECOND}" in project.run("list").stdout
    assert f"{backup}: local: damaged" in project.run("list", "--detailed").stdout


def test_a_copy_whose_manifest_is_nonsense_is_told_of_as_damaged_until_it_is_mended(project: SpreadProject) -> None:
    backup = project.create()
    (project.storages[SECOND] / "metadata" / f"{backup}.json").write_text("nonsense")

    proofs = proofs_of(project.json("verify", backup, exit_code=3))

    assert proofs == {"local": ("passed", "restore"), SECOND: ("failed", None)}
    shown = project.backup(backup)
    assert (shown["status"], shown["damaged_copies"]) == ("good", [SECOND])
    assert [copy["storage"] for copy in project.json("replicate")["made"]] == [SECOND]
    assert project.backup(backup)["damaged_copies"] == []
    assert project.run("verify", backup).returncode == 0


def test_a_backup_has_failed_when_no_copy_stands(project: SpreadProject) -> None:
    backup = project.create()
    for storage in BOTH:
        project.spoil(backup, storage)

    proofs = proofs_of(project.json("verify", backup, exit_code=3))

    assert proofs == {"local": ("failed", None), SECOND: ("failed", None)}
    assert project.backup(backup)["status"] == "failed_verification"


def test_a_copy_that_somebody_names_is_proved_alone(project: SpreadProject) -> None:
    backup = project.create()
    project.spoil(backup, SECOND)

    assert proofs_of(project.json("verify", backup, "--from-storage", "local")) == {"local": ("passed", "restore")}
    failed = project.json("verify", backup, "--from-storage", SECOND, exit_code=3)
    assert proofs_of(failed) == {SECOND: ("failed", None)}
    assert project.backup(backup)["status"] == "good"
    assert project.run("verify", backup, "--from-storage", "tape").returncode == 2


def test_a_copy_that_cannot_be_reached_is_inconclusive_and_lowers_nothing(project: SpreadProject) -> None:
    backup = project.create()
    with unmounted(project, SECOND):
        document = project.json("verify", backup, exit_code=1)
        assert project.run("verify", backup, "--from-storage", SECOND).returncode == 1

    assert proofs_of(document) == {"local": ("passed", "restore"), SECOND: ("inconclusive", None)}
    shown = project.backup(backup)
    assert (shown["status"], shown["proof_result"]) == ("good", "passed")
    assert [proof["storage"] for proof in project.state(backup, "local")["proofs"]] == ["local"]


def test_the_next_copy_is_proved_where_the_first_cannot_be_reached(project: SpreadProject) -> None:
    backup = project.create()
    with unmounted(project, "local"):
        document = project.json("verify", backup, exit_code=1)

    assert proofs_of(document) == {SECOND: ("passed", "restore"), "local": ("inconclusive", None)}
    assert project.backup(backup)["status"] == "good"


# Found and changed in every storage


def test_a_storage_that_does_not_answer_hides_nothing_and_loses_nothing(
    project: SpreadProject, workspace: Workspace
) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    (alone,) = publish(workspace, [spread_over(past_backup(2), SECOND)], storages=(SECOND,))

    with unmounted(project, "local"):
        assert locate(workspace, backup).storage.name == SECOND
        assert any("'local'" in warning for warning in workspace.warnings)
    nobody_knows = pytest.raises(StorageError, match=f"Nobody can tell where {alone} lies: The storage '{SECOND}'")
    with unmounted(project, SECOND), nobody_knows:
        locate(workspace, alone)
    with unmounted(project, SECOND), unmounted(project, "local"), pytest.raises(StorageError, match="Nobody can tell"):
        locate(workspace, backup)


def test_what_a_storage_missed_it_learns_when_the_states_are_brought_in_line(
    project: SpreadProject, workspace: Workspace
) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    with unmounted(project, SECOND):
        assert set_pin(workspace, backup, pinned=True, run=RUN).pinned
    assert not project.state(backup, SECOND)["pinned"]
    assert locate(workspace, backup, storage=SECOND).state.pinned

    assert bring_states_in_line(workspace, backup).pinned
    assert project.state(backup, SECOND) == project.state(backup, "local")
    assert project.state(backup, SECOND)["pinned"]


def test_nothing_is_unpinned_while_a_copy_cannot_be_asked(project: SpreadProject, workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    set_pin(workspace, backup, pinned=True, run=RUN)

    with unmounted(project, SECOND), pytest.raises(StorageError, match="was not unpinned"):
        set_pin(workspace, backup, pinned=False, run=RUN)

    assert project.state(backup, "local")["pinned"]
    assert not set_pin(workspace, backup, pinned=False, run=RUN).pinned
    assert not any(project.state(backup, storage)["pinned"] for storage in BOTH)


def test_a_copy_whose_state_was_lost_gets_it_back_from_the_others(project: SpreadProject, workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    state_path(project, backup, "local").unlink()
    located = locate(workspace, backup)
    assert [proof.reached for proof in located.state.proofs] == ["restore"]

    update_state(workspace, located, lambda state: state.model_copy(update={"pinned": True}))

    assert project.state(backup, "local")["proofs"] == project.state(backup, SECOND)["proofs"] != []


def test_a_copy_without_its_manifest_counts_as_missing(project: SpreadProject, workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    (project.storages[SECOND] / "metadata" / f"{backup}.json").unlink()

    assert project.run("catalog", "reindex").returncode == 0
    shown = project.backup(backup)
    assert (shown["storages"], shown["missing_copies"]) == (["local"], [SECOND])
    assert f"local, {SECOND} (missing)" in project.run("list").stdout


def test_a_copy_of_which_nothing_is_left_counts_as_missing_in_a_rebuilt_catalogue_too(
    project: SpreadProject, workspace: Workspace
) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    for left in project.storages[SECOND].rglob(f"{backup}.*"):
        left.unlink()

    assert project.run("catalog", "reindex").returncode == 0

    shown = project.backup(backup)
    assert (shown["storages"], shown["missing_copies"]) == (["local"], [SECOND])


def test_a_fresh_backup_needs_one_copy_that_is_whole(project: SpreadProject, workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(0.1), *BOTH)], storages=BOTH)
    project.parts(backup, "local")[0].unlink()

    assert fresh_backup(workspace, "shop", timedelta(days=1)).id == backup
    project.parts(backup, SECOND)[0].write_bytes(b"short")
    with pytest.raises(Refused, match="is gone"):
        fresh_backup(workspace, "shop", timedelta(days=1))


# Deletion and cleanup


def tombstone() -> Tombstone:
    return Tombstone(marked_at=utc_now(), reason="asked for", actor="ada")


def test_a_backup_is_deleted_from_every_storage_with_the_litter_of_its_missing_copy(
    project: SpreadProject, workspace: Workspace
) -> None:
    manifest, state = spread_over(past_backup(1), *BOTH)
    missing = Copy(storage=SECOND, storage_id="", created_at=utc_now(), missing="it was full")
    (backup,) = publish(workspace, [(manifest, state.model_copy(update={"copies": (state.copies[0], missing)}))])
    litter = project.storages[SECOND] / "database" / manifest.parts[0].path
    workspace.storage(SECOND).initialise()
    litter.parent.mkdir()
    litter.write_bytes(b"half a dump")

    erase(workspace, backup, tombstone(), Cancellation())

    assert left_of(project, backup) == []
    assert list(workspace.catalog.ids()) == []


def test_nothing_is_deleted_while_a_copy_cannot_be_reached(project: SpreadProject, workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    before = left_of(project, backup)

    for storage in BOTH:
        with unmounted(project, storage), pytest.raises(StorageError, match=f"{backup} was not deleted: .*'{storage}'"):
            erase(workspace, backup, tombstone(), Cancellation())

    assert left_of(project, backup) == before
    assert [project.state(backup, storage)["tombstone"] for storage in BOTH] == [None, None]
    assert project.backup(backup)["status"] == "good"


def test_a_pin_that_comes_between_two_tombstones_leaves_none(
    project: SpreadProject, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    record = workspace.catalog.record

    def pinned_meanwhile(*pair: Any) -> None:
        monkeypatch.undo()
        record(*pair)
        rewrite_state(workspace.storage(SECOND), backup, lambda state: state.model_copy(update={"pinned": True}))

    monkeypatch.setattr(workspace.catalog, "record", pinned_meanwhile)
    with pytest.raises(Refused, match="pinned"):
        erase(workspace, backup, tombstone(), Cancellation())

    assert [project.state(backup, storage)["tombstone"] for storage in BOTH] == [None, None]
    assert project.backup(backup)["status"] == "good"


def cleaned(workspace: Workspace) -> CleanupReport:
    return clean_up(workspace, CleanupRequest(), run=RUN, progress=Silent(), cancellation=Cancellation())


def test_cleanup_leaves_alone_what_a_silent_storage_may_hold_and_goes_on_with_the_rest(
    project: SpreadProject,
) -> None:
    project.place("local")
    text = project.config.read_text()
    project.config.write_text(
        text.replace(
            "conn_id: shop_db\n    storages:\n    - local\n", f"conn_id: shop_db\n    storages: [local, {SECOND}]\n"
        )
    )
    with Workspace.open(project.environment) as workspace:
        spread, crm = {}, {}
        for age in (90, 3, 2, 1):
            spread[age] = publish(workspace, [spread_over(past_backup(age), *BOTH)], storages=BOTH)[0]
            crm[age] = publish(workspace, [past_backup(age, entry="crm")])[0]
        with unmounted(project, SECOND):
            report = cleaned(workspace)
        assert [deleted.backup_id for deleted in report.delete] == [crm[90]]
        assert [warning for warning in report.warnings if f"'{SECOND}'" in warning and "'shop'" in warning]
        assert left_of(project, spread[90]) != []

        assert [deleted.backup_id for deleted in cleaned(workspace).delete] == [spread[90]]
        assert left_of(project, spread[90]) == []


def test_an_old_backup_goes_only_where_a_newer_one_has_a_copy_that_is_whole(
    project: SpreadProject, workspace: Workspace
) -> None:
    """A part that is gone from one storage makes no backup damaged that another storage holds whole."""
    old, *newer = (
        publish(workspace, [spread_over(past_backup(age), *BOTH)], storages=BOTH)[0] for age in (90, 3, 2, 1)
    )
    for backup in newer:
        project.parts(backup, "local")[0].unlink()

    assert [deleted.backup_id for deleted in cleaned(workspace).delete] == [old]


@pytest.mark.parametrize("step", range(3, 12))
def test_a_deletion_killed_between_copies_is_finished_by_the_next_cleanup(project: SpreadProject, step: int) -> None:
    with Workspace.open(project.environment) as workspace:
        old, *newer = (
            publish(workspace, [spread_over(past_backup(age), *BOTH)], storages=BOTH)[0] for age in (90, 3, 2, 1)
        )

    command = [sys.executable, "-m", "support.cleanup_process", "clean_up_until", str(step)]
    assert project.run_process(command, PYTHONPATH=str(TESTS)).returncode == -9

    shown = {backup["id"]: backup["status"] for backup in project.json("list")["backups"]}
    entombed = [
        json.loads(path.read_text())["tombstone"] is not None
        for path in (state_path(project, old, storage) for storage in BOTH)
        if path.exists()
    ]
    parts = [project.parts(old, storage) for storage in BOTH]
    assert shown.get(old, "gone") in ("deleting", "gone")
    assert all(parts) or all(entombed), "a part went before every copy had its tombstone"
    with Workspace.open(project.environment) as workspace:
        cleaned(workspace)
        assert sorted(workspace.catalog.ids()) == sorted(newer)
    assert left_of(project, old) == []


# The catalogue


def test_reindexing_merges_the_states_and_forgets_nothing_that_cannot_be_asked(
    project: SpreadProject, workspace: Workspace
) -> None:
    def pinned(state: State) -> State:
        return state.model_copy(update={"pinned": True})

    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    (alone,) = publish(workspace, [spread_over(past_backup(2), SECOND)], storages=(SECOND,))
    rewrite_state(workspace.storage(SECOND), backup, pinned)
    project.json("catalog", "reindex")
    assert project.backup(backup)["pinned"]

    with unmounted(project, SECOND):
        report = project.json("catalog", "reindex", exit_code=1)
        assert [(problem["storage"], problem["backup_id"]) for problem in report["problems"]] == [(SECOND, "")]
        assert project.backup(alone)["storages"] == [SECOND]
        checked = project.json("catalog", "check", exit_code=1)
        assert [(problem["storage"], problem["backup_id"]) for problem in checked["problems"]] == [(SECOND, "")]


def test_the_check_names_the_storage_where_a_copy_a_part_or_a_state_is_gone(
    project: SpreadProject, workspace: Workspace
) -> None:
    backups = [publish(workspace, [spread_over(past_backup(age), *BOTH)], storages=BOTH)[0] for age in (1, 2, 3)]
    (project.storages[SECOND] / "metadata" / f"{backups[0]}.json").unlink()
    for part in project.parts(backups[0], SECOND):
        part.unlink()
    project.parts(backups[1], "local")[0].unlink()
    state_path(project, backups[2], SECOND).unlink()

    problems = project.json("catalog", "check", exit_code=1)["problems"]

    found = {problem["backup_id"]: (problem["storage"], problem["problem"]) for problem in problems}
    assert found[backups[0]] == (SECOND, "its copy is not there: it is gone")
    assert found[backups[1]][0] == "local"
    assert found[backups[2]][0] == SECOND
    assert "its state is lost here" in found[backups[2]][1]
    assert len(problems) == 3


# Chains


def chain_project(tmp_path: Path) -> SpreadProject:
    project = SpreadProject(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")})
    document = yaml.safe_load(project.config.read_text())
    document["databases"]["shop"]["types"] = ["full", "incremental"]
    project.config.write_text(yaml.safe_dump(document))
    return project


def test_increments_go_on_where_the_chain_is_whole_elsewhere(tmp_path: Path) -> None:
    project = chain_project(tmp_path)
    full = project.create("shop", "--type", "full")
    with unmounted(project, "local"):
        first = project.create("shop", "--type", "incremental")
    second = project.create("shop", "--type", "incremental")

    assert project.backup(first)["parent_id"] == full
    assert project.backup(second)["parent_id"] == first
    assert project.backup(first)["missing_copies"] == ["local"]
    assert proofs_of(project.json("verify", second, "--level", "restore"))["local"] == ("passed", "restore")


def test_a_full_that_only_a_silent_storage_holds_is_followed_by_a_new_full(tmp_path: Path) -> None:
    project = chain_project(tmp_path)
    project.create("shop", "--type", "full", "--storage", "local")
    hidden = project.create("shop", "--type", "full", "--storage", SECOND)
    with unmounted(project, SECOND):
        (made,) = project.json("create", "shop", "--type", "incremental", "--no-verify")["backups"]

    assert made["type"] == "full"
    assert hidden in made["warnings"][0]
    audit = "".join(path.read_text() for path in (project.storage / "audit").iterdir())
    assert "chain_broken" not in audit


def test_the_copies_that_answer_are_read_in_order_of_what_is_best(workspace: Workspace) -> None:
    (backup,) = publish(workspace, [spread_over(past_backup(1), *BOTH)], storages=BOTH)
    assert [copy.storage.name for copy in known_copies(workspace, backup).found] == ["local", SECOND]

    def archived(state: State) -> State:
        cold = state.copies[0].model_copy(update={"storage_class": "GLACIER", "archived_at": utc_now()})
        return state.model_copy(update={"copies": (cold, *state.copies[1:])})

    update_state(workspace, locate(workspace, backup), archived)
    assert [copy.storage.name for copy in known_copies(workspace, backup).found] == [SECOND, "local"]


def test_no_backup_gets_an_id_that_another_storage_holds_already(project: SpreadProject) -> None:
    """Made within one second, each for a storage of its own."""
    backups = [project.create("shop", "--storage", storage) for storage in (*BOTH, *BOTH)]

    assert len(set(backups)) == len(backups)


def test_what_lies_elsewhere_under_the_same_id_is_no_copy(project: SpreadProject, workspace: Workspace) -> None:
    manifest, state = spread_over(past_backup(1), "local")
    (backup,) = publish(workspace, [(manifest, state)])
    publish(workspace, [(manifest.model_copy(update={"format": "pg_dump plain"}), state)], storages=(SECOND,))

    assert [copy.storage.name for copy in known_copies(workspace, backup).found] == ["local"]
    with pytest.raises(ManifestError, match="is another backup than the one in 'local'"):
        erase(workspace, backup, tombstone(), Cancellation())
    problems = project.json("catalog", "check", exit_code=1)["problems"]
    assert [(problem["storage"], problem["backup_id"]) for problem in problems] == [(SECOND, backup)]
