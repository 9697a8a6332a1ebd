"""The runbooks, followed literally: each command as it stands on the page, at a terminal, after the real disaster."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pyrage
import pytest

from db_backup.model import ConnectionInfo, EngineName, utc_now
from support import quick_age
from support.clouds_of_project import keep_in_s3, slow_thaw
from support.lab import EngineLab
from support.lab_postgres import PostgresLab
from support.moto_server import S3Server
from support.postgres_server import PostgresServer
from support.project import Project, connection_variable
from support.several_storages import SECOND, THIRD, SpreadProject
from support.terminal import TerminalSession

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "runbooks"
PASSPHRASE = "correct horse battery staple"
SHOP = """
CREATE TABLE customers (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id integer PRIMARY KEY, customer integer REFERENCES customers (id), total numeric NOT NULL);
INSERT INTO customers VALUES (1, 'Ada'), (2, 'Grace');
INSERT INTO orders VALUES (1, 1, 12.50), (2, 2, 99), (3, 1, 7);
"""


def commands(page: str, heading: str) -> list[str]:
    """What follows the prompt in the page's console blocks below this heading."""
    _, found, text = (PAGES / page).read_text().partition(f"\n## {heading}\n")
    assert found, f"{page} has no heading '{heading}'"
    blocks = re.findall(r"^ *```console\n(.*?)^ *```", text.partition("\n## ")[0], re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    assert lines
    assert all(line.startswith("$ ") for line in lines)
    return [line.removeprefix("$ ") for line in lines]


@pytest.fixture
def lab(request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab]) -> EngineLab:
    """PostgreSQL, whose tables the pages name; where a test asks for another, that."""
    return labs[getattr(request, "param", EngineName.POSTGRES)]


@pytest.fixture
def shop(lab: EngineLab) -> Iterator[ConnectionInfo]:
    """The database `shop` on a real server; what the pages make beside it is taken away with it."""
    made = ("shop", "shop_before", "shop_rescue", "shop_copy")
    for name in made:
        lab.drop(name)
    neighbour = lab.create_empty()
    lab.engine(neighbour).create_database("shop")
    lab.drop(neighbour)
    lab.execute("shop", *filter(str.strip, SHOP.split(";")))
    yield lab.connection("shop")
    for name in made:
        lab.drop(name)


@pytest.fixture
def project(tmp_path: Path, shop: ConnectionInfo) -> Project:
    """A host with `db-backup` on its path and one verified backup."""
    return with_program(Project(tmp_path / "project", {"shop": shop}, as_process=False))


def with_program(project: Project) -> Project:
    """With `db-backup` on its path."""
    programs = project.folder / "bin"
    programs.mkdir()
    program = programs / "db-backup"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m db_backup \"$@\"\n")
    program.chmod(0o755)
    project.environment["PATH"] = f"{programs}:{project.environment['PATH']}"
    return project


def create(project: Project) -> str:
    (backup,) = project.json("create", "shop")["backups"]
    assert backup["status"] == "good"
    return str(backup["id"])


def follow(project: Project, page: str, heading: str, answers: Mapping[str, str]) -> str:
    """Type the section's commands into a shell that ends at the first that fails; what the terminal showed.

    :param answers: what to type whenever this is asked.
    """
    script = "\n".join(["set -e", f"cd '{project.folder}'", *commands(page, heading)])
    with TerminalSession(["bash", "-c", script], project.environment, columns=200) as session:
        shown = session.answer(answers)
        code, out = session.finish()
    assert code == 0, shown + out
    return shown + out


def counts(lab: EngineLab, database: str) -> dict[str, int]:
    return {name.removeprefix("public."): rows for name, rows in lab.counts(database).items()}


