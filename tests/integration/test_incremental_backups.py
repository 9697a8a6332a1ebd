"""Chains as an operator makes them: created, refused, broken, begun anew and proved, at the terminal."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.catalog import BackupQuery
from db_backup.encryption.key_file import generate_secret
from db_backup.engines.chain import Link
from db_backup.engines.sqlite import SqliteChain
from db_backup.errors import (
    AccessDenied,
    ArtefactCorrupt,
    BackupError,
    EntryLocked,
    Interrupted,
    LoadFailed,
    StorageError,
)
from db_backup.jobs import contents, create, prove
from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation, Silent
from db_backup.storage import LocalStorage
from db_backup.summary import BackupSummary
from support.aftermath import assert_every_published_backup_is_whole, assert_nothing_else_is_stored
from support.chain_lab import ChainLab, MysqlChainLab, PostgresChainLab
from support.encrypted import put_key
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

TESTS = Path(__file__).parents[1]
PLUGINS = TESTS.parent / "plugins"
INSTEAD = "A full was made instead of an increment: "
RUN = RunInfo(origin="cli", actor="ada", host="tower")


def increment(project: Project, entry: str = "shop", *options: str) -> dict[str, Any]:
    """The one backup that asking for an increment made."""
    made: list[dict[str, Any]] = project.json("create", entry, "--type", "incremental", *options)["backups"]
    assert len(made) == 1
    return made[0]


def killed_increment(project: Project, entry: str, when: str = "before") -> None:
    """:param when: "before" or "after" the commit."""
    done = project.run_process(
        [sys.executable, "-m", "support.killed_create", when, entry, "--type", "incremental"],
        PYTHONPATH=os.pathsep.join((str(TESTS), str(PLUGINS))),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def breaks(project: Project) -> list[str]:
    """What the audit trail says of broken chains."""
    told = project.json("audit")["acts"]
    return [act["detail"] for act in told if act["act"] == "chain_broken" and act["outcome"] == "done"]


class Shop:
    """A SQLite database with a chain."""

    def __init__(self, folder: Path, rows: int = 1_000) -> None:
        self.connection = sqlite_database(folder, "shop", rows=rows, row_bytes=200)
        self.path = Path(self.connection.database)
        self.project = Project(folder / "project", {"shop": self.connection}, as_process=False)
        entry = {"conn_id": "shop_db", "types": ["full", "incremental"]}
        self.project.config.write_text(yaml.safe_dump({"databases": {"shop": entry}}))
        self.changes = 0

    def change(self) -> None:
        self.changes += 1
        self.execute(f"update orders set note = 'change {self.changes}' where id = {self.changes}")

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(statement)

    def chain(self, backup: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.project.manifest(backup["id"])["chain"]
        return found

    def part(self, backup_id: str, stream: str) -> Path:
        parts = self.project.manifest(backup_id)["parts"]
        (name,) = (part["path"] for part in parts if part["stream"] == stream)
        return self.project.storage / "database" / name

    def damage(self, backup_id: str, stream: str = "main") -> None:
        """The same size and other bytes."""
        part = self.part(backup_id, stream)
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 0xFF
        part.chmod(0o640)
        part.write_bytes(content)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def large_shop(tmp_path: Path) -> Shop:
    """Larger than what is never worth a full, and than the smallest limit."""
    return Shop(tmp_path, rows=12_000)


def test_the_first_increment_is_a_full_and_each_that_follows_begins_where_the_last_one_ended(shop: Shop) -> None:
    full = increment(shop.project)
    shop.change()
    first, empty = increment(shop.project), increment(shop.project)
    assert (full["type"], first["type"], empty["type"]) == ("full", "incremental", "incremental")
    assert full["warnings"][0].startswith(f"{INSTEAD}'shop' has no whole full backup yet")
    assert first["warnings"] == []
    assert breaks(shop.project) == []
    assert first["base_id"] == empty["base_id"] == full["id"]
    assert (first["parent_id"], empty["parent_id"]) == (full["id"], first["id"])
    positions = [shop.chain(backup) for backup in (full, first, empty)]
    assert positions[0]["from_position"] is None
    assert positions[1]["from_position"] == positions[0]["to_position"]
    assert positions[2]["from_position"] == positions[2]["to_position"] == positions[1]["to_position"]
    assert first["plain_bytes"] < full["plain_bytes"] / 10
    assert shop.project.manifest(first["id"])["retention_days"] == 7
    assert (first["status"], first["proof_level"], full["proof_level"]) == ("good", "checksum", "restore")


def test_a_full_that_is_asked_for_begins_a_new_chain(shop: Shop) -> None:
    first = increment(shop.project)
    (second,) = shop.project.json("create", "shop", "--type", "full")["backups"]
    assert second["warnings"] == []
    assert increment(shop.project)["parent_id"] == second["id"] != first["id"]
    assert len(shop.project.json("list")["backups"]) == 3  # a file has no history that a last increment could hold


def test_where_no_full_may_be_made_the_failure_says_what_to_do(shop: Shop) -> None:
    done = shop.project.run("create", "shop", "--type", "incremental", "--no-full")
    assert done.returncode == 1
    assert "has no whole full backup yet that an increment could follow" in done.stderr
    assert "Run `db-backup create shop --type full`" in done.stderr
    assert shop.project.files() == set()


def test_a_file_of_which_most_has_changed_gets_a_full_and_no_history_is_lost(large_shop: Shop) -> None:
    full = increment(large_shop.project)
    large_shop.execute("update orders set note = note || 'y'")
    promoted = increment(large_shop.project, "shop", "--retention", "3")
    assert promoted["type"] == "full"
    assert promoted["warnings"][0].startswith(INSTEAD)
    assert breaks(large_shop.project) == []
    assert large_shop.project.manifest(promoted["id"])["retention_days"] == 30  # the three days were an increment's
    assert increment(large_shop.project)["parent_id"] == promoted["id"] != full["id"]


def test_an_increment_that_failed_is_left_out_and_its_changes_are_captured_again(shop: Shop) -> None:
    full = increment(shop.project)
    shop.change()
    failed = increment(shop.project)
    shop.damage(failed["id"])
    assert shop.project.run("verify", failed["id"]).returncode == 3
    again = increment(shop.project)
    assert (again["type"], again["parent_id"]) == ("incremental", full["id"])
    assert shop.chain(again)["to_position"] == shop.chain(failed)["to_position"]


def test_a_part_that_is_gone_is_as_good_as_no_backup(shop: Shop) -> None:
    full = increment(shop.project)
    shop.part(full["id"], "main").unlink()
    second = increment(shop.project)
    assert second["type"] == "full"
    assert f"{full['id']}, which the newest chain of 'shop' begins with, is damaged" in second["warnings"][0]


def test_a_parent_whose_damage_shows_while_it_is_read_ends_its_chain(shop: Shop) -> None:
    full = increment(shop.project)
    shop.damage(full["id"], "pages")
    second = increment(shop.project)
    assert second["type"] == "full"
    assert full["id"] in breaks(shop.project)[0] or shop.part(full["id"], "pages").name in breaks(shop.project)[0]


def test_a_process_killed_before_the_commit_leaves_nothing_and_the_next_captures_the_same(shop: Shop) -> None:
    full = increment(shop.project)
    shop.change()
    killed_increment(shop.project, "shop")
    assert [backup["id"] for backup in shop.project.json("list")["backups"]] == [full["id"]]
    assert_every_published_backup_is_whole(shop.project)
    after = increment(shop.project)
    assert after["parent_id"] == full["id"]
    assert shop.chain(after)["to_position"] != shop.chain(full)["to_position"]
    assert_nothing_else_is_stored(shop.project)


def test_a_full_in_an_increments_place_whose_process_was_killed_after_the_commit_is_taken_in(shop: Shop) -> None:
    killed_increment(shop.project, "shop", "after")
    assert shop.project.json("list")["backups"] == []
    shop.change()
    first = increment(shop.project)
    assert first["type"] == "incremental"
    listed = {backup["id"]: backup["type"] for backup in shop.project.json("list")["backups"]}
    assert listed == {first["id"]: "incremental", first["parent_id"]: "full"}


def test_two_captures_of_one_entry_never_run_at_once(shop: Shop) -> None:
    increment(shop.project)
    request = CreateRequest("shop", BackupType.INCREMENTAL)
    with (
        Workspace.open(shop.project.environment) as workspace,
        workspace.catalog.entry_lock("shop", "incremental backup"),
        pytest.raises(EntryLocked),
    ):
        create_backup(workspace, request, run=RUN, progress=Silent(), cancellation=Cancellation())


def test_a_source_that_cannot_be_told_of_the_backup_takes_nothing_from_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AccessDenied("The slot could not be moved.")

    monkeypatch.setattr(SqliteChain, "published", refuse)
    full = increment(shop.project)
    assert full["status"] == "good"
    assert (
        f"{full['id']} is whole, but its source does not know it yet: The slot could not be moved." in full["warnings"]
    )
    monkeypatch.undo()
    assert increment(shop.project)["parent_id"] == full["id"]


@pytest.mark.parametrize(("stop", "exit_code"), [(Interrupted("Stopped."), 130), (StorageError("Not there."), 0)])
def test_whatever_stops_the_closing_of_a_chain_takes_nothing_from_the_full(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, stop: BackupError, exit_code: int
) -> None:
    before = increment(shop.project)
    told: list[str] = []

    def stopped(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr(create, "_closes", lambda plan, engine: plan.type is BackupType.FULL)
    monkeypatch.setattr("db_backup.jobs.closing.newest_link", stopped)
    monkeypatch.setattr(SqliteChain, "published", lambda _, manifest: told.append(manifest.id))
    done = shop.project.run("create", "shop", "--type", "full")
    assert done.returncode == exit_code, done.stderr
    (full,) = {backup["id"] for backup in shop.project.json("list")["backups"]} - {before["id"]}
    assert f"{full} is made; what was to follow it was not done." in done.stderr or stop.message in done.stderr
    assert told == [full]


def test_a_closing_increment_that_fails_its_proof_is_told_of(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    increment(shop.project)
    monkeypatch.setattr(create, "_closes", lambda plan, engine: plan.type is BackupType.FULL)
    monkeypatch.setattr(prove, "_closing", closing_of_the_newest_full)

    def damaged(*_: object, **__: object) -> None:
        raise ArtefactCorrupt("Its bytes have changed.")

    check = contents.check_stored
    monkeypatch.setattr(
        contents,
        "check_stored",
        lambda stored, part, **more: (damaged if "incremental" in part.path else check)(stored, part, **more),
    )
    (full,) = shop.project.json("create", "shop", "--type", "full")["backups"]
    assert "which closes the chain before this full, has failed verification: Its bytes" in full["warnings"][0]


def closing_of_the_newest_full(workspace: Workspace, full: BackupSummary) -> list[str]:
    """As for a server's full."""
    increments = workspace.catalog.newest_first(BackupQuery(database="shop", type=BackupType.INCREMENTAL))
    return [backup.id for backup in increments]


