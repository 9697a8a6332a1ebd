"""What an entry's connections lead to, once they are resolved: whether its chain, or its server, can be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import db_backup
from db_backup.config import Entry, load_config
from db_backup.errors import ConfigurationError
from db_backup.jobs.workspace import refuse_other_history, refuse_other_server
from db_backup.model import ConnectionInfo, EngineName
from db_backup.settings import load_settings

pytestmark = pytest.mark.unit

SQLITE = ConnectionInfo("a", EngineName.SQLITE, database="/srv/shop.sqlite")
MYSQL = ConnectionInfo("a", EngineName.MYSQL, host="db", database="shop")
POSTGRES = ConnectionInfo("a", EngineName.POSTGRES, host="db", database="shop")


@pytest.fixture
def entry(tmp_path: Any) -> Any:
    settings = load_settings({"AIRFLOW_HOME": str(tmp_path)}, root=tmp_path)

    def of(text: str) -> Entry:
        return load_config(settings, text=text).entry("shop")

    return of


SERVER = "servers: {shop: {conn_id: a}}"
LISTING = "servers: {shop: {conn_id: a, databases: [crm, shop]}}"
FILE = "databases: {shop: {conn_id: a, types: [full, incremental]}}"


@pytest.mark.parametrize(
    ("text", "connection", "words"),
    [
        (FILE, MYSQL, "is a mysql database, and incremental backups of it belong to its server"),
        (FILE, POSTGRES, "Make the server a servers: entry"),
        (SERVER, SQLITE, "leads to a SQLite file"),
        (LISTING, POSTGRES, "Write databases: all"),
    ],
)
def test_a_chain_of_what_has_none_is_refused(entry: Any, text: str, connection: ConnectionInfo, words: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_other_history(entry(text), connection)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "connection"), [(FILE, SQLITE), (SERVER, MYSQL), (SERVER, POSTGRES), (LISTING, MYSQL)]
)
def test_a_chain_of_what_has_one_is_not(entry: Any, text: str, connection: ConnectionInfo) -> None:
    refuse_other_history(entry(text), connection)


DATABASE = "servers: {main: {conn_id: m}}\ndatabases: {shop: {conn_id: a, server: main}}"


@pytest.mark.parametrize(
    ("server", "ours", "theirs", "words"),
    [
        (SERVER, POSTGRES, MYSQL, "is a postgres database, and its server 'shop' is of mysql"),
        ("servers: {shop: {conn_id: a, databases: [crm]}}", MYSQL, MYSQL, "which 'shop' does not list"),
    ],
)
def test_a_server_that_does_not_hold_the_database_is_refused(
    entry: Any, server: str, ours: ConnectionInfo, theirs: ConnectionInfo, words: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_other_server(entry(DATABASE), ours, entry(server), theirs)
    assert words in str(refusal.value)


def test_a_server_that_lists_the_database_is_its_server(entry: Any) -> None:
    refuse_other_server(entry(DATABASE), MYSQL, entry(LISTING), MYSQL)


OPENING = """
import sys
from db_backup.jobs.workspace import Workspace
with Workspace.open() as workspace:
    print({name: storage.location for name, storage in workspace.storages.items()})
print(sorted({"obstore", "boto3", "botocore", "google.auth", "airflow"} & set(sys.modules)))
"""


def test_opening_a_workspace_touches_no_cloud_and_none_of_its_libraries(tmp_path: Path) -> None:
    """A scheduler that parses DAG files forks: nothing of obstore may have run in it."""
    (tmp_path / "backup.yaml").write_text(
        "storages: {s3: {url: 's3://bucket/db'}, gcs: {url: 'gs://bucket'}, azure: {url: 'azure://container'}}\n"
        "databases: {shop: {conn_id: shop_db}}\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(db_backup.__file__).parents[1]),
        "AIRFLOW_HOME": str(tmp_path),
        "BACKUP_CONFIG": str(tmp_path / "backup.yaml"),
        "BACKUP_LOCAL_PATH": str(tmp_path / "backups"),
    }
    done = subprocess.run(
        [sys.executable, "-c", OPENING], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    storages, imported = done.stdout.splitlines()
    assert storages == str(
        {
            "local": str(tmp_path / "backups"),
            "s3": "s3://bucket/db",
            "gcs": "gs://bucket",
            "azure": "azure://container",
        }
    )
    assert imported == "[]"