def test_every_page_is_in_the_index_and_every_section_with_commands_is_followed() -> None:
    pages = {path.name for path in PAGES.glob("*.md")} - {"README.md"}
    linked = set(re.findall(r"\]\(([a-z-]+\.md)\)", (PAGES / "README.md").read_text()))
    assert linked == pages
    sections = {
        (path.name, section.partition("\n")[0])
        for path in PAGES.glob("*.md")
        for section in path.read_text().split("\n## ")[1:]
        if "```console" in section
    }
    followed = re.findall(r'follow\(\s*\w+,\s*"([a-z-]+\.md)",\s*"([^"]+)"', Path(__file__).read_text())
    assert sections == set(followed)
    for path in PAGES.glob("*.md"):
        assert "```console" not in path.read_text().partition("\n## ")[0], f"{path.name}: nobody runs this"


def test_dropped_table(project: Project, lab: EngineLab) -> None:
    backup = create(project)
    lab.execute("shop", "DROP TABLE orders", "INSERT INTO customers VALUES (3, 'Edsger')")

    follow(project, "dropped-table.md", "The table is gone", {"Backup: ": backup})

    assert counts(lab, "shop") == {"customers": 3, "orders": 3}

    lab.execute("shop", "DELETE FROM orders WHERE id > 1")
    follow(project, "dropped-table.md", "The table is there, and rows are missing", {"Backup: ": backup})
    assert counts(lab, "shop_rescue") == {"orders": 3}
    assert counts(lab, "shop") == {"customers": 3, "orders": 1}


@pytest.mark.parametrize("lab", [EngineName.POSTGRES, EngineName.MYSQL], indirect=True, ids=str)
def test_wrong_deploy(project: Project, lab: EngineLab) -> None:
    backup = create(project)
    lab.execute("shop", "UPDATE orders SET total = 0", "CREATE TABLE news (id integer)")
    spoiled = lab.stock_dump("shop")

    shown = follow(project, "wrong-deploy.md", "Go back", {"Backup: ": backup, "Type 'shop' to replace it": "shop"})

    assert counts(lab, "shop") == counts(lab, "shop_before") == {"customers": 2, "orders": 3}
    assert lab.stock_dump("shop") != spoiled
    safety = re.findall(r"Safety backup of what was there before: (\S+)", shown)
    assert len(safety) == 1
    follow(
        project,
        "wrong-deploy.md",
        "It was not the deploy: undo",
        {"Safety backup: ": safety[0], "Type 'shop' to replace it": "shop"},
    )
    assert lab.stock_dump("shop") == spoiled


def test_cold_backup(project: Project, lab: EngineLab, s3_server: S3Server) -> None:
    policy = {"after_days": 10, "storage_class": "GLACIER"}
    keep_in_s3(project, s3_server, s3_server.new_bucket(), archive=policy)
    backup = create(project)
    create(project)
    with mock.patch("db_backup.jobs.archive.utc_now", return_value=utc_now() + timedelta(days=20)):
        assert [moved["backup_id"] for moved in project.json("archive")["archive"]] == [backup]

    with slow_thaw(s3_server) as thaws_after:
        thaws_after(3)
        shown = follow(project, "cold-backup.md", "Ask for it, now", {"Backup: ": backup})
    assert "3 to 5 hours" in shown
    assert "Asked for." in shown

    follow(project, "cold-backup.md", "Bring it back", {"Backup: ": backup})
    assert counts(lab, "shop_copy") == {"customers": 2, "orders": 3}


@pytest.fixture
def server_with_history(lab_folder: Path) -> Iterator[PostgresLab]:
    """Of its own: whose server is backed up whole must not hold what other tests have made."""
    folder = lab_folder / "runbook"
    folder.mkdir(mode=0o755)
    with PostgresServer.start() as server:
        yield PostgresLab(folder, server)


