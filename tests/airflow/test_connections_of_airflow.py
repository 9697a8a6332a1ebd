"""Connections that Airflow holds, outside of a task and inside, and our parser held against Airflow's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db_backup.connections import AirflowConnection, connection_text, parse_connection
from db_backup.jobs.kit import Kit
from support.moto_server import S3Server

pytestmark = pytest.mark.airflow

LOOKUP = """
import sys
from db_backup.connections import resolve_connection
from db_backup.errors import ConnectionNotFound
try:
    info = resolve_connection(sys.argv[1])
    print(info.engine, info.address, info.login, info.password, dict(info.extra))
except ConnectionNotFound as error:
    print("NOT FOUND:", error)
"""


def comparable(connection: Any) -> dict[str, object]:
    """The fields that count; Airflow does not tell an empty text from none."""
    return {
        "conn_type": connection.conn_type,
        "host": connection.host or "",
        "login": connection.login or "",
        "password": connection.password or "",
        "schema": connection.schema or "",
        "port": connection.port or None,
        "extra": connection.extra_dejson,
    }


def ours(text: str) -> dict[str, object]:
    connection: AirflowConnection = parse_connection("shop_db", text)
    return {name: getattr(connection, name) for name in ("conn_type", "host", "login", "password", "schema")} | {
        "port": connection.port or None,
        "extra": dict(connection.extra),
    }


def of_the_task_sdk(text: str) -> dict[str, object]:
    from airflow.sdk import Connection

    read = Connection.from_json if text.startswith("{") else Connection.from_uri
    return comparable(read(text, conn_id="shop_db"))


def of_the_core(text: str) -> dict[str, object]:
    from airflow.models import Connection

    if text.startswith("{"):
        return comparable(Connection.from_json(text, conn_id="shop_db"))
    return comparable(Connection(conn_id="shop_db", uri=text))


URIS = [
    "postgres://user:secret-word@host:5432/shop",
    "postgresql://user:s%40f%3Ae%2Fw%23ord@Host.Example.com/shop",
    "mysql://host",
    "mysql://host/",
    "mysql://user@host/shop",
    "mysql://:password-only@host/shop",
    "mysql://user:@host:0/shop",
    "mariadb://host/shop?charset=utf8mb4&ssl=%7B%22ca%22%3A%20%22x%22%7D",
    "postgres://[2001:db8::1]:5432/shop",
    "postgres:///shop",
    "postgres://%2Fvar%2Frun%2FPostgreSQL/shop",
    "postgres://user:secret-word@%2FData%2FSocket:5432/shop",
    "postgres://host/shop?__extra__=%7B%22sslmode%22%3A%20%22require%22%2C%20%22n%22%3A%201%7D",
    "postgres://host/shop?a=&b=two%20words&a=last",
    "sqlite:///relative.sqlite",
    "sqlite:////data/Shop.sqlite",
    "sqlite://%2Fdata%2FShop.sqlite",
    "my-own-type://host/x",
    "http://https://host:8443/x",
]
JSONS = [
    {"conn_type": "postgres", "host": "h", "login": "l", "password": "p@ss-word", "schema": "s", "port": 5432},
    {"conn_type": "postgresql", "host": "h", "port": "5433", "extra": {"sslmode": "require", "n": 1}},
    {"conn_type": "my-sql", "host": None, "extra": '{"a": [1, {"b": null}]}'},
    {"conn_type": "sqlite", "host": "/data/a b.sqlite", "description": "a file", "extra": ""},
    {"conn_type": "mysql", "port": 0},
]


@pytest.mark.parametrize("text", [*URIS, *map(json.dumps, JSONS)])
def test_a_variable_reads_as_airflow_reads_it(text: str) -> None:
    found = ours(text)
    assert found == of_the_task_sdk(text)
    core = of_the_core(text)
    if "ssl=" in text:  # only the core takes a flat value of the query for JSON; tasks go through the SDK
        core["extra"] = found["extra"]
    assert found == core


@pytest.mark.parametrize("text", [*URIS, *map(json.dumps, JSONS)])
def test_what_a_kit_makes_of_a_connection_is_the_same_to_airflow(text: str) -> None:
    kept = connection_text(parse_connection("shop_db", text).fields)
    assert ours(kept) == of_the_task_sdk(kept) == ours(text)


# Airflow masks every password and extra that it parses, and keeps them: few and longish ones are kind to other tests.
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
hosts = st.sampled_from(["host", "db.example.com", "10.0.0.1", "[2001:db8::1]", "%2Fvar%2FRun", "UPPER.example"])


@given(
    conn_type=st.sampled_from(["postgres", "postgresql", "mysql", "mariadb", "sqlite", "google-cloud-sql"]),
    login=words,
    password=words,
    host=hosts,
    port=st.none() | st.integers(1, 65535),
    schema=words,
    extra=st.dictionaries(words.filter(bool), words, max_size=3),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_encoded_uri_reads_as_the_task_sdk_reads_it(
    conn_type: str, login: str, password: str, host: str, port: int | None, schema: str, extra: dict[str, str]
) -> None:
    user = f"{quote(login, safe='')}:{quote(password, safe='')}@" if login or password else ""
    address = host if port is None else f"{host}:{port}"
    query = f"?{urlencode(extra)}" if extra else ""
    uri = f"{conn_type}://{user}{address}/{quote(schema, safe='')}{query}"
    assert ours(uri) == of_the_task_sdk(uri)


def test_a_connection_that_airflow_writes_is_read_back_as_it_was() -> None:
    from airflow.sdk import Connection

    written = Connection(
        conn_id="shop_db",
        conn_type="postgres",
        host="/var/run/PostgreSQL",
        login="us@er",
        password="p:/?#[]@ss-word",
        schema="my shop",
        port=5433,
        extra='{"sslmode": "require", "nested": {"n": 1}}',
    )
    assert ours(written.get_uri()) == comparable(written)
    assert ours(written.as_json()) == comparable(written)


@pytest.fixture
def stored(airflow_database: None) -> Any:
    """A connection in Airflow's metadata database."""
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.add(
            Connection(
                conn_id="stored_db",
                conn_type="postgres",
                host="db.example.com",
                login="backup",
                password="stored-password",
                schema="shop",
                port=5433,
                extra='{"sslmode": "require"}',
            )
        )
    yield
    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id == "stored_db"))


