"""Set in the environment, seen in what `db-backup` does: settings that no other test sets.

Which test stands for which setting: ``tests/unit/test_settings_are_tested.py``.
"""

from __future__ import annotations

import grp
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.config import Entry
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType, ConnectionInfo, EngineName
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

NOBODY = 65534


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@pytest.fixture
def project_with(tmp_path: Path) -> Callable[[ConnectionInfo], Project]:
    return lambda connection: Project(tmp_path / "project", {"shop": connection}, as_process=False)


def backup_of(project: Project, *arguments: str, **environment: str) -> dict[str, Any]:
    (backup,) = project.json("create", "shop", *arguments, **environment)["backups"]
    return dict(backup)


def manifest_of(project: Project, **environment: str) -> dict[str, Any]:
    return project.manifest(backup_of(project, "--no-verify", **environment)["id"])


def entry_of(project: Project, **environment: str) -> Entry:
    with Workspace.open({**project.environment, **environment}) as workspace:
        return workspace.config.entry("shop")


# General


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", ".zst"), ("none", ".sqlite"), ("lz4", ".lz4")])
def test_the_default_compression_is_what_backups_are_compressed_with(
    project: Project, compression: str, suffix: str
) -> None:
    backup = backup_of(project, BACKUP_DEFAULT_COMPRESSION=compression)
    assert backup["compression"] == compression
    assert project.artefact(backup["id"]).suffix == suffix


def test_the_compression_level_makes_backups_larger_or_smaller(project: Project) -> None:
    fast, small = (manifest_of(project, BACKUP_COMPRESSION_LEVEL=level)["parts"][0] for level in ("1", "9"))
    assert (fast["level"], small["level"]) == (1, 9)
    assert fast["stored_bytes"] > small["stored_bytes"]


def test_backups_are_encrypted_when_the_setting_says_so(project: Project) -> None:
    keys = {"BACKUP_KEYS_PATH": str(project.folder / "keys")}
    assert project.run("keys", "generate", "default", **keys).returncode == 0
    assert [backup_of(project, BACKUP_ENCRYPT=value, **keys)["encrypted"] for value in ("true", "false")] == [
        True,
        False,
    ]


def test_another_configuration_file_has_other_entries(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"databases": {"bazaar": {"conn_id": "shop_db"}}}))
    names = [entry["database"] for entry in project.json("databases", BACKUP_CONFIG=str(other))["databases"]]
    assert names == ["bazaar"]


# Retention and verification


@pytest.mark.parametrize(
    ("variable", "backup_type"),
    [
        ("BACKUP_RETENTION_DAYS", BackupType.FULL),
        ("BACKUP_RETENTION_DAYS", BackupType.DATA),
        ("BACKUP_RETENTION_STRUCTURE_DAYS", BackupType.STRUCTURE),
    ],
)
def test_retention_days_say_when_a_backup_expires(project: Project, variable: str, backup_type: BackupType) -> None:
    usual, asked = (
        project.manifest(backup_of(project, "--type", backup_type.value, "--no-verify", **environment)["id"])
        for environment in ({}, {variable: "3"})
    )
    assert usual["retention_days"] > 3
    assert asked["retention_days"] == 3


def test_the_retention_of_incrementals_is_a_setting_of_its_own(project: Project) -> None:
    """Nothing takes incrementals yet: what an entry would keep them for is what can be seen."""
    days = entry_of(project, BACKUP_RETENTION_INCREMENTAL_DAYS="3").retention
    assert (days[BackupType.INCREMENTAL], days[BackupType.FULL]) == (3, 30)


def test_the_verification_level_is_how_far_a_new_backup_is_proved(project: Project) -> None:
    for level in ("checksum", "archive", "restore"):
        backup = backup_of(project, BACKUP_VERIFICATION_LEVEL=level)
        assert (backup["status"], backup["proof_level"]) == ("good", level)
        (proof,) = project.json("verify", backup["id"], BACKUP_VERIFICATION_LEVEL=level)["proofs"]
        assert (proof["level"], proof["result"]) == (level, "passed")


# Storage and paths


