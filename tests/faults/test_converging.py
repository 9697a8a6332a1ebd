"""Random work and random harm over three storages: what has a whole copy is never lost, and all comes right again.

Each seed is a story of its own, the same every time: backups, verifications, cleanups and rotations of keys, while
storages go away, bytes are turned over, and manifests and states are lost, spoiled or put back as they were.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.model import ConnectionInfo, EngineName
from support.several_storages import SECOND, THIRD, SpreadProject

pytestmark = pytest.mark.integration

_STEPS = 9
_PLACES = (("local", SECOND, THIRD), ("local", SECOND), (SECOND, THIRD), ("local", THIRD))


class Story:
    """A project, and beside it what is known of it by looking at the files alone."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.source = folder / "shop.sqlite"
        with closing(sqlite3.connect(self.source)) as database:
            database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        shop = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(self.source))
        self.project = SpreadProject(folder / "project", {"shop": shop}, storages=(SECOND, THIRD))
        document = yaml.safe_load(self.project.config.read_text())
        document["databases"]["shop"] |= {"types": ["full", "incremental"], "encrypt": True}
        self.project.config.write_text(yaml.safe_dump(document))
        self.project.environment["BACKUP_KEYS_PATH"] = str(folder / "keys")
        self.keys = 0
        self.new_key()
        self.contents: dict[str, list[Any]] = {}
        self.pinned: set[str] = set()
        self.harmed: set[str] = set()

    def new_key(self) -> None:
        name = f"key-{self.keys + 1}"
        if self.project.run("keys", "generate", name).returncode == 0:  # not while nobody can write the audit trail
            self.project.environment["BACKUP_ENCRYPTION_KEY_ID"] = name
            self.keys += 1

    def create(self) -> None:
        with closing(sqlite3.connect(self.source)) as database, database:
            database.execute("INSERT INTO orders (item) VALUES (?)", (self.random.randbytes(2000).hex(),))
        kind = self.random.choice(["full", "incremental"])
        done = self.project.run("create", "shop", "--type", kind, "--json")
        for made in json.loads(done.stdout)["backups"]:
            self.contents[made["id"]] = rows(self.source)

    def whole_copies(self, backup: str) -> list[str]:
        """The storages that have all of it, as it was written."""
        return [name for name, folder in self.project.storages.items() if is_whole(folder, backup)]

    def work(self, away: str | None) -> None:
        match self.random.choice(["create", "create", "cleanup", "verify", "replicate", "rotate", "place", "pin"]):
            case "create":
                self.create()
            case "rotate":
                self.new_key()
                self.project.run("keys", "rotate")
            case "place":
                self.project.place(*self.random.choice(_PLACES))
                self.project.environment["BACKUP_KEEP_LOCAL_COPY"] = self.random.choice(["true", "false"])
            case "pin" if away is not None:  # what one storage missed, and the other lost, nobody knows
                self.create()
            case "pin":
                backup = self.random.choice(sorted(self.contents))
                if self.project.run("pin", backup).returncode == 0:
                    self.pinned.add(backup)
            case "verify":
                self.project.run("verify", "--all", "--level", "checksum")
            case command:
                self.project.run(command)

    def harm(self) -> None:
        """One copy, once, of a backup that has another whole one."""
        unharmed = sorted(self.contents.keys() - self.harmed)
        chosen = [backup for backup in unharmed if len(self.whole_copies(backup)) > 1]
        if not chosen:
            return
        backup = self.random.choice(chosen)
        self.harmed.add(backup)
        storage = self.random.choice(self.whole_copies(backup))
        metadata = self.project.storages[storage] / "metadata"
        manifest, state = metadata / f"{backup}.json", metadata / f"{backup}.state.json"
        match self.random.choice(["bytes", "manifest gone", "state gone", "manifest spoiled", "part gone"]):
            case "bytes":
                self.project.spoil(backup, storage)
            case "manifest gone":
                manifest.unlink()
            case "state gone":
                state.unlink()
            case "manifest spoiled":
                manifest.write_text("nonsense")
            case "part gone":
                self.project.parts(backup, storage)[0].unlink()

    def step(self) -> None:
        away = self.random.choice([None, None, *self.project.storages])
        if away is not None:
            folder = self.project.storages[away]
            folder.rename(folder.with_name(f"{folder.name}-aside"))
        before = {backup for backup in self.contents if self.whole_copies(backup)}
        self.work(away)
        if away is not None:
            folder.with_name(f"{folder.name}-aside").rename(folder)
        # None of them is old enough for cleanup: what was whole is whole somewhere.
        assert {backup for backup in before if not self.whole_copies(backup)} == set()


def is_whole(folder: Path, backup: str) -> bool:
    try:
        manifest = json.loads((folder / "metadata" / f"{backup}.json").read_bytes())
        return all(
            hashlib.sha256((folder / "database" / part["path"]).read_bytes()).hexdigest() == part["stored_sha256"]
            for part in manifest["parts"]
        )
    except (FileNotFoundError, ValueError):
        return False


def rows(file: Path) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT * FROM orders ORDER BY id").fetchall()


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_done_and_damaged_all_comes_right_again(tmp_path: Path, seed: int) -> None:
    story = Story(tmp_path, seed)
    project = story.project
    story.create()
    for _ in range(_STEPS):
        story.harm()
        story.step()

    project.run("verify", "--all", "--level", "checksum")
    assert project.run("replicate").returncode == 0
    assert project.json("keys", "rotate")["failed"] == []
    for number in range(1, story.keys):
        (tmp_path / "keys" / f"key-{number}.json").unlink()

    shown = {backup["id"]: backup for backup in project.json("list")["backups"]}
    assert shown.keys() == story.contents.keys()
    for backup, told in shown.items():
        assert sorted(told["storages"]) == sorted(story.whole_copies(backup))
        assert (told["missing_copies"], told["damaged_copies"], told["status"]) == ([], [], "good")
        assert told["pinned"] == (backup in story.pinned)
    assert project.json("replicate")["wanted"] == []
    assert project.json("catalog", "reindex")["problems"] == []
    assert project.json("catalog", "check")["problems"] == []
    assert {backup["id"]: backup for backup in project.json("list")["backups"]} == shown
    for backup in sorted(story.contents)[-2:]:
        target = tmp_path / f"{backup}.sqlite"
        assert project.json("restore", backup, "--as", str(target))["differences"] == []
        assert rows(target) == story.contents[backup]
