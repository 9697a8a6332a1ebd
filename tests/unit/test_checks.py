"""Application checks: what a query gave, against what the configuration expects."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from db_backup.config import Check
from db_backup.engines import engine_for
from db_backup.engines.base import EngineOptions
from db_backup.jobs.checks import applicable, failed_checks, is_as_expected, run_checks
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (True, True),
        (True, 1),  # MySQL and SQLite
        (False, 0),
        (True, "t"),
        (5, 5),
        (5, Decimal("5.00")),  # MySQL's sum()
        (0.3, 0.1 + 0.2),
        (1, True),
        (12.5, Decimal("12.5")),
        ("open", "open"),
        ("open", b"open"),
        (None, None),
        (date(2026, 1, 31), date(2026, 1, 31)),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 3, 0), "2026-01-31 03:00:00"),  # noqa: DTZ001 - as YAML gives it
    ],
)
def test_one_value_is_the_same_however_engine_and_file_write_it(expected: object, found: object) -> None:
    assert is_as_expected(expected, found)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (True, 0),
        (True, 2),
        (True, None),
        (False, None),
        (None, 0),
        (5, 6),
        (5, "5"),
        (0, None),
        ("open", "OPEN"),
        (0.3, 0.31),
    ],
)
def test_another_value_is_another(expected: object, found: object) -> None:
    assert not is_as_expected(expected, found)


def test_without_rows_there_is_nothing_to_ask_after() -> None:
    checks = (Check(sql="select 1", expect=1),)
    assert applicable(checks, BackupType.FULL) == checks
    assert applicable(checks, BackupType.DATA) == checks
    assert applicable(checks, BackupType.STRUCTURE) == ()


def test_a_query_that_fails_is_a_check_that_failed_and_stops_no_other(tmp_path: Path) -> None:
    file = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript("CREATE TABLE orders (id); INSERT INTO orders VALUES (1), (2);")
    options = EngineOptions(staging_path=tmp_path, scratch_path=tmp_path)
    engine = engine_for(ConnectionInfo("shop_db", EngineName.SQLITE, database=str(file)), options)
    checks = (
        Check(sql="select count(*) from nowhere", expect=1),
        Check(sql="select count(*) > 0 from orders", expect=True),
        Check(sql="select count(*) from orders", expect=3),
        Check(sql="select id from orders where id > 9", expect=None),
        Check(sql="delete from orders", expect=None),
    )

    results = run_checks(engine, checks, Cancellation())

    assert [result.passed for result in results] == [False, True, False, True, False]
    assert "nowhere" in results[0].found
    assert str(failed_checks(results)[1]) == "check select count(*) from orders: expected 3, found 2"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)