def test_mistake_at_a_moment(server_with_history: PostgresLab, tmp_path: Path) -> None:
    lab = server_with_history
    lab.server.run("CREATE DATABASE shop")
    lab.execute("shop", *filter(str.strip, SHOP.split(";")))
    project = with_program(Project(tmp_path / "project", {"shop": lab.connection("shop")}, as_process=False))
    project.config.write_text(
        "version: 1\n"
        "servers: {main: {conn_id: main_db, types: [full, incremental]}}\n"
        "databases: {shop: {conn_id: shop_db, server: main}}\n"
    )
    project.environment["AIRFLOW_CONN_MAIN_DB"] = connection_variable(lab.connection("postgres"))
    project.json("create", "main")
    lab.execute("shop", "INSERT INTO orders VALUES (4, 2, 5)")
    ((moment,),) = lab.server.run("SELECT clock_timestamp() AT TIME ZONE 'UTC'", database="shop")
    lab.execute("shop", "UPDATE orders SET total = 0", "INSERT INTO customers VALUES (9, 'Mallory')")
    answers = {"Moment: ": str(moment)}

    shown = follow(project, "mistake-at-a-moment.md", "Look at the moment before it", answers)
    assert "any moment" in shown
    assert totals(lab, "shop_before") == [12.5, 99, 7, 5]
    assert totals(lab, "shop") == [0, 0, 0, 0]

    follow(project, "mistake-at-a-moment.md", "A table is wrong, the rest is right", answers)
    assert counts(lab, "shop_rescue") == {"orders": 4}

    confirmed = {**answers, "Type 'shop' to replace it": "shop"}
    follow(project, "mistake-at-a-moment.md", "All of it has to go back", confirmed)
    assert totals(lab, "shop") == [12.5, 99, 7, 5]


def totals(lab: PostgresLab, database: str) -> list[float]:
    rows = lab.server.run("SELECT total FROM orders ORDER BY id", database=database)
    return [float(total) for (total,) in rows]


def test_lost_server(project: Project, lab: EngineLab, shop: ConnectionInfo) -> None:
    create(project)
    before = lab.stock_dump("shop")
    lab.drop("shop")
    new_connection = connection_variable(shop)
    project.environment["AIRFLOW_CONN_SHOP_DB"] = connection_variable(lab.unreachable("shop"))

    shown = follow(project, "lost-server.md", "Restore to a new server", {"New connection: ": new_connection})

    assert lab.stock_dump("shop") == before
    assert shop.password not in shown


