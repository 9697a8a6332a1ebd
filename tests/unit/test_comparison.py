"""Two inventories held against each other."""

from __future__ import annotations

import pytest

from db_backup.comparison import compare, compare_tables
from db_backup.manifest import DatabaseObject, Inventory, TableInventory

pytestmark = pytest.mark.unit

ORDERS = TableInventory(name="orders", rows=3, checksum="aa")
USERS = TableInventory(name="users", rows=2, checksum="bb")
VIEW = DatabaseObject(kind="view", name="sums")


def test_an_inventory_equals_itself_in_any_order() -> None:
    left = Inventory(tables=(ORDERS, USERS), objects=(VIEW, DatabaseObject(kind="table", name="orders")))
    right = Inventory(tables=left.tables[::-1], objects=left.objects[::-1])

    assert compare(left, right) == ()


def test_a_missing_row_names_the_table_and_both_counts() -> None:
    found = Inventory(tables=(TableInventory(name="orders", rows=2, checksum="ab"), USERS))

    (difference,) = compare(Inventory(tables=(ORDERS, USERS)), found)

    assert str(difference) == "table orders: expected 3 rows, checksum aa, found 2 rows, checksum ab"


def test_equal_counts_with_another_checksum_differ() -> None:
    changed = ORDERS.model_copy(update={"checksum": "ff"})

    assert [item.name for item in compare(Inventory(tables=(ORDERS,)), Inventory(tables=(changed,)))] == ["orders"]


def test_a_checksum_on_one_side_alone_is_not_taken_for_equal() -> None:
    unknown = ORDERS.model_copy(update={"checksum": None})

    assert compare(Inventory(tables=(ORDERS,)), Inventory(tables=(unknown,)))
    assert not compare(Inventory(tables=(unknown,)), Inventory(tables=(unknown,)))


def test_missing_and_additional_tables_are_told_apart() -> None:
    differences = compare(Inventory(tables=(ORDERS,)), Inventory(tables=(USERS,)))

    assert [(item.name, item.expected, item.found) for item in differences] == [
        ("orders", "3 rows, checksum aa", "no such table"),
        ("users", "no such table", "2 rows, checksum bb"),
    ]


def test_a_lost_trigger_is_found_and_so_is_one_too_many() -> None:
    trigger = DatabaseObject(kind="trigger", name="stamp")

    (lost,) = compare(Inventory(objects=(trigger, VIEW)), Inventory(objects=(VIEW,)))
    (doubled,) = compare(Inventory(objects=(VIEW,)), Inventory(objects=(VIEW, VIEW)))

    assert str(lost) == "trigger stamp: expected one, found none"
    assert str(doubled) == "view sums: expected one, found 2 of them"


def test_objects_of_one_name_and_different_kinds_are_different() -> None:
    table = DatabaseObject(kind="table", name="sums")

    assert [item.kind for item in compare(Inventory(objects=(VIEW,)), Inventory(objects=(table,)))] == ["table", "view"]


def test_an_archive_is_compared_by_its_tables_alone() -> None:
    expected = Inventory(tables=(ORDERS,), objects=(VIEW,))

    assert compare_tables(expected, Inventory(tables=(ORDERS,))) == ()
    assert len(compare_tables(expected, Inventory())) == 1
