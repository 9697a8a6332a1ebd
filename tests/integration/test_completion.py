"""Completion by a real bash, and what it does when nothing can be looked up."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from pathlib import Path

import pytest

from db_backup.model import ConnectionInfo, EngineName
from support.project import Project

pytestmark = pytest.mark.integration

SHELLS = ["bash", "zsh", "fish"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    source = tmp_path / "shop.sqlite"
    with sqlite3.connect(source) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    database.close()
    names = {"shop": str(source), "shipping": str(source), "crm": str(source)}
    connections = {name: ConnectionInfo(name, EngineName.SQLITE, database=path) for name, path in names.items()}
    return Project(tmp_path / "project", connections, as_process=False)


def completed(project: Project, line: str, **environment: str) -> list[str]:
    """What bash, with the script that `db-backup completion bash` prints, offers at the end of the line."""
    script = project.run("completion", "bash").stdout
    words = line.split(" ")
    folder = project.folder / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "db-backup"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m db_backup \"$@\"\n")
    program.chmod(0o755)
    ask = f"""{script}
COMP_WORDS=({" ".join(repr(word) for word in words)})
COMP_CWORD={len(words) - 1}
_db_backup_completion db-backup
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{folder}:{project.environment['PATH']}"
    done = project.run_process(["bash", "-c", ask], PATH=path, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_a_script_that_it_can_read(project: Project, shell: str, tmp_path: Path) -> None:
    done = project.run("completion", shell)
    assert done.returncode == 0
    assert "_DB_BACKUP_COMPLETE" in done.stdout
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(done.stdout)
        assert project.run_process([shell, "-n", str(script)]).returncode == 0


def test_commands_and_options_are_completed(project: Project) -> None:
    assert completed(project, "db-backup sch") == ["schedules"]
    assert completed(project, "db-backup catalog re") == ["reindex"]
    assert completed(project, "db-backup download --r") == ["--raw"]


def test_entries_are_completed(project: Project) -> None:
    assert completed(project, "db-backup create sh") == ["shipping", "shop"]
    assert completed(project, "db-backup list --database c") == ["crm"]


def test_backups_are_completed_newest_first(project: Project) -> None:
    ids = [project.json("create", name, "--no-verify")["backups"][0]["id"] for name in ("shop", "crm", "shop")]
    assert completed(project, "db-backup download backup_shop") == [ids[2], ids[0]]
    assert completed(project, "db-backup verify backup_c") == [ids[1]]
    assert completed(project, "db-backup restore backup_100%") == []


def test_what_cannot_be_looked_up_is_completed_by_nothing_in_silence(project: Project) -> None:
    assert completed(project, "db-backup create s", BACKUP_RETENTION_DAYS="many") == []
    project.catalog.write_bytes(b"not a database at all, but long enough to have a header of its own. " * 20)
    assert completed(project, "db-backup download backup_") == []
