"""Every engine keeps the contract, on its own real server."""

from __future__ import annotations

import pytest

from conformance.engine_contract import EngineContract, ServerEngineContract
from db_backup.engines.mysql import MysqlEngine
from db_backup.engines.postgres import PostgresEngine
from db_backup.engines.sqlite import SqliteEngine


@pytest.mark.integration
class TestSqlite(EngineContract):
    lab_fixture = "sqlite_lab"
    engine_class = SqliteEngine


@pytest.mark.integration
class TestSqliteCompacted(EngineContract):
    """``BACKUP_SQLITE_VACUUM=true``."""

    lab_fixture = "compacted_sqlite_lab"
    engine_class = SqliteEngine


@pytest.mark.integration
class TestPostgres(ServerEngineContract):
    lab_fixture = "postgres_lab"
    engine_class = PostgresEngine


@pytest.mark.integration
class TestMysql(ServerEngineContract):
    lab_fixture = "mysql_lab"
    engine_class = MysqlEngine
