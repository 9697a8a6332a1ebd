"""Every chain engine keeps the contract, on its own real source."""

from __future__ import annotations

import pytest

from conformance.chain_contract import ChainContract
from support.chain_lab import MysqlChainLab, PostgresChainLab, SqliteChainLab


@pytest.mark.integration
class TestSqlite(ChainContract):
    lab_class = SqliteChainLab


@pytest.mark.integration
class TestPostgres(ChainContract):
    lab_class = PostgresChainLab


@pytest.mark.integration
class TestMysql(ChainContract):
    lab_class = MysqlChainLab