def test_replaying_a_chain_proves_its_newest_increment(shop: Shop) -> None:
    increment(shop.project)
    for _ in range(2):
        shop.change()
        newest = increment(shop.project)
    (proof,) = shop.project.json("verify", newest["id"], "--level", "restore")["proofs"]
    assert (proof["result"], proof["reached"]) == ("passed", "restore")
    assert proof["evidence"]["links"] == 3
    assert proof["evidence"]["restore_seconds"] > 0


def test_a_replay_that_meets_a_damaged_base_fails_and_says_of_the_base_that_it_is_damaged(shop: Shop) -> None:
    full = increment(shop.project)
    shop.change()
    first, second = increment(shop.project), increment(shop.project)
    shop.damage(full["id"])
    (proof,) = shop.project.json("verify", second["id"], "--level", "restore", exit_code=3)["proofs"]
    assert (proof["result"], proof["reached"]) == ("failed", "archive")
    assert shop.part(full["id"], "main").name in proof["reason"]
    listed = {backup["id"]: backup["status"] for backup in shop.project.json("list")["backups"]}
    assert listed[full["id"]] == listed[second["id"]] == "failed_verification"
    (useless,) = shop.project.json("verify", first["id"], exit_code=1)["proofs"]
    assert (useless["result"], useless["reached"]) == ("inconclusive", "checksum")
    assert f"{full['id']}, which it needs, is failed verification" in useless["reason"]


