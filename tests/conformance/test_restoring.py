"""Every engine keeps its part of a restore, on its own real server."""

from __future__ import annotations

import pytest

from conformance.restore_contract import RestoreContract


@pytest.mark.integration
class TestSqlite(RestoreContract):
    lab_fixture = "sqlite_lab"


@pytest.mark.integration
class TestPostgres(RestoreContract):
    lab_fixture = "postgres_lab"


@pytest.mark.integration
class TestMysql(RestoreContract):
    lab_fixture = "mysql_lab"
    everything_odd_can_be_dumped = False  # mysqldump stops at a view that is broken, and a restore leaves it out
