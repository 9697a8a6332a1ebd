"""What the catalogue asks is served by its indices: at a million backups nothing is read from end to end."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from db_backup.catalog import BackupQuery, Catalog
from db_backup.errors import UnknownBackup
from db_backup.model import BackupStatus, BackupType
from support.factories import MORNING, make_manifest, make_state

pytestmark = pytest.mark.unit

Explain = Callable[[Callable[[], object]], list[str]]
FILTERS = {
    "database": "shop",
    "type": BackupType.FULL,
    "status": BackupStatus.UNVERIFIED,
    "since": MORNING,
    "storage": "local",
}
SETS_OF_FILTERS = [names for size in range(len(FILTERS) + 1) for names in itertools.combinations(FILTERS, size)]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    with Catalog.open(tmp_path_factory.mktemp("plans") / "catalog.sqlite") as opened:
        for serial in (1, 2):
            manifest = make_manifest(serial=serial)
            opened.record(manifest, make_state(manifest))
        yield opened


@pytest.fixture
def explain(catalog: Catalog) -> Iterator[Explain]:
    """Runs a function of the catalogue and returns the plan of every query that it sent, one step an item."""
    engine = catalog._database._place.engine
    sent: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            sent.append((statement, parameters))

    def explain(ask: Callable[[], object]) -> list[str]:
        sent.clear()
        ask()
        with sqlite3.connect(str(engine.url.database)) as raw:
            steps = [raw.execute(f"EXPLAIN QUERY PLAN {statement}", values) for statement, values in sent]
        return [row[3] for rows in steps for row in rows]

    event.listen(engine, "before_cursor_execute", note)
    yield explain
    event.remove(engine, "before_cursor_execute", note)


def test_the_plan_of_a_query_without_index_would_show(catalog: Catalog, explain: Explain) -> None:
    """The checks below can fail: a query of our own making, without an index, is seen to read the whole table."""

    def ask() -> None:
        with catalog._database.read() as connection:
            connection.exec_driver_sql("SELECT summary FROM backups WHERE recorded_at > '2026' ORDER BY summary")

    assert explain(ask) == ["SCAN backups", "USE TEMP B-TREE FOR ORDER BY"]


@pytest.mark.parametrize("names", SETS_OF_FILTERS, ids="+".join)
def test_every_page_is_read_in_order_from_an_index(catalog: Catalog, explain: Explain, names: tuple[str, ...]) -> None:
    query = BackupQuery(**{name: FILTERS[name] for name in names})  # type: ignore[arg-type]
    cursor = catalog.page(BackupQuery(), limit=1).next_cursor

    for plan in (explain(lambda: catalog.page(query)), explain(lambda: catalog.page(query, cursor=cursor))):
        assert plan, "nothing was asked"
        for step in plan:
            assert "INDEX" in step, plan
            assert "TEMP B-TREE" not in step, plan
    assert all(step.startswith("SEARCH") for step in plan), "a later page begins where the one before ended"


@pytest.mark.parametrize("names", [(), ("since",), ("database",), ("type",), ("storage",)], ids="+".join)
def test_statistics_read_no_row_of_the_index_itself(catalog: Catalog, explain: Explain, names: tuple[str, ...]) -> None:
    query = BackupQuery(**{name: FILTERS[name] for name in names})  # type: ignore[arg-type]

    plan = explain(lambda: catalog.statistics(query))

    over_backups = [step for step in plan if step.startswith(("SCAN", "SEARCH")) and "attempts" not in step]
    assert len(over_backups) == 3
    assert all("COVERING INDEX" in step for step in over_backups), plan


def test_statistics_over_all_sort_nothing(catalog: Catalog, explain: Explain) -> None:
    plan = explain(lambda: catalog.statistics(BackupQuery()))

    assert len(plan) == 4
    assert not [step for step in plan if "TEMP B-TREE" in step], plan


def test_what_storages_hold_is_read_from_an_index_in_its_order(catalog: Catalog, explain: Explain) -> None:
    assert explain(catalog.held) == ["SCAN copies USING COVERING INDEX copies_by_kind"]


def test_what_was_noted_is_read_by_its_days(catalog: Catalog, explain: Explain) -> None:
    catalog.note_usage()

    assert [step for step in explain(catalog.note_usage) if "usage" in step] == [
        "SEARCH usage USING COVERING INDEX usage_by_day (day=?)"
    ]


def test_single_backups_are_looked_up(catalog: Catalog, explain: Explain) -> None:
    backup_id = make_manifest().id

    assert all("SEARCH" in step for step in explain(lambda: catalog.get(backup_id)))
    asks: list[Callable[[], object]] = [
        lambda: catalog.newest("shop"),
        lambda: catalog.newest("shop", verified_only=True),
        lambda: catalog.newest("shop", BackupType.FULL),
        lambda: catalog.newest("shop", BackupType.FULL, verified_only=True),
    ]
    for ask in asks:
        plan = explain(ask)
        assert len(plan) == 1
        assert plan[0].startswith("SEARCH backups USING INDEX"), plan


def test_the_nearest_names_are_sought_in_indices(catalog: Catalog, explain: Explain) -> None:
    def ask() -> None:
        with pytest.raises(UnknownBackup):
            catalog.get("backup_shop_full_2026-01-31_03-00-09")

    plan = explain(ask)

    assert len(plan) == 4
    assert all("INDEX" in step and "TEMP" not in step for step in plan), plan


def test_attempts_leases_and_acts_are_found_by_index(catalog: Catalog, explain: Explain) -> None:
    asks: list[Callable[[], object]] = [
        catalog.abandoned_attempts,
        lambda: catalog.attempts("shop", MORNING),
        lambda: catalog.attempts(None, MORNING),
        lambda: catalog.leases("x"),
        lambda: catalog.audit_trail(since=MORNING),
    ]
    for ask in asks:
        plan = explain(ask)
        assert plan[0].startswith("SEARCH"), plan
