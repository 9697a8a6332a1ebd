"""db-backup download: whole and checked, or nothing; never over what is there."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from db_backup import naming
from db_backup.catalog import Catalog
from db_backup.errors import ArtefactCorrupt, Interrupted
from db_backup.jobs.download import DownloadRequest, download_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation, Silent
from support.project import Project

pytestmark = pytest.mark.integration

RUN = RunInfo(origin="cli", actor="ada", host="tower")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    source = tmp_path / "shop.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {n}",) for n in range(5000)])
    database.close()
    connection = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
    return Project(tmp_path / "project", {"shop": connection}, as_process=False)


@pytest.fixture
def backup(project: Project) -> str:
    created = project.json("create", "shop", "--no-verify")["backups"]
    backup_id: str = created[0]["id"]
    return backup_id


def split_in_two(project: Project, backup: str, *, streams: tuple[str, str] = ("one", "two")) -> list[bytes]:
    """Publish the backup again as one of two parts, as a parallel dump is; returns their plain bytes."""
    manifest = Manifest.from_json(project.manifest_path(backup).read_bytes(), source="m")
    (part,) = manifest.parts
    stored = project.artefact(backup).read_bytes()
    parts = []
    for number in (1, 2):
        path = f"{backup}.part-00{number}.sqlite{naming.CODEC_SUFFIX[part.compression]}"
        (project.storage / "database" / path).write_bytes(stored)
        parts.append(part.model_copy(update={"path": path, "stream": streams[number - 1]}))
    project.manifest_path(backup).write_bytes(manifest.model_copy(update={"parts": tuple(parts)}).to_json())
    project.json("catalog", "reindex")
    return [gzip.decompress(stored)] * 2


def acts(project: Project) -> list[tuple[str, str]]:
    return [(act["act"], act["outcome"]) for act in project.json("audit")["acts"]]


def test_it_comes_decompressed_under_its_own_name_into_the_working_folder(project: Project, backup: str) -> None:
    report = project.json("download", backup)

    target = project.folder / f"{backup}.sqlite"
    part = project.manifest(backup)["parts"][0]
    assert report == {
        "backup_id": backup,
        "path": str(target),
        "size_bytes": part["plain_bytes"],
        "parts": [target.name],
        "read_from": "local",
        "passed_over": [],
        "warnings": [],
    }
    assert hashlib.sha256(target.read_bytes()).hexdigest() == part["plain_sha256"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600, "it holds the whole database"
    with sqlite3.connect(target) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (5000,)
    database.close()


def test_raw_is_what_is_stored(project: Project, backup: str, tmp_path: Path) -> None:
    project.json("download", backup, "--raw", "-o", str(tmp_path))

    stored = project.artefact(backup)
    assert (tmp_path / stored.name).read_bytes() == stored.read_bytes()


def test_it_may_be_named_by_its_file_and_go_to_a_file(project: Project, backup: str, tmp_path: Path) -> None:
    done = project.run("download", project.artefact(backup).name, "-o", str(tmp_path / "copy.db"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "copy.db"))


def test_an_existing_file_is_refused_and_left_alone_unless_forced(project: Project, backup: str) -> None:
    target = project.folder / f"{backup}.sqlite"
    target.write_text("mine")

    refusal = project.run("download", backup)
    assert refusal.returncode == 4
    assert "--force" in refusal.stderr
    assert target.read_text() == "mine"

    assert project.run("download", backup, "--force").returncode == 0
    assert target.read_bytes().startswith(b"SQLite format 3")


def test_a_file_that_appears_meanwhile_is_refused_too(project: Project, backup: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    class Appearing(Silent):
        def stage(self, description: str, total_bytes: int | None = None) -> None:
            target.write_text("mine")

    with Workspace.open(project.environment) as workspace, pytest.raises(Exception, match="exists already") as refusal:
        download_backup(
            workspace, DownloadRequest(backup, target), run=RUN, progress=Appearing(), cancellation=Cancellation()
        )
    assert getattr(refusal.value, "exit_code", None) == 4
    assert target.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("raw", [[], ["--raw"]], ids=["decoded", "raw"])
def test_a_damaged_backup_leaves_nothing_behind(project: Project, backup: str, tmp_path: Path, raw: list[str]) -> None:
    artefact = project.artefact(backup)
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.chmod(0o640)
    artefact.write_bytes(content)
    folder = tmp_path / "out"
    folder.mkdir()

    done = project.run("download", backup, "-o", str(folder), *raw)

    assert done.returncode == ArtefactCorrupt.exit_code
    assert "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []
    assert ("download", "failed") in acts(project)


def test_what_failed_its_verification_comes_with_a_warning(project: Project, backup: str) -> None:
    manifest = project.manifest(backup)
    manifest["inventory"]["tables"][0]["rows"] += 1
    project.manifest_path(backup).write_text(json.dumps(manifest))
    project.json("verify", backup, "--level", "restore", exit_code=3)
    done = project.run("download", backup)
    assert (done.returncode, f"Warning: {backup} failed its verification" in done.stderr) == (0, True)


def test_a_stop_leaves_nothing_behind(project: Project, backup: str, tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.cancel("by a test")
    with Workspace.open(project.environment) as workspace, pytest.raises(Interrupted):
        download_backup(
            workspace, DownloadRequest(backup, tmp_path / "x"), run=RUN, progress=Silent(), cancellation=cancellation
        )
    assert not (tmp_path / "x").exists()
    assert list(tmp_path.glob(".*")) == []


def test_a_folder_that_cannot_be_written_is_named(project: Project, backup: str) -> None:
    done = project.run("download", backup, "-o", "/proc/nowhere/x")
    assert done.returncode == 1
    assert "/proc/nowhere/x cannot be written" in done.stderr


def test_what_is_no_plain_file_is_never_replaced(project: Project, backup: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    assert project.run("download", backup, "-o", str(pipe), "--force").returncode == 4
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_called_that_and_left_empty(project: Project, backup: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount")
    try:
        done = project.run("download", backup, "-o", str(disk))
        assert done.returncode == 1
        assert "No room is left" in done.stderr
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_several_parts_come_as_one_tar_with_the_manifest(project: Project, backup: str, tmp_path: Path) -> None:
    plain = split_in_two(project, backup)

    report = project.json("download", backup, "-o", str(tmp_path))
    raw = project.json("download", backup, "-o", str(tmp_path / "raw.tar"), "--raw")

    names = [f"{backup}.part-001.sqlite", f"{backup}.part-002.sqlite"]
    assert report["path"] == str(tmp_path / f"{backup}.tar")
    assert report["size_bytes"] == Path(report["path"]).stat().st_size
    with tarfile.open(report["path"]) as archive:
        assert archive.getnames() == [f"{backup}.json", *names]
        contents = [archive.extractfile(name).read() for name in archive.getnames()]  # type: ignore[union-attr]
    assert json.loads(contents[0])["id"] == backup
    assert contents[1:] == plain
    with tarfile.open(raw["path"]) as archive:
        stored = archive.extractfile(f"{names[0]}.gz")
        assert stored is not None
        assert stored.read() == (project.storage / "database" / f"{names[0]}.gz").read_bytes()


def test_one_stream_of_several_parts_comes_as_one_file(project: Project, backup: str, tmp_path: Path) -> None:
    plain = split_in_two(project, backup, streams=("main", "main"))

    report = project.json("download", backup, "-o", str(tmp_path))
    raw = project.json("download", backup, "-o", str(tmp_path), "--raw")

    assert report["parts"] == [f"{backup}.part-001.sqlite"]
    assert Path(report["path"]).read_bytes() == b"".join(plain)
    assert raw["path"] == str(tmp_path / f"{backup}.tar")


def test_of_several_parts_a_damaged_last_one_spoils_the_whole(project: Project, backup: str, tmp_path: Path) -> None:
    split_in_two(project, backup)
    last = project.storage / "database" / f"{backup}.part-002.sqlite.gz"
    last.write_bytes(last.read_bytes()[:-20])
    folder = tmp_path / "out"
    folder.mkdir()

    assert project.run("download", backup, "-o", str(folder)).returncode == ArtefactCorrupt.exit_code
    assert list(folder.iterdir()) == []


def test_it_streams_to_stdout_and_nothing_else_does(project: Project, backup: str) -> None:
    program = [sys.executable, "-m", "db_backup", "download", backup, "-o", "-"]
    done = subprocess.run(program, env=project.environment, cwd=project.folder, capture_output=True, check=True)
    assert hashlib.sha256(done.stdout).hexdigest() == project.manifest(backup)["parts"][0]["plain_sha256"]


def test_a_reader_that_goes_away_is_an_error_in_words(project: Project, backup: str) -> None:
    script = f"'{sys.executable}' -m db_backup download {backup} -o - | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = project.run_process(["bash", "-c", script])
    assert done.returncode == 1
    assert "was not written to its end: Broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


def test_stdout_is_not_shared_with_json(project: Project, backup: str) -> None:
    assert project.run("download", backup, "-o", "-", "--json").returncode == 2


def test_while_it_is_read_it_is_leased_and_the_act_is_written_down(
    project: Project, backup: str, tmp_path: Path
) -> None:
    seen: list[str] = []

    class Looking(Silent):
        def stage(self, description: str, total_bytes: int | None = None) -> None:
            with Catalog.open(project.catalog) as catalog:
                seen.extend(lease.purpose for lease in catalog.leases(backup))

    with Workspace.open(project.environment) as workspace:
        download_backup(
            workspace, DownloadRequest(backup, tmp_path / "x"), run=RUN, progress=Looking(), cancellation=Cancellation()
        )
        assert workspace.catalog.leases(backup) == []
    assert seen == ["download"]
    assert acts(project)[:2] == [("download", "done"), ("download", "started")]
