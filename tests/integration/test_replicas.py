"""`read_conn_id`: dumps are taken of a replica, restores go to the server that the entry belongs to."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.model import ConnectionInfo, EngineName, utc_now
from support.mysql_server import MariaDbServer, missing_binaries, sql_text
from support.postgres_server import PostgresServer
from support.postgres_server import missing_binaries as missing_postgres
from support.project import Project, connection_variable

pytestmark = pytest.mark.integration

ORDERS = ("CREATE TABLE orders (id int PRIMARY KEY)", "INSERT INTO orders VALUES (1), (2)")


def project_of(folder: Path, primary: ConnectionInfo, replica: ConnectionInfo) -> Project:
    project = Project(folder / "project", {"shop": primary}, as_process=False)
    keys = {"conn_id": "shop_db", "read_conn_id": "shop_replica"}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": {"shop": keys}}))
    project.environment["AIRFLOW_CONN_SHOP_REPLICA"] = connection_variable(replica)
    return project


def manifest_of_a_backup(project: Project) -> dict[str, Any]:
    (backup,) = project.json("create", "shop", "--no-verify")["backups"]
    return project.manifest(backup["id"])


def rows_of(manifest: dict[str, Any]) -> int:
    return sum(table["rows"] for table in manifest["inventory"]["tables"])


def recovery_point(manifest: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(manifest["recovery_point"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the replica did not get there in a minute"
        time.sleep(0.05)


# PostgreSQL


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    if reason := missing_postgres():
        pytest.skip(reason)
    with PostgresServer.start() as server:
        server.run("CREATE DATABASE shop")
        server.run(*ORDERS, database="shop")
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with primary.standby() as server:
        yield server


@pytest.fixture
def of_standby(tmp_path: Path, primary: PostgresServer, standby: PostgresServer) -> Project:
    position = primary.run("SELECT pg_current_wal_lsn()")[0][0]
    until(lambda: bool(standby.run(f"SELECT pg_last_wal_replay_lsn() >= '{position}'")[0][0]))
    return project_of(tmp_path, primary.connection("shop"), standby.connection("shop"))


def test_postgres_is_dumped_of_the_standby_and_restored_to_the_primary(
    of_standby: Project, primary: PostgresServer, standby: PostgresServer
) -> None:
    started = utc_now()
    manifest = manifest_of_a_backup(of_standby)
    assert manifest["server"]["address"] == standby.connection("shop").address
    assert manifest["server"]["identity"] == str(primary.run("SELECT system_identifier FROM pg_control_system()")[0][0])
    assert manifest["consistency"]["standby"] is True
    assert timedelta(minutes=-2) < recovery_point(manifest) - started < timedelta(minutes=1)
    report = of_standby.json("restore", manifest["id"], "--as", "restored_beside")
    assert report["target"] == primary.connection("restored_beside").address
    assert primary.run("SELECT count(*) FROM orders", database="restored_beside") == [(rows_of(manifest),)]


def test_a_dump_of_a_standby_that_is_behind_says_as_of_when_it_is(
    of_standby: Project, primary: PostgresServer, standby: PostgresServer
) -> None:
    standby.run("SELECT pg_wal_replay_pause()")
    before = primary.run("SELECT clock_timestamp()")[0][0]  # until the pause the primary may commit work of its own
    try:
        primary.run("INSERT INTO orders VALUES (100)", database="shop")
        position = primary.run("SELECT pg_current_wal_lsn()")[0][0]
        until(lambda: bool(standby.run(f"SELECT pg_last_wal_receive_lsn() >= '{position}'")[0][0]))
        manifest = manifest_of_a_backup(of_standby)
    finally:
        standby.run("SELECT pg_wal_replay_resume()")
    assert rows_of(manifest) == primary.run("SELECT count(*) FROM orders", database="shop")[0][0] - 1
    assert recovery_point(manifest) <= before


def test_the_check_connects_to_both_and_shows_which_one_is_dumped(
    of_standby: Project, primary: PostgresServer, standby: PostgresServer
) -> None:
    (entry,) = of_standby.json("databases", "--check")["databases"]
    assert (entry["conn_id"], entry["read_conn_id"]) == ("shop_db", "shop_replica")
    assert entry["check"]["address"] == standby.connection("shop").address
    assert any("max_standby_streaming_delay" in warning for warning in entry["check"]["warnings"])
    assert "shop_db (dumps: shop_replica)" in of_standby.run("databases").stdout
    for conn_id in ("SHOP_DB", "SHOP_REPLICA"):
        lost = dataclasses.replace(primary.connection("shop"), port=1)
        variables = {f"AIRFLOW_CONN_{conn_id}": connection_variable(lost)}
        (entry,) = of_standby.json("databases", "--check", exit_code=1, **variables)["databases"]
        assert lost.address in entry["check"]["error"]


def test_a_cluster_that_is_no_standby_of_the_other_is_told(
    tmp_path: Path, primary: PostgresServer, postgres_server: PostgresServer
) -> None:
    name = postgres_server.create_database()
    primary.run(f"CREATE DATABASE {name}")
    project = project_of(tmp_path, primary.connection(name), postgres_server.connection(name))
    (entry,) = project.json("databases", "--check")["databases"]
    assert any("no standby of" in warning for warning in entry["check"]["warnings"])
    assert manifest_of_a_backup(project)["consistency"]["standby"] is False


def test_a_standby_whose_primary_is_gone_is_told(tmp_path: Path, standby: PostgresServer) -> None:
    standby.run("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
    until(lambda: standby.run("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)])
    project = project_of(tmp_path, standby.connection("shop"), standby.connection("shop"))
    manifest = manifest_of_a_backup(project)
    assert any("does not receive anything from its primary" in warning for warning in manifest["warnings"])
    assert recovery_point(manifest) < datetime.fromisoformat(manifest["created_at"])


# MariaDB


@pytest.fixture(scope="module")
def replicating() -> Iterator[tuple[MariaDbServer, MariaDbServer]]:
    """A source and its replica, which has no binary log."""
    if reason := missing_binaries():
        pytest.skip(reason)
    with MariaDbServer.start(binlog=True) as source, MariaDbServer.start(options=["--server-id=2"]) as replica:
        password = source.create_user("replica", "REPLICATION SLAVE ON *.*")
        log, position, *_ = source.run("SHOW MASTER STATUS")[0]  # what came before has set the source's passwords
        source.run("CREATE DATABASE shop")
        source.run(*ORDERS, database="shop")
        replica.run(
            f"CHANGE MASTER TO master_host='127.0.0.1', master_port={source.port}, master_user='replica', "
            f"master_password={sql_text(password)}, master_log_file='{log}', master_log_pos={position}",
            "START SLAVE",
        )
        until(lambda: caught_up(source, replica))
        yield source, replica


def caught_up(source: MariaDbServer, replica: MariaDbServer) -> bool:
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop'"
    if replica.run(tables) != source.run(tables):
        return False
    count = "SELECT count(*) FROM shop.orders"
    return replica.run(count) == source.run(count)


def test_mysql_is_dumped_of_the_replica_and_restored_to_its_source(
    tmp_path: Path, replicating: tuple[MariaDbServer, MariaDbServer]
) -> None:
    source, replica = replicating
    project = project_of(tmp_path, source.connection("shop"), replica.connection("shop"))
    started = utc_now()
    manifest = manifest_of_a_backup(project)
    assert manifest["server"]["address"] == replica.connection("shop").address
    assert manifest["consistency"]["standby"] is True
    assert timedelta(minutes=-1) < recovery_point(manifest) - started < timedelta(minutes=1)
    project.json("restore", manifest["id"], "--as", "restored_beside")
    assert source.run("SELECT count(*) FROM restored_beside.orders") == [(rows_of(manifest),)]
    assert manifest["warnings"] == []


def test_a_replica_that_has_stopped_is_told(tmp_path: Path, replicating: tuple[MariaDbServer, MariaDbServer]) -> None:
    source, replica = replicating
    project = project_of(tmp_path, source.connection("shop"), replica.connection("shop"))
    replica.run("STOP SLAVE SQL_THREAD")
    try:
        manifest = manifest_of_a_backup(project)
    finally:
        replica.run("START SLAVE SQL_THREAD")
    assert any("Replication into this server has stopped" in warning for warning in manifest["warnings"])


def test_a_replica_that_is_behind_says_as_of_when_it_is(
    tmp_path: Path, replicating: tuple[MariaDbServer, MariaDbServer]
) -> None:
    """One that lags on purpose: it has the row, and applies it an hour later."""
    source, replica = replicating
    project = project_of(tmp_path, source.connection("shop"), replica.connection("shop"))
    replica.run("STOP SLAVE", "CHANGE MASTER TO master_delay=3600", "START SLAVE")
    try:
        before = utc_now()
        source.run("SET timestamp = unix_timestamp() - 600", "INSERT INTO shop.orders VALUES (100)")
        until(lambda: (lag_of(replica) or 0) >= 600)
        manifest = manifest_of_a_backup(project)
    finally:
        replica.run("STOP SLAVE", "CHANGE MASTER TO master_delay=0", "START SLAVE")
    assert rows_of(manifest) == source.run("SELECT count(*) FROM shop.orders")[0][0] - 1
    assert recovery_point(manifest) < before - timedelta(seconds=590)


def lag_of(replica: MariaDbServer) -> int | None:
    with replica.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SHOW ALL SLAVES STATUS")
        assert cursor.description
        names = [column[0] for column in cursor.description]
        lag: int | None = dict(zip(names, cursor.fetchall()[0], strict=True))["Seconds_Behind_Master"]
        return lag


# SQLite, and what cannot be


def sqlite_connection(path: Path, *rows: int) -> ConnectionInfo:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?)", ((row,) for row in rows))
    return ConnectionInfo("file", EngineName.SQLITE, database=str(path))


def test_sqlite_is_dumped_of_the_copy_that_it_is_replicated_to(tmp_path: Path) -> None:
    live, copy = sqlite_connection(tmp_path / "shop.sqlite", 1, 2), sqlite_connection(tmp_path / "copy.sqlite", 1)
    manifest = manifest_of_a_backup(project_of(tmp_path, live, copy))
    assert manifest["server"]["address"] == copy.database
    assert rows_of(manifest) == 1


def test_a_replica_of_another_engine_is_a_wrong_configuration(tmp_path: Path, postgres_server: PostgresServer) -> None:
    live = sqlite_connection(tmp_path / "shop.sqlite", 1)
    project = project_of(tmp_path, live, postgres_server.connection("postgres"))
    done = project.run("create", "shop")
    assert done.returncode == 2
    assert "read_conn_id of 'shop' leads to the postgres database 'postgres' ('shop_replica')" in done.stderr
    (entry,) = project.json("databases", "--check", exit_code=1)["databases"]
    assert "read_conn_id" in entry["check"]["error"]
    assert project.files() == set()


def test_a_replica_with_another_database_is_a_wrong_configuration(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    name = postgres_server.create_database()
    project = project_of(tmp_path, postgres_server.connection(name), postgres_server.connection("postgres"))
    done = project.run("create", "shop")
    assert done.returncode == 2
    assert f"conn_id to the postgres database '{name}'" in done.stderr
    assert project.files() == set()
