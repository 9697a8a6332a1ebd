"""``backup_hourly`` and ``backup_critical`` on a real MariaDB and a real PostgreSQL: runs of the real DAGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from support import mysql_server, postgres_server
from support.dag_runs import Run
from support.mysql_server import MariaDbServer
from support.postgres_server import PostgresServer
from support.project import Project
from support.shop_database import unreachable

pytestmark = pytest.mark.airflow

ProjectOf = Callable[..., Project]
RunOf = Callable[..., Run]

MISSING = mysql_server.missing_binaries() or postgres_server.missing_binaries()


@pytest.fixture
def mariadb() -> Iterator[MariaDbServer]:
    with MariaDbServer.start(binlog=True) as server:
        server.run("CREATE DATABASE shop")
        server.run("CREATE TABLE orders (id INT PRIMARY KEY)", database="shop")
        yield server


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.start() as server:
        server.run("CREATE TABLE orders (id INT PRIMARY KEY)", database=server.create_database())
        yield server


def configure(project: Project, tier: str, *names: str) -> None:
    """These servers, whole, and nothing else."""
    servers = {name: {"conn_id": f"{name}_db", "types": ["full", "incremental"], "tier": tier} for name in names}
    project.config.write_text(yaml.safe_dump({"version": 1, "servers": servers}))


def made_by(run: Run) -> dict[str, dict[str, Any]]:
    """What the backup of each entry returned."""
    returned = (run.xcoms.get(("protect.backup", index, "return_value")) for index in range(len(run.tasks)))
    return {backup["database"]: backup for backup in returned if backup}


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_servers_are_followed_hour_by_hour_and_when_critical_every_five_minutes(
    mariadb: MariaDbServer, postgres: PostgresServer, project: ProjectOf, run: RunOf
) -> None:
    made = project(my=mariadb.connection(""), pg=postgres.connection("postgres"), gone=unreachable())
    configure(made, "standard", "my", "pg")

    first = run("backup_hourly", scheduled=True)
    assert first.state == "success"
    fulls = made_by(first)
    assert {name: (backup["type"], backup["instead_of"]) for name, backup in fulls.items()} == {
        "my": ("full", "incremental"),
        "pg": ("full", "incremental"),
    }

    mariadb.run("INSERT INTO orders VALUES (1)", database="shop")
    postgres.create_database("CREATE TABLE sums (id INT)")
    hour = run("backup_hourly", scheduled=True)
    assert hour.state == "success"
    assert {name: (backup["type"], backup["parent_id"]) for name, backup in made_by(hour).items()} == {
        name: ("incremental", full["id"]) for name, full in fulls.items()
    }
    assert hour.assets == {}, "their fulls are not proven yet"
    for full in fulls.values():
        made.json("verify", full["id"], "--level", "restore")

    configure(made, "critical", "gone", "my", "pg")
    assert made_by(run("backup_hourly", scheduled=True)) == {}, "they are backup_critical's now"
    five_minutes = run("backup_critical", scheduled=True)
    assert five_minutes.state == "failed"
    newest = made_by(five_minutes)
    assert {name: backup["parent_id"] for name, backup in newest.items()} == {
        name: backup["id"] for name, backup in made_by(hour).items()
    }
    assert {event["type"] for event in five_minutes.assets.values()} == {"incremental"}
    assert five_minutes.assets.keys() == {"x-backup://my", "x-backup://pg"}, "one that fails stops no other"

    made.as_process = False
    configure(made, "critical", "my", "pg")
    made.json("create", "--type", "full", "--no-verify", "--no-cleanup")
    checked = run("backup_verification", scheduled=True)
    assert checked.state == "success"
    for name, full in fulls.items():
        listed = made.json("list", "--database", name, "--type", "incremental")["backups"]
        last = next(backup for backup in listed if backup["base_id"] == full["id"])  # newest first
        assert (last["status"], last["proof_level"]) == ("good", "restore"), "its whole chain was replayed"
