"""``PGSQL_BACKUP_FORMAT`` tar and directory: from the terminal, and what they need on a disk of this machine."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

import pytest

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres import PostgresEngine, room
from db_backup.errors import Interrupted, StorageFull
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from support.disks import Disk
from support.dumps import REQUEST, dump_of
from support.lab_postgres import PostgresLab
from support.postgres_server import PostgresServer
from support.project import Project
from support.tars import tar_members

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> str:
    name = postgres_server.create_database(
        "CREATE TABLE large (a integer, b text)",
        "INSERT INTO large SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 6000) g",
        "CREATE TABLE small (a integer)",
    )
    postgres_server.run("ANALYZE", database=name)
    return name


def engine(lab: PostgresLab, database: str, dump_format: str, staging_path: Path | None = None) -> PostgresEngine:
    options: EngineOptions = dataclasses.replace(
        lab.options, postgres_format=dump_format, staging_path=staging_path or lab.options.staging_path
    )
    return PostgresEngine(lab.connection(database), options)


@pytest.mark.parametrize("dump_format", ["tar", "directory"])
def test_every_type_is_made_proved_and_restored_at_the_terminal(
    tmp_path: Path, postgres_lab: PostgresLab, dump_format: str
) -> None:
    source = postgres_lab.create_sample()
    project = Project(tmp_path / "project", {"shop": postgres_lab.connection(source)}, as_process=False)
    for backup_type in ("full", "structure", "data"):
        (backup,) = project.json("create", "shop", "--type", backup_type, PGSQL_BACKUP_FORMAT=dump_format)["backups"]
        assert backup["status"] == "good"
        assert backup["proof_level"] == ("archive" if backup_type == "data" else "restore")
        assert backup["parts"][0]["path"].endswith(".tar.gz")
        assert project.manifest(backup["id"])["format"].startswith(f"pg_dump {dump_format}")
        if backup_type == "full":
            name = postgres_lab.fresh_name()
            assert project.json("restore", backup["id"], "--as", name)["differences"] == []
            assert postgres_lab.counts(name) == postgres_lab.counts(source)
            postgres_lab.drop(name)
    postgres_lab.drop(source)


def test_a_directory_is_written_below_the_staging_path_by_as_many_jobs_as_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_lab: PostgresLab, database: str
) -> None:
    staging, said, folder = tmp_path / "staging", tmp_path / "said", tmp_path / "bin"
    folder.mkdir()
    (folder / "pg_dump").write_text(
        f'#!/bin/sh\necho "$@" >> {said}\nexec {shlex.quote(str(postgres_lab.real_dump_tool()))} "$@"\n'
    )
    (folder / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    dumped = dump_of(engine(postgres_lab, database, "directory", staging), jobs=3)
    arguments = said.read_text().splitlines()[-1].split()
    (file,) = (argument.removeprefix("--file=") for argument in arguments if argument.startswith("--file="))
    assert Path(file).parents[1] == staging
    assert "--jobs=3" in arguments
    assert list(staging.iterdir()) == []
    assert {name.rpartition(".")[2] for name in tar_members(dumped.plain)} == {"dat"}


def test_a_directory_that_has_no_room_is_refused_before_the_dump(
    tmp_path: Path, postgres_lab: PostgresLab, database: str
) -> None:
    with Disk.mounted(tmp_path / "disk", size_kilobytes=1000) as disk:
        crowded = engine(postgres_lab, database, "directory", disk.folder)
        for attempt in (lambda: crowded.preflight(REQUEST), lambda: dump_of(crowded)):
            with pytest.raises(StorageFull, match=rf"takes .* MB, and {disk.folder} has .* left") as caught:
                attempt()
            assert "BACKUP_STAGING_PATH" in caught.value.hint
        structure = dump_of(crowded, backup_type=BackupType.STRUCTURE)
        assert structure.manifest.inventory.rows == 0


def test_a_directory_that_fills_the_disk_says_so_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_lab: PostgresLab, database: str
) -> None:
    monkeypatch.setattr(room, "estimated_bytes", lambda _: 0)
    with Disk.mounted(tmp_path / "disk", size_kilobytes=1000) as disk:
        with pytest.raises(StorageFull, match=f"{disk.folder} was filled by the dump of 'shop'"):
            dump_of(engine(postgres_lab, database, "directory", disk.folder))
        assert list(disk.folder.iterdir()) == []


def test_a_tar_whose_largest_table_has_no_room_beside_pg_dump_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_lab: PostgresLab, database: str
) -> None:
    with Disk.mounted(tmp_path / "disk", size_kilobytes=1000) as disk:
        monkeypatch.setattr(room, "_TEMPORARY", disk.folder)
        crowded = engine(postgres_lab, database, "tar")
        with pytest.raises(StorageFull, match="The largest table of 'shop' takes") as caught:
            dump_of(crowded)
        assert "PGSQL_BACKUP_FORMAT=directory" in caught.value.hint
        assert dump_of(crowded, exclude=("large",)).manifest.excluded_tables == ("public.large",)


def test_a_directory_is_gone_when_its_dump_is_stopped(tmp_path: Path, postgres_lab: PostgresLab, database: str) -> None:
    staging = tmp_path / "staging"
    cancellation = Cancellation()
    with engine(postgres_lab, database, "directory", staging).open_backup(REQUEST, cancellation) as dump:
        os.read(dump.streams[0].fileno(), 10)
        assert len(list(staging.iterdir())) == 1
        cancellation.cancel("enough")
        with pytest.raises(Interrupted, match="enough"):
            dump.complete()
    assert list(staging.iterdir()) == []