def look_up(conn_id: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `db-backup` does it: a process of its own, outside of any task."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_CONN_")}
    done = subprocess.run(
        [sys.executable, "-c", LOOKUP, conn_id],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_outside_of_a_task_airflows_metadata_database_answers_and_stdout_stays_clean(stored: None) -> None:
    expected = "postgres db.example.com:5433/shop backup stored-password {'sslmode': 'require'}\n"
    assert look_up("stored_db").stdout == expected


def test_the_variable_wins_over_what_airflow_holds(stored: None) -> None:
    done = look_up("stored_db", AIRFLOW_CONN_STORED_DB="mysql://elsewhere/shop")
    assert done.stdout == "mysql elsewhere/shop   {}\n"


def test_a_kit_takes_its_connections_out_of_airflows_metadata_database(stored: None, tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_text("databases: {shop: {conn_id: stored_db}}\n")
    (tmp_path / "passphrase").write_text("correct horse battery staple\n")
    places = {
        "BACKUP_CONFIG": str(tmp_path / "backup.yaml"),
        "BACKUP_LOCAL_PATH": str(tmp_path / "backups"),
        "BACKUP_CATALOG_PATH": str(tmp_path / "catalog.sqlite"),
    }
    command = ["kit", "export", str(tmp_path / "kit"), "--passphrase-file", str(tmp_path / "passphrase"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "db_backup", *command],
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["connections"] == ["stored_db"]
    kit = Kit.unseal((tmp_path / "kit").read_bytes(), "correct horse battery staple", source="the kit")
    assert kit.connections["stored_db"] == {
        "conn_type": "postgres",
        "host": "db.example.com",
        "login": "backup",
        "password": "stored-password",
        "schema": "shop",
        "port": 5433,
        "extra": {"sslmode": "require"},
    }
    assert "stored-password" not in done.stdout + done.stderr


def test_a_connection_that_airflow_does_not_know_is_not_found(stored: None) -> None:
    said = look_up("nowhere_db").stdout
    assert said.startswith("NOT FOUND: There is no connection 'nowhere_db': AIRFLOW_CONN_NOWHERE_DB is not set, and")
    assert "Airflow does not know it" in said


def test_a_dead_metadata_database_is_told_apart_from_an_unknown_connection(tmp_path: Path) -> None:
    dead = "postgresql+psycopg2://airflow:hunter2@127.0.0.1:1/airflow"
    done = look_up("stored_db", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=dead, AIRFLOW_HOME=str(tmp_path))
    assert "NOT FOUND: The connection 'stored_db' cannot be looked up" in done.stdout
    assert "MetastoreBackend: OperationalError" in done.stdout
    assert "AIRFLOW_CONN_STORED_DB, which needs no Airflow" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_connection_that_cannot_be_decrypted_is_told_apart_too(stored: None) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from cryptography.fernet import Fernet
    from sqlalchemy import update

    with create_session() as session:  # as if another key had written it
        session.execute(update(Connection).where(Connection.conn_id == "stored_db").values(is_encrypted=True))
    done = look_up("stored_db", AIRFLOW__CORE__FERNET_KEY=Fernet.generate_key().decode())
    assert "MetastoreBackend: InvalidToken" in done.stdout


DAG_FILE = """
from airflow.sdk import DAG, task

@task
def look():
    from db_backup.connections import resolve_connection
    from db_backup.errors import ConnectionNotFound

    info = resolve_connection("stored_db")
    resolve_connection("variable_db")
    try:
        resolve_connection("nowhere_db")
    except ConnectionNotFound as error:
        return [info.engine, info.address, info.password[::-1], dict(info.extra), error.message]

with DAG("look_up_connections", schedule=None):
    look()
"""


def test_inside_a_task_the_task_sdk_answers_and_passwords_are_masked(
    stored: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    monkeypatch.setenv("AIRFLOW_CONN_VARIABLE_DB", "mysql://user:variable-password@host/db")
    value = returned_by("look_up_connections", DAG_FILE, tmp_path, monkeypatch)
    engine, address, reversed_password, extra, message = value
    assert (engine, address) == ("postgres", "db.example.com:5433/shop")
    assert reversed_password[::-1] == "stored-password"
    assert extra == {"sslmode": "require"}
    assert message.startswith("There is no connection 'nowhere_db'")
    assert "Airflow does not know it" in message
    assert redact("the log says variable-password") == "the log says ***"


STORING_DAG_FILE = """
import os
from airflow.sdk import DAG, task

@task
def store():
    from db_backup.connections import storage_access
    from db_backup.jobs.workspace import Workspace
    from db_backup.settings.addresses import StorageAddress

    azure = storage_access(StorageAddress.parse("azure://container/db"), "azure_variable")
    with Workspace.open() as workspace:
        storage = workspace.storage("s3")
        storage.initialise()
        storage.create("metadata/a.json", b"{}")
        return [storage.location, storage.read_document("metadata/a.json").content.decode(), azure.account]

with DAG("store_by_connection", schedule=None):
    store()
"""


def test_a_task_opens_a_bucket_by_a_connection_of_airflow_and_its_secrets_are_masked(
    stored: None, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models import Connection
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.utils.session import create_session

    bucket = s3_server.new_bucket()
    extra = {"endpoint_url": s3_server.endpoint, "aws_access_key_id": "AKIA", "aws_secret_access_key": "stored-secret"}
    with create_session() as session:
        session.query(Connection).filter_by(conn_id="bucket_conn").delete()
        session.add(Connection(conn_id="bucket_conn", conn_type="aws", extra=json.dumps(extra)))
    fields = {"conn_type": "wasb", "login": "shopbackups", "extra": {"account_key": "variable-account-key"}}
    monkeypatch.setenv("AIRFLOW_CONN_AZURE_VARIABLE", json.dumps(fields))
    (tmp_path / "backup.yaml").write_text(
        f"storages: {{s3: {{url: 's3://{bucket}/db', conn_id: bucket_conn}}}}\n"
        "databases: {shop: {conn_id: stored_db}}\n"
    )
    monkeypatch.setenv("BACKUP_CONFIG", str(tmp_path / "backup.yaml"))
    monkeypatch.setenv("BACKUP_LOCAL_PATH", str(tmp_path / "backups"))
    monkeypatch.setenv("BACKUP_CATALOG_PATH", str(tmp_path / "catalogue.sqlite"))
    value = returned_by("store_by_connection", STORING_DAG_FILE, tmp_path / "dags", monkeypatch)
    assert value == [f"s3://{bucket}/db", "{}", "shopbackups"]
    assert s3_server.client().get_object(Bucket=bucket, Key="db/metadata/a.json")["Body"].read() == b"{}"
    assert redact("stored-secret and variable-account-key") == "*** and ***"


def returned_by(dag_id: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the only task of a DAG returns, run by Airflow."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    folder.mkdir(exist_ok=True)
    (folder / f"{dag_id}.py").write_text(text)
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": dag_id, "classpath": local, "kwargs": {"path": str(folder)}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
    monkeypatch.setattr("db_backup.connections.airflow._ask_secrets_backends", pytest.fail)
    run = DagBag(str(folder), bundle_name=dag_id).dags[dag_id].test()
    assert str(run.state) == "success"
    with create_session() as session:
        returned = select(XComModel.value).filter_by(dag_id=dag_id, run_id=run.run_id, key="return_value")
        value = session.scalars(returned).one()
    return json.loads(value) if isinstance(value, str) else value