def test_lost_airflow(project: Project, lab: EngineLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(project)
    monkeypatch.setattr(pyrage.passphrase, "encrypt", quick_age.encrypt)  # the page opens the kit again and again
    (project.folder / "passphrase").write_text(PASSPHRASE)
    exported = project.run("kit", "export", "shop.kit.age", "--passphrase-file", "passphrase")
    assert exported.returncode == 0, exported.stderr
    lost_but_for_the_storage(project, tmp_path)
    answers = {"Passphrase of the kit: ": PASSPHRASE}

    follow(project, "lost-airflow.md", "Restore without Airflow", answers)
    assert counts(lab, "shop_copy") == {"customers": 2, "orders": 3}

    follow(project, "lost-airflow.md", "Set it up again", answers)
    listed = project.run_process(["db-backup", "list", "--json"])
    assert [backup["status"] for backup in json.loads(listed.stdout)["backups"]] == ["good", "good"]


def lost_but_for_the_storage(project: Project, tmp_path: Path) -> None:
    """The project in a fresh checkout: no configuration, no catalogue, and nothing in the environment."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "plugins", checkout / "plugins")
    for path in project.folder.glob("*.*"):
        if path.suffix in {".yaml", ".sqlite"} or path.name == "no-airflow":
            path.unlink()
    kept = {name: value for name, value in project.environment.items() if not name.startswith(("BACKUP_", "AIRFLOW"))}
    home = tmp_path / "home"
    home.mkdir()
    packages = [str(checkout / "plugins"), *filter(None, [kept.get("PYTHONPATH")])]
    project.environment = {**kept, "HOME": str(home), "PYTHONPATH": os.pathsep.join(packages)}


@pytest.fixture
def encrypting(project: Project) -> Project:
    """The project, with the key `default` that its backups are encrypted for."""
    keys = project.folder / "keys"
    project.environment |= {"BACKUP_KEYS_PATH": str(keys), "BACKUP_ENCRYPT": "true"}
    assert project.run("keys", "generate", "default").returncode == 0
    return project


def test_lost_key(encrypting: Project, tmp_path: Path) -> None:
    create(encrypting)
    in_the_safe = (encrypting.folder / "keys" / "default.json").rename(tmp_path / "safe.json")

    shown = follow(encrypting, "lost-key.md", "A key is lost", {"Key file: ": str(in_the_safe)})
    assert "A key is missing." in shown
    assert "opened" in shown

    (encrypting.folder / "keys" / "found.json").unlink()
    follow(encrypting, "lost-key.md", "Nobody has a copy", {})
    newest = encrypting.json("list")["backups"][0]
    assert (newest["encrypted"], newest["status"]) == (True, "good")


def test_leaked_key(encrypting: Project, lab: EngineLab) -> None:
    first = create(encrypting)
    follow(encrypting, "lost-key.md", "Others have the key", {})
    (encrypting.folder / "keys" / "default.json").unlink()
    assert encrypting.run("restore", first, "--as", "shop_copy").returncode == 0
    assert counts(lab, "shop_copy") == {"customers": 2, "orders": 3}


def test_corrupt_latest_backup(project: Project, lab: EngineLab) -> None:
    good = create(project)
    damaged = create(project)
    artefact = project.artefact(damaged)
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 0xFF
    artefact.write_bytes(content)
    assert project.run("verify", damaged).returncode == 3

    shown = follow(project, "corrupt-latest-backup.md", "Get a good one, now", {})
    assert "Some are damaged." in shown
    assert re.search(rf"{damaged}.*failed_verification", shown)

    newest = max(backup["id"] for backup in project.json("list")["backups"])
    assert newest not in {good, damaged}
    shown = follow(project, "corrupt-latest-backup.md", "The database is needed back as well", {})
    assert newest in shown
    assert counts(lab, "shop_copy") == {"customers": 2, "orders": 3}


@pytest.fixture
def spread(tmp_path: Path, shop: ConnectionInfo) -> SpreadProject:
    """A host whose backups lie in three storages."""
    project = SpreadProject(tmp_path / "spread", {"shop": shop}, storages=(SECOND, THIRD))
    with_program(project)
    return project


def test_a_copy_is_corrupt(spread: SpreadProject) -> None:
    backup = create(spread)
    spread.spoil(backup, SECOND)

    follow(spread, "lost-storage.md", "A copy is corrupt", {})

    assert spread.parts(backup, SECOND)[0].read_bytes() == spread.parts(backup, "local")[0].read_bytes()


def test_lost_storage(spread: SpreadProject) -> None:
    spread.place("local", SECOND)
    backup = create(spread)
    shutil.rmtree(spread.storage)
    del spread.storages["local"]

    spread.place(SECOND, THIRD)  # what the page says to write into backup.yaml
    shown = follow(spread, "lost-storage.md", "A storage is gone, and will not come back", {})

    assert "1 made, 0 missing" in shown
    assert spread.parts(backup, THIRD)[0].read_bytes() == spread.parts(backup, SECOND)[0].read_bytes()


def test_lost_local_storage(spread: SpreadProject) -> None:
    spread.place("local", SECOND)
    backup = create(spread)
    shutil.rmtree(spread.storage)
    new_folder = spread.folder / "new-disk"
    new_folder.mkdir()

    follow(spread, "lost-storage.md", "It is `local` that is gone", {"New folder: ": str(new_folder)})

    (part,) = spread.parts(backup, SECOND)
    assert (new_folder / "database" / part.name).read_bytes() == part.read_bytes()
