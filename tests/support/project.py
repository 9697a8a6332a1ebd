"""A throwaway project: settings, backup.yaml and connections in its environment, and `db-backup` run in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from db_backup.cli.main import main
from db_backup.model import ConnectionInfo, EngineName


def connection_variable(connection: ConnectionInfo) -> str:
    """The value of an AIRFLOW_CONN_… variable, in Airflow's JSON form."""
    if connection.engine is EngineName.SQLITE:
        return json.dumps({"conn_type": "sqlite", "host": connection.database})
    return json.dumps(
        {
            "conn_type": connection.engine.value,
            "host": connection.host,
            "port": connection.port,
            "login": connection.login,
            "password": connection.password,
            "schema": connection.database,
            "extra": dict(connection.extra),
        }
    )


class Project:
    """Everything lies in ``folder``; nothing of Airflow runs.

    :param as_process: whether ``run`` starts a process, as a person's shell does; otherwise it calls ``main`` in this
        one, which saves a second of imports each time.
    """

    def __init__(self, folder: Path, connections: Mapping[str, ConnectionInfo], *, as_process: bool = True) -> None:
        self.folder = folder
        self.as_process = as_process
        self.storage = folder / "backups"
        self.catalog = folder / "catalog.sqlite"
        folder.mkdir(parents=True)
        # Not below pytest's folders, which are closed to the unprivileged user that scratch servers run as.
        self._scratch = tempfile.TemporaryDirectory(prefix="scratch-")
        self.scratch = Path(self._scratch.name)
        self.scratch.chmod(0o755)
        self.config = folder / "backup.yaml"
        self.config.write_text(
            yaml.safe_dump({"version": 1, "databases": {name: {"conn_id": f"{name}_db"} for name in connections}})
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKUP_", "AIRFLOW"))}
        self.environment = {
            **kept,
            "BACKUP_CONFIG": str(self.config),
            "BACKUP_LOCAL_PATH": str(self.storage),
            "BACKUP_CATALOG_PATH": str(self.catalog),
            "BACKUP_SCRATCH_PATH": str(self.scratch),
            "BACKUP_STAGING_PATH": str(self.scratch),
            "AIRFLOW_HOME": str(folder / "no-airflow"),
            **{f"AIRFLOW_CONN_{name.upper()}_DB": connection_variable(info) for name, info in connections.items()},
        }

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`db-backup ARGUMENTS`, with more environment variables if given."""
        if self.as_process:
            return self.run_process([sys.executable, "-m", "db_backup", *arguments], **environment)
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, {**self.environment, **environment}, clear=True),
            mock.patch.object(tempfile, "tempdir", None),  # TMPDIR is read again
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = main(arguments)
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def run_process(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Any command in this project's folder and environment."""
        return subprocess.run(
            list(command),
            env={**self.environment, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def json(self, *arguments: str, exit_code: int = 0, **environment: str) -> Any:
        """The JSON document that the command prints; its exit code is checked."""
        done = self.run(*arguments, "--json", **environment)
        assert done.returncode == exit_code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def manifest_path(self, backup_id: str) -> Path:
        return self.storage / "metadata" / f"{backup_id}.json"

    def manifest(self, backup_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.manifest_path(backup_id).read_text())
        return document

    def artefact(self, backup_id: str) -> Path:
        return self.storage / "database" / self.manifest(backup_id)["parts"][0]["path"]

    def files(self) -> set[str]:
        """Every file of the storage but the audit log and the root's id; hidden ones too."""
        found = {str(path.relative_to(self.storage)) for path in self.storage.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith("audit/") and name != ".storage-id"}
