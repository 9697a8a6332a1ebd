"""A throwaway Airflow for the session, set up before anything imports Airflow, and the real DAG run in it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.dag_runs import Run, run_dag
from support.project import Project

PROJECT_ROOT = Path(__file__).resolve().parents[2]

if "airflow" in sys.modules:
    raise pytest.UsageError("Airflow was imported before its test home was set: import it inside functions.")

_HOME = Path(tempfile.mkdtemp(prefix="db-backup-airflow-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ.update(
    {
        "AIRFLOW_HOME": str(_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME / 'airflow.db'}",
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-for-tests-that-is-longer-than-the-sixty-four-bytes-it-must-have",
    }
)


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """Airflow's metadata database, on SQLite; returns a copy as it was before anything ran."""
    from airflow.utils.db import initdb

    initdb()
    unused = _HOME / "unused.db"
    with closing(sqlite3.connect(_HOME / "airflow.db")) as migrated, closing(sqlite3.connect(unused)) as copy:
        migrated.backup(copy)
    return unused


@pytest.fixture
def scratch() -> Iterator[Path]:
    """For scratch servers: unlike pytest's own folders, an unprivileged user can pass through it."""
    with tempfile.TemporaryDirectory(prefix="db-backup-scratch-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


@pytest.fixture
def project(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """Makes a project and puts its settings and connections into the environment of this process."""

    def make(**connections: object) -> Project:
        made = Project(tmp_path / "project", connections, as_process=False)  # type: ignore[arg-type]
        for name in os.environ:
            if name.startswith(("BACKUP_", "AIRFLOW_CONN_")):
                monkeypatch.delenv(name)
        for name, value in made.environment.items():
            if name.startswith(("BACKUP_", "AIRFLOW_CONN_")):
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("BACKUP_SCRATCH_PATH", str(scratch))
        return made

    return make


@pytest.fixture
def run(airflow_database: Path) -> Callable[..., Run]:
    """Parses the real DAG files and runs a DAG to its end."""
    return run_dag


@pytest.fixture
def daily(run: Callable[..., Run]) -> Callable[..., Run]:
    """Runs ``backup_daily`` to its end."""
    return functools.partial(run, "backup_daily")