def test_a_chain_that_cannot_be_replayed_ends_where_it_fails_first(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [increment(shop.project)]
    for _ in range(4):
        shop.change()
        chain.append(increment(shop.project))
    ids = [backup["id"] for backup in chain]
    rebuild = SqliteChain.open_rebuilt

    def fails_at_the_third(engine: SqliteChain, links: Sequence[Link], *rest: Any) -> Any:
        if ids[2] in [link.manifest.id for link in links]:
            raise LoadFailed("A transaction cannot be replayed.")
        return rebuild(engine, links, *rest)

    monkeypatch.setattr(SqliteChain, "open_rebuilt", fails_at_the_third)
    shop.project.run("verify", ids[-1], "--level", "restore")
    stored = {backup["id"]: backup for backup in shop.project.json("list")["backups"]}
    assert [stored[link]["proof_level"] for link in ids[:2]] == ["restore", "restore"]
    assert stored[ids[2]]["status"] == "failed_verification"
    (window,) = shop.project.json("list", "--recovery")["databases"][0]["windows"]
    assert window["last_id"] == ids[1]
    (health,) = shop.project.json("health")["databases"]
    assert {"chain unbroken", "no backup failed verification"} <= {
        control["name"] for control in health["controls"] if control["result"] == "fail"
    }

    shop.change()
    anew = increment(shop.project)
    assert anew["type"] == "full"
    assert f"{ids[2]} is whole, but could not be replayed" in anew["warnings"][0]
    assert [ids[2] in lost for lost in breaks(shop.project)] == [True]
    shop.change()
    assert increment(shop.project)["parent_id"] == anew["id"]
    assert len(breaks(shop.project)) == 1


def test_a_chain_whose_full_has_failed_is_lost_and_the_next_full_says_so(shop: Shop) -> None:
    full = increment(shop.project)
    shop.change()
    increment(shop.project)
    shop.damage(full["id"])
    shop.project.run("verify", full["id"])
    anew = increment(shop.project)
    assert anew["type"] == "full"
    assert anew["warnings"][0].startswith(
        f"{INSTEAD}{full['id']}, which the newest chain of 'shop' begins with, is damaged"
    )
    assert len(breaks(shop.project)) == 1


def test_a_replay_larger_than_the_limit_is_not_tried(large_shop: Shop) -> None:
    increment(large_shop.project)
    large_shop.change()
    newest = increment(large_shop.project)
    (proof,) = large_shop.project.json(
        "verify", newest["id"], "--level", "restore", exit_code=1, BACKUP_VERIFICATION_RESTORE_MAX_MB="1"
    )["proofs"]
    assert (proof["result"], proof["reached"]) == ("inconclusive", "archive")
    assert "BACKUP_VERIFICATION_RESTORE_MAX_MB" in proof["reason"]


@pytest.mark.parametrize(
    ("asked", "made"),
    [(("--type", "incremental"), {"shop"}), (("--type", "structure"), {"shop", "crm"}), ((), {"shop"})],
)
def test_without_names_those_entries_are_backed_up_that_take_the_type(
    tmp_path: Path, asked: tuple[str, ...], made: set[str]
) -> None:
    shop, crm = (sqlite_database(tmp_path, name, rows=5) for name in ("shop", "crm"))
    project = Project(tmp_path / "project", {"shop": shop, "crm": crm}, as_process=False)
    entries = {"shop": {"conn_id": "shop_db", "types": ["full", "incremental"]}, "crm": {"conn_id": "crm_db"}}
    project.config.write_text(yaml.safe_dump({"databases": entries}))
    created = project.json("create", "--no-verify", *asked, BACKUP_DEFAULT_TYPE="incremental")
    assert {backup["database"] for backup in created["backups"]} == made


@pytest.mark.parametrize(
    ("section", "keys", "backup_type", "words"),
    [
        ("databases", {}, "incremental", ["no chain of incremental backups", "Add incremental to its types"]),
        ("servers", {}, "structure", ["a whole server", "name a databases: entry"]),
        ("servers", {}, "full", ["leads to a SQLite file", "databases: entry"]),
    ],
)
def test_a_type_that_an_entry_cannot_take_is_refused_with_the_fix(
    tmp_path: Path, section: str, keys: dict[str, Any], backup_type: str, words: list[str]
) -> None:
    project = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop", rows=5)}, as_process=False)
    project.config.write_text(yaml.safe_dump({section: {"shop": {"conn_id": "shop_db", **keys}}}))
    done = project.run("create", "shop", "--type", backup_type)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module", params=[PostgresChainLab, MysqlChainLab], ids=["postgres", "mariadb"])
def lab(request: pytest.FixtureRequest) -> Iterator[ChainLab]:
    opened: Callable[[Path], Any] = request.param.open
    with tempfile.TemporaryDirectory(prefix="labs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with opened(folder) as lab:
            yield lab


def server_project(folder: Path, lab: ChainLab, **connections: ConnectionInfo) -> Project:
    project = Project(folder / "project", {"main": lab.connection, **connections}, as_process=False)
    databases = {name: {"conn_id": f"{name}_db", "server": "main"} for name in connections}
    project.config.write_text(yaml.safe_dump({"servers": {"main": {"conn_id": "main_db"}}, "databases": databases}))
    return project


def test_a_servers_chain_is_made_killed_proved_broken_and_begun_anew(tmp_path: Path, lab: ChainLab) -> None:
    project = server_project(tmp_path, lab)

    full = increment(project, "main")
    assert (full["type"], full["scope"], full["proof_level"]) == ("full", "server", "restore"), full["proof_reason"]
    assert set(lab.databases) <= set(full["databases"])

    lab.change(1)
    killed_increment(project, "main")
    first = increment(project, "main")
    assert (first["type"], first["scope"], first["parent_id"]) == ("incremental", "server", full["id"])
    assert "passwords" in project.manifest(first["id"])["notes"][0]
    (proof,) = project.json("verify", first["id"], "--level", "restore")["proofs"]
    assert (proof["result"], proof["reached"]) == ("passed", "restore"), proof["reason"]
    assert proof["evidence"]["links"] == 2

    lab.change(2)
    killed_increment(project, "main", "after")  # the server was never told that it may let go of this
    second = increment(project, "main")
    assert second["parent_id"] not in (full["id"], first["id"])
    assert project.manifest(second["parent_id"])["chain"]["parent_id"] == first["id"]

    (newer,) = project.json("create", "main", "--type", "full", BACKUP_VERIFICATION_LEVEL="checksum")["backups"]
    assert not [warning for warning in newer["warnings"] if "chain" in warning]
    closing = next(backup for backup in project.json("list")["backups"] if backup["parent_id"] == second["id"])
    assert (closing["type"], closing["base_id"], closing["status"]) == ("incremental", full["id"], "good")
    assert closing["recovery_point"] > newer["recovery_point"]
    lab.change(3)
    assert increment(project, "main")["parent_id"] == newer["id"]

    lab.break_history()
    refused = project.run("create", "main", "--type", "incremental", "--no-full")
    assert refused.returncode == 1
    assert "Run `db-backup create main --type full`" in refused.stderr
    anew = increment(project, "main", "--no-verify")
    assert anew["type"] == "full"
    assert anew["warnings"][0].startswith(INSTEAD)
    assert breaks(project)[0] in anew["warnings"][0]
    last = increment(project, "main")
    assert last["parent_id"] == anew["id"]

    lab.break_history()
    (told,) = project.json("create", "main", "--type", "full", "--no-verify")["backups"]
    warned = any("no moment between that and the full can be recovered" in warning for warning in told["warnings"])
    # A slot is gone and its log may be there yet: the chain is closed, or it is told that it is not.
    closed = any(backup["parent_id"] == last["id"] for backup in project.json("list")["backups"])
    assert warned is not closed
    assert len(breaks(project)) == (3 if warned else 2)


def test_a_database_names_the_server_that_it_lies_on(tmp_path: Path, lab: ChainLab) -> None:
    database = lab.lab.connection(lab.databases[0])
    project = server_project(tmp_path, lab, shop=database)
    checked = project.json("databases", "--check")["databases"]
    assert [(entry["database"], entry["scope"], entry["server"]) for entry in checked] == [
        ("main", "server", None),
        ("shop", "database", "main"),
    ]
    assert all(entry["check"]["reachable"] for entry in checked)
    assert checked[1]["check"]["warnings"] == []


def test_a_database_that_names_a_server_of_another_engine_is_told_so(tmp_path: Path, lab: ChainLab) -> None:
    other = dataclasses.replace(sqlite_database(tmp_path, "shop", rows=5))
    project = server_project(tmp_path, lab, shop=other)
    main, shop = project.json("databases", "--check", exit_code=1)["databases"]
    assert main["check"]["reachable"]
    assert "its server 'main' is of" in shop["check"]["error"]


def closed_in_pieces(project: Project, monkeypatch: pytest.MonkeyPatch, object_bytes: int) -> None:
    """Whatever is made from now on is encrypted, and no object is larger than that."""
    keys = project.folder / "keys"
    put_key(keys, generate_secret("default"))
    project.environment |= {"BACKUP_KEYS_PATH": str(keys), "BACKUP_ENCRYPT": "true"}
    monkeypatch.setattr(LocalStorage, "max_object_bytes", object_bytes)


def assert_closed_in_pieces(project: Project, object_bytes: int, *backups: dict[str, Any]) -> None:
    for backup in backups:
        for part in project.manifest(backup["id"])["parts"]:
            assert part["stored_bytes"] <= object_bytes
            assert part["path"].endswith(".enc")
            assert part["cipher"]["name"] == "AES256_GCM_HKDF_1MB"


def test_a_servers_chain_is_encrypted_and_in_pieces(
    tmp_path: Path, lab: ChainLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = server_project(tmp_path, lab)
    object_bytes = 8_000 if isinstance(lab, MysqlChainLab) else 1_000_000
    closed_in_pieces(project, monkeypatch, object_bytes)
    full = increment(project, "main", "--no-verify", "--compression", "zstd")
    lab.change(8)
    link = increment(project, "main", "--compression", "none")
    assert link["parent_id"] == full["id"]
    assert len(full["parts"]) > 2
    assert_closed_in_pieces(project, object_bytes, full, link)
    assert project.manifest(link["id"])["notes"] == []
    (proof,) = project.json("verify", link["id"], "--level", "restore")["proofs"]
    assert (proof["result"], proof["reached"]) == ("passed", "restore"), proof["reason"]


def test_a_files_chain_is_encrypted_and_in_pieces(large_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    project = large_shop.project
    closed_in_pieces(project, monkeypatch, 100_000)
    full = increment(project)
    large_shop.execute("update orders set note = note || 'y' where id % 40 = 0")
    link = increment(project, "shop", "--compression", "none")
    assert (link["parent_id"], link["encrypted"]) == (full["id"], True)
    assert len(link["parts"]) > 2  # of two streams
    assert_closed_in_pieces(project, 100_000, full, link)
    (proof,) = project.json("verify", link["id"], "--level", "restore")["proofs"]
    assert (proof["result"], proof["reached"]) == ("passed", "restore"), proof["reason"]