def test_backups_go_into_the_folder_of_the_local_storage(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other-folder"
    (backup,) = project.json("create", "shop", BACKUP_LOCAL_PATH=str(other), BACKUP_CATALOG_PATH=str(tmp_path / "c"))[
        "backups"
    ]
    assert (other / "metadata" / f"{backup['id']}.json").exists()
    assert project.files() == set()


def test_backups_go_to_the_storage_of_the_setting(project: Project, tmp_path: Path) -> None:
    configuration = project.folder / "nas.yaml"
    nas = tmp_path / "nas"
    configuration.write_text(
        f"storages: {{nas: {{url: '{nas.as_uri()}'}}}}\ndatabases: {{shop: {{conn_id: shop_db}}}}\n"
    )
    backup = backup_of(project, BACKUP_CONFIG=str(configuration), BACKUP_STORAGE_DISK="nas")
    assert backup["storages"] == ["nas"]
    assert (nas / "metadata" / f"{backup['id']}.json").exists()
    assert project.files() == set()


def test_a_storage_that_is_not_there_is_refused_by_the_settings_name(project: Project) -> None:
    done = project.run("create", "shop", BACKUP_STORAGE_DISK="s3")
    assert done.returncode == 2
    assert "BACKUP_STORAGE_DISK (environment): there is no storage 's3'" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to a group that it is not in")
def test_files_belong_to_the_group_of_the_setting(project: Project) -> None:
    backup = backup_of(project, "--no-verify", BACKUP_FILE_GROUP=grp.getgrgid(NOBODY).gr_name)
    for path in (project.storage, project.artefact(backup["id"]), project.manifest_path(backup["id"])):
        assert path.stat().st_gid == NOBODY


def test_another_catalogue_knows_other_backups(project: Project, tmp_path: Path) -> None:
    backup = backup_of(project, "--no-verify")
    elsewhere = {"BACKUP_CATALOG_PATH": str(tmp_path / "another.sqlite")}
    assert project.json("list", **elsewhere)["backups"] == []
    assert [listed["id"] for listed in project.json("list")["backups"]] == [backup["id"]]
    assert (tmp_path / "another.sqlite").exists()


@pytest.mark.parametrize("variable", ["BACKUP_STAGING_PATH", "BACKUP_SCRATCH_PATH"])
def test_temporary_files_lie_where_the_setting_says(project: Project, variable: str) -> None:
    place = project.scratch / "of-the-setting"
    assert backup_of(project, **{variable: str(place)})["proof_level"] == "restore"
    assert list(place.iterdir()) == []


# Limits


def test_parallel_jobs_are_the_streams_that_carry_rows(
    project_with: Callable[[ConnectionInfo], Project], postgres_lab: PostgresLab
) -> None:
    project = project_with(postgres_lab.connection(postgres_lab.create_sample()))
    one = manifest_of(project)
    several = manifest_of(project, BACKUP_PARALLEL_JOBS="3")
    assert [part["stream"] for part in one["parts"]] == ["main"]
    assert [part["stream"] for part in several["parts"]] == ["pre-data", "data-1", "data-2", "data-3", "post-data"]
    assert several["inventory"] == one["inventory"]


# Engines


@pytest.mark.parametrize(
    ("variable", "kinds"),
    [
        ("MYSQL_BACKUP_ROUTINES", {"procedure", "function"}),
        ("MYSQL_BACKUP_TRIGGERS", {"trigger"}),
        ("MYSQL_BACKUP_EVENTS", {"event"}),
    ],
)
def test_what_a_setting_of_mysql_leaves_out_is_not_in_the_backup_and_is_told(
    project_with: Callable[[ConnectionInfo], Project], mysql_lab: MysqlLab, variable: str, kinds: set[str]
) -> None:
    database = mysql_lab.create_sample()
    project = project_with(mysql_lab.connection(database))
    usual, without = manifest_of(project), manifest_of(project, **{variable: "false"})
    lost = {item["kind"] for item in usual["inventory"]["objects"]} - {
        item["kind"] for item in without["inventory"]["objects"]
    }
    assert lost == kinds
    assert [warning for warning in without["warnings"] if f"{variable}=false" in warning]
    assert not [warning for warning in usual["warnings"] if variable in warning]
    mysql_lab.drop(database)


def test_without_a_single_transaction_mysql_locks_its_tables(
    project_with: Callable[[ConnectionInfo], Project], mysql_lab: MysqlLab
) -> None:
    database = mysql_lab.create_sample()
    project = project_with(mysql_lab.connection(database))
    for value, snapshot in (("true", "single transaction"), ("false", "tables locked")):
        assert manifest_of(project, MYSQL_BACKUP_SINGLE_TRANSACTION=value)["consistency"]["snapshot"] == snapshot
    mysql_lab.drop(database)


@pytest.mark.parametrize("dump_format", ["custom", "plain", "tar", "directory"])
def test_the_format_of_postgres_is_what_its_dump_is(
    project_with: Callable[[ConnectionInfo], Project], postgres_lab: PostgresLab, dump_format: str
) -> None:
    database = postgres_lab.create_sample()
    project = project_with(postgres_lab.connection(database))
    assert dump_format in manifest_of(project, PGSQL_BACKUP_FORMAT=dump_format)["format"]
    postgres_lab.drop(database)


@pytest.mark.parametrize(
    ("variable", "question"),
    [
        ("PGSQL_BACKUP_NO_OWNER", "SELECT relowner <> 'postgres'::regrole FROM pg_class WHERE relname = 'mine'"),
        ("PGSQL_BACKUP_NO_PRIVILEGES", "SELECT relacl IS NOT NULL FROM pg_class WHERE relname = 'open'"),
    ],
)
def test_owners_and_privileges_come_back_as_the_settings_say(
    project_with: Callable[[ConnectionInfo], Project],
    postgres_server: PostgresServer,
    postgres_lab: PostgresLab,
    variable: str,
    question: str,
) -> None:
    role, _ = postgres_server.create_user()
    database = postgres_server.create_database(
        "CREATE TABLE mine (a integer)",
        f"ALTER TABLE mine OWNER TO {role}",
        "CREATE TABLE open (a integer)",
        "GRANT SELECT ON open TO PUBLIC",
    )
    project = project_with(postgres_lab.connection(database))
    backup = backup_of(project, "--no-verify")["id"]
    for value, expected in (("true", False), ("false", True)):
        name = postgres_lab.fresh_name()
        project.json("restore", backup, "--as", name, **{variable: value})
        assert postgres_server.run(question, database=name) == [(expected,)]
        postgres_lab.drop(name)


def test_a_compacted_sqlite_image_has_no_unused_pages(
    project_with: Callable[[ConnectionInfo], Project], tmp_path: Path
) -> None:
    path = tmp_path / "shrunk.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (value BLOB)")
        connection.executemany("INSERT INTO t VALUES (?)", ((bytes(1000),) for _ in range(500)))
        connection.execute("DELETE FROM t WHERE rowid > 5")
    project = project_with(ConnectionInfo("shrunk", EngineName.SQLITE, database=str(path)))
    exact, compacted = (backup_of(project, BACKUP_SQLITE_VACUUM=value)["plain_bytes"] for value in ("false", "true"))
    assert exact == path.stat().st_size
    assert compacted < exact / 10
