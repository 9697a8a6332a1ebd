"""A database that others made, through the whole command line: Chinook on all three engines, no Airflow running."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.model import ConnectionInfo, EngineName
from support.dumps import rebuild_by_stock_tools
from support.lab import EngineLab
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.project import Project

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not DATA.exists(), reason="needs the Chinook files of ../shared/data"),
]


@pytest.fixture
def chinook(tmp_path: Path, postgres_lab: PostgresLab, mysql_lab: MysqlLab) -> Iterator[dict[str, ConnectionInfo]]:
    postgres_lab.server.run_script(DATA / "chinook_postgres.sql")
    mysql_lab.server.run_script((DATA / "chinook_mysql.sql").read_bytes())
    lite = tmp_path / "chinook.sqlite"
    shutil.copyfile(DATA / "chinook.sqlite", lite)
    yield {
        "lite": ConnectionInfo("lite_db", EngineName.SQLITE, database=str(lite)),
        "maria": mysql_lab.connection("Chinook"),
        "post": postgres_lab.connection("chinook"),
    }
    postgres_lab.drop("chinook")
    mysql_lab.drop("Chinook")


def test_chinook_is_backed_up_proved_restored_and_rebuilt_by_stock_tools(
    tmp_path: Path, chinook: dict[str, ConnectionInfo], labs: dict[EngineName, EngineLab]
) -> None:
    project = Project(tmp_path / "project", chinook)

    created = project.json("create", "lite", "maria", "post")
    assert created["failed"] == []
    assert [backup["status"] for backup in created["backups"]] == ["good", "good", "good"]
    assert project.run("list", "--detailed").returncode == 0
    proofs = project.json("verify", "--all", "--level", "restore")["proofs"]
    assert [proof["result"] for proof in proofs] == ["passed", "passed", "passed"]

    for backup in created["backups"]:
        lab = labs[EngineName(backup["engine"])]
        truth = lab.counts(chinook[backup["database"]].database)
        assert sum(truth.values()) == backup["rows"] > 15_000
        target = str(tmp_path / "copy.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()
        assert project.json("restore", backup["id"], "--as", target)["differences"] == []
        assert lab.counts(target) == truth
        restored = rebuild_by_stock_tools(project, backup["id"], lab)
        assert lab.counts(restored) == truth
        lab.drop(restored)  # the name is the stock commands' own: other tests rebuild under it too
