"""Restoring at the terminal, on every engine: what comes back, and what is never touched."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from db_backup.comparison import compare
from db_backup.manifest import Manifest
from db_backup.model import EngineName
from db_backup.progress import Cancellation
from support.lab import EngineLab
from support.lab_postgres import PostgresLab
from support.project import Project

pytestmark = pytest.mark.integration


@pytest.fixture(params=list(EngineName), ids=str)
def lab(request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab]) -> EngineLab:
    return labs[request.param]


@pytest.fixture
def source(lab: EngineLab) -> Iterator[str]:
    database = lab.create_sample()
    yield database
    lab.drop(database)


@pytest.fixture
def project(tmp_path: Path, lab: EngineLab, source: str) -> Project:
    return Project(tmp_path / "project", {"shop": lab.connection(source)}, as_process=False)


@pytest.fixture
def copy(lab: EngineLab) -> Iterator[str]:
    """The name of a database that does not exist yet."""
    name = lab.fresh_name()
    yield name
    lab.drop(name)


def create(project: Project, *arguments: str) -> str:
    """Unproved, for what is restored here is compared here."""
    (backup,) = project.json("create", "shop", "--no-verify", *arguments)["backups"]
    return str(backup["id"])


def configure(project: Project, **keys: object) -> None:
    """The entry `shop`, with more keys."""
    entry = {"conn_id": "shop_db", **keys}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": {"shop": entry}}))


def change(lab: EngineLab, database: str) -> None:
    """What goes wrong in a database: rows are lost, others are changed."""
    lab.execute(database, "DELETE FROM marks WHERE id = 2", "UPDATE marks SET word = 'changed' WHERE id = 1")


def assert_as_the_manifest_says(project: Project, lab: EngineLab, backup: str, database: str) -> None:
    manifest = Manifest.from_json(project.manifest_path(backup).read_bytes(), source="the test")
    assert compare(manifest.inventory, lab.engine(database).take_inventory(manifest, Cancellation())) == ()


def test_what_was_changed_and_deleted_comes_back_beside_and_in_place(
    project: Project, lab: EngineLab, source: str, copy: str
) -> None:
    before = lab.stock_dump(source)
    backup = create(project)
    change(lab, source)
    changed = lab.stock_dump(source)
    assert changed != before

    beside = project.json("restore", backup, "--as", copy)
    assert (beside["way"], beside["differences"], beside["in_place"]) == ("new", [], True)
    assert (lab.stock_dump(copy), lab.stock_dump(source)) == (before, changed)
    assert_as_the_manifest_says(project, lab, backup, copy)

    replaced = project.json("restore", backup, "--force")
    assert (replaced["way"], replaced["differences"], replaced["in_place"]) == ("replace", [], True)
    assert lab.stock_dump(source) == before
    assert_as_the_manifest_says(project, lab, backup, source)
    assert not lab.exists(lab.engine(source).replacement_name())

    lab.drop(copy)
    assert project.json("restore", replaced["safety_backup_id"], "--as", copy)["differences"] == []
    assert lab.stock_dump(copy) == changed


def test_a_database_that_holds_something_is_refused_with_what_it_holds(
    project: Project, lab: EngineLab, source: str
) -> None:
    backup = create(project)
    change(lab, source)
    before, files = lab.stock_dump(source), project.files()

    done = project.run("restore", backup)

    assert done.returncode == 4
    assert "is not empty: it holds" in done.stderr
    assert "--force" in done.stderr
    assert (lab.stock_dump(source), project.files()) == (before, files)


def test_a_lost_database_is_restored_under_its_own_name_without_force(
    project: Project, lab: EngineLab, source: str
) -> None:
    before = lab.stock_dump(source)
    create(project)
    lab.drop(source)

    report = project.json("restore", "--database", "shop")

    assert (report["way"], report["differences"], report["safety_backup_id"]) == ("new", [], None)
    assert lab.stock_dump(source) == before


@pytest.mark.parametrize(("collation", "made"), [("C", ("LATIN1", "C")), ("xx_XX", ("UTF8", "C.UTF-8"))])
def test_a_lost_postgres_database_gets_its_encoding_back_where_the_server_has_its_locale(
    tmp_path: Path, postgres_lab: PostgresLab, collation: str, made: tuple[str, str]
) -> None:
    lab, name = postgres_lab, postgres_lab.fresh_name()
    options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    lab.server.run(f"CREATE DATABASE {name} {options}")
    lab.execute(name, "CREATE TABLE words (word text)", "INSERT INTO words VALUES ('café')")
    project = Project(tmp_path / "project", {"shop": lab.connection(name)}, as_process=False)
    backup = create(project)
    manifest = project.manifest(backup)
    manifest["server"]["collation"] = collation
    project.manifest_path(backup).write_text(json.dumps(manifest))
    lab.drop(name)

    report = project.json("restore", backup)

    assert report["differences"] == []
    query = f"SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = '{name}'"
    assert lab.server.run(query) == [made]
    assert any("'LATIN1'" in warning for warning in report["warnings"]) is (made[0] != "LATIN1")
    lab.drop(name)


def test_an_empty_database_is_filled(project: Project, lab: EngineLab, source: str) -> None:
    before = lab.stock_dump(source)
    backup = create(project)
    empty = lab.create_empty()

    report = project.json("restore", backup, "--as", empty)

    assert (report["way"], report["differences"]) == ("empty", [])
    assert lab.stock_dump(empty) == before
    lab.drop(empty)


def test_every_backup_can_be_tested_in_a_scratch_server_that_leaves_nothing(
    project: Project, lab: EngineLab, source: str
) -> None:
    for backup_type in ("full", "structure"):
        backup = create(project, "--type", backup_type)
        files, before = project.files(), lab.stock_dump(source)
        report = project.json("restore", backup, "--test")
        assert (report["way"], report["differences"], report["target"]) == ("scratch", [], "a scratch server")
        assert report["load_seconds"] >= 0
        assert (project.files(), lab.stock_dump(source)) == (files, before)
        assert project.json("list", "--type", backup_type)["backups"][0]["status"] == "unverified"
        assert list(project.scratch.iterdir()) == []


def test_rows_go_into_the_empty_tables_of_a_structure(project: Project, lab: EngineLab, source: str, copy: str) -> None:
    structure, data = create(project, "--type", "structure"), create(project, "--type", "data")
    project.json("restore", structure, "--as", copy)

    report = project.json("restore", data, "--as", copy)

    assert (report["way"], report["differences"]) == ("rows", [])
    assert lab.own_counts(copy) == lab.own_counts(source)
    refused = project.run("restore", data, "--as", copy, "--force")
    assert refused.returncode == 4
    assert "has rows already" in refused.stderr
    assert lab.own_counts(copy) == lab.own_counts(source)


def test_a_dropped_table_comes_back_and_the_others_stay_as_they_are(
    project: Project, lab: EngineLab, source: str
) -> None:
    backup = create(project)
    lab.execute(source, "DROP TABLE marks", "INSERT INTO left_side VALUES (77)")

    report = project.json("restore", backup, "--table", lab.table("marks"))

    assert (report["way"], report["tables"], report["rows"], report["differences"]) == ("tables", 1, 3, [])
    assert report["safety_backup_id"]
    counts = lab.counts(source)
    assert (counts[lab.table("marks")], counts[lab.table("left_side")]) == (3, 1)

    change(lab, source)
    refused = project.run("restore", backup, "--table", lab.table("marks"))
    assert refused.returncode == 4
    assert "marks" in refused.stderr
    assert lab.counts(source)[lab.table("marks")] == 2


def test_tables_that_a_backup_does_not_hold_are_refused(project: Project, lab: EngineLab, copy: str) -> None:
    backup = create(project)
    done = project.run("restore", backup, "--table", lab.table("mraks"), "--as", copy)
    assert done.returncode == 2
    assert "mraks" in done.stderr
    assert not lab.exists(copy)


def test_a_check_that_fails_keeps_the_old_database_in_its_place(project: Project, lab: EngineLab, source: str) -> None:
    backup = create(project)
    change(lab, source)
    before = lab.stock_dump(source)
    configure(project, checks=[{"sql": "select count(*) from marks", "expect": 4}])

    report = project.json("restore", backup, "--force", exit_code=3)

    assert [check["passed"] for check in report["checks"]] == [False]
    assert [difference["kind"] for difference in report["differences"]] == ["check"]
    assert not report["in_place"]
    assert lab.stock_dump(source) == before
    assert lab.counts(report["restored_to"])[lab.table("marks")] == 3

    configure(project, checks=[{"sql": "select count(*) = 3 from marks", "expect": True}])
    report = project.json("restore", backup, "--force")
    assert [check["passed"] for check in report["checks"]] == [True]
    assert report["in_place"]
    assert lab.counts(source)[lab.table("marks")] == 3


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (EngineName.POSTGRES, {"version": "99.1"}),
        (EngineName.MYSQL, {"version": "99.1.0"}),
        (EngineName.MYSQL, {"flavour": "MySQL", "version": "8.0.36"}),
    ],
    ids=["older PostgreSQL", "older MariaDB", "MariaDB for MySQL"],
)
def test_a_server_that_is_older_or_of_another_flavour_is_refused_before_anything_is_changed(
    tmp_path: Path, labs: Mapping[EngineName, EngineLab], engine: EngineName, said: dict[str, str]
) -> None:
    lab = labs[engine]
    database = lab.create_sample()
    project = Project(tmp_path / "project", {"shop": lab.connection(database)}, as_process=False)
    backup = create(project)
    manifest = project.manifest(backup)
    manifest["server"] |= said
    project.manifest_path(backup).write_text(json.dumps(manifest))
    before, files, copy = lab.stock_dump(database), project.files(), lab.fresh_name()

    for arguments in (["--force"], ["--as", copy]):
        done = project.run("restore", backup, *arguments)
        assert done.returncode == 1
        assert said["version"].rpartition(".")[0] in done.stderr

    assert (lab.stock_dump(database), project.files()) == (before, files)
    assert not lab.exists(copy)
    lab.drop(database)


def test_a_damaged_artefact_leaves_the_target_as_it_was_and_a_whole_one_works(
    project: Project, lab: EngineLab, source: str
) -> None:
    backup = create(project)
    change(lab, source)
    before = lab.stock_dump(source)
    artefact = project.artefact(backup)
    whole = artefact.read_bytes()
    for damage in ("start", "middle", "end", "truncated", "missing"):
        spoil(artefact, whole, damage)
        done = project.run("restore", backup, "--force", "--no-safety-backup")
        assert done.returncode == 3, f"{damage}: {done.stderr}"
        assert "is as it was" in done.stderr, damage
        assert lab.stock_dump(source) == before, damage
        assert not lab.exists(lab.engine(source).replacement_name()), damage
    artefact.write_bytes(whole)
    assert project.json("restore", backup, "--force", "--no-safety-backup")["differences"] == []
    assert lab.counts(source)[lab.table("marks")] == 3


def spoil(artefact: Path, whole: bytes, damage: str) -> None:
    if damage == "missing":
        artefact.unlink()
        return
    if damage == "truncated":
        artefact.write_bytes(whole[: len(whole) * 2 // 3])
        return
    place = {"start": 20, "middle": len(whole) // 2, "end": len(whole) - 1}[damage]
    artefact.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
