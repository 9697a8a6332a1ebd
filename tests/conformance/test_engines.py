"""Every engine keeps the contract, on its own real server."""

from __future__ import annotations

import pytest

from conformance.engine_contract import EngineContract, ServerEngineContract


@pytest.mark.integration
class TestSqlite(EngineContract):
    lab_fixture = "sqlite_lab"


@pytest.mark.integration
class TestPostgres(ServerEngineContract):
    lab_fixture = "postgres_lab"


@pytest.mark.integration
class TestMysql(ServerEngineContract):
    lab_fixture = "mysql_lab"
