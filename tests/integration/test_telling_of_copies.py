"""What the commands tell a person of copies: where they are, and what of them nobody knows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from db_backup.model import ConnectionInfo, EngineName
from support.several_storages import SECOND, SpreadProject

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> SpreadProject:
    source = tmp_path / "shop.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    database.close()
    shop = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
    return SpreadProject(tmp_path / "project", {"shop": shop})


def unmount(project: SpreadProject) -> None:
    project.storages[SECOND].rename(project.storages[SECOND].with_name("aside"))


def test_create_says_where_the_copies_are_and_where_one_is_missing(project: SpreadProject) -> None:
    header, row = project.run("create", "shop").stdout.splitlines()
    assert header.split()[-1] == "COPIES"
    assert row.endswith(f"local, {SECOND}")

    unmount(project)
    made = project.run("create", "shop")
    assert made.returncode == 0
    assert made.stdout.rstrip().endswith(f"local, {SECOND} (missing)")

    project.place("local")
    assert "COPIES" not in project.run("create", "shop").stdout, "it is where backups usually are"


def test_a_copy_that_is_elsewhere_alone_is_told_of_too(project: SpreadProject) -> None:
    project.place(SECOND)
    made, listed = project.run("create", "shop").stdout, project.run("list").stdout
    assert made.splitlines()[1].endswith(SECOND)
    assert listed.splitlines()[1].endswith(SECOND)


def test_replicate_never_counts_what_a_silent_storage_may_miss_as_none(project: SpreadProject) -> None:
    project.create()
    assert project.run("replicate").stdout == "0 made, 0 missing.\n"
    unmount(project)
    project.create()

    planned, done = project.run("replicate", "--dry-run"), project.run("replicate")

    assert planned.stdout == f"0 to be made; what is missing in {SECOND} cannot be told now.\n"
    assert done.stdout == f"0 made, 0 missing elsewhere; what is missing in {SECOND} cannot be told now.\n"
    assert (planned.returncode, done.returncode) == (0, 1)


def test_a_refusal_because_of_a_silent_storage_names_it_once_and_says_what_to_ask(project: SpreadProject) -> None:
    backup = project.create()
    place = str(project.storages[SECOND])
    unmount(project)

    refused = project.run("delete", backup, "--force")

    assert refused.returncode == 4
    assert refused.stderr.count(place) == 1, refused.stderr
    assert "`db-backup storages --check`" in refused.stderr


def test_a_pin_that_a_silent_storage_does_not_know_of_is_told(project: SpreadProject) -> None:
    backup = project.create()
    unmount(project)

    pinned = project.run("pin", backup)

    assert pinned.returncode == 0
    assert pinned.stderr.startswith(f"Warning: The storage '{SECOND}' did not answer: ")


def test_the_detailed_list_says_what_is_encrypted(project: SpreadProject) -> None:
    keys = {"BACKUP_KEYS_PATH": str(project.folder / "keys")}
    project.environment |= keys
    assert project.run("create", "shop", "--encrypt").returncode == 1
    assert project.run("keys", "generate", "default").returncode == 0
    assert project.run("create", "shop", "--encrypt").returncode == 0
    assert "gzip, encrypted" in project.run("list", "--detailed").stdout


def test_whoever_turns_encryption_on_first_is_told_how_to_make_the_key(project: SpreadProject) -> None:
    refused = project.run("create", "shop", BACKUP_ENCRYPT="true", BACKUP_KEYS_PATH=str(project.folder / "keys"))
    assert refused.returncode == 1
    assert "`db-backup keys generate default`" in refused.stderr
