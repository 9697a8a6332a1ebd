"""Two inventories held against each other: pure."""

from __future__ import annotations

from collections import Counter

from db_backup.manifest import Difference, Inventory, TableInventory


def compare(expected: Inventory, found: Inventory) -> tuple[Difference, ...]:
    """Every table and object in which ``found`` is other than ``expected``, tables first, by name."""
    return (*_tables(expected, found), *_objects(expected, found))


def compare_tables(expected: Inventory, found: Inventory) -> tuple[Difference, ...]:
    """Tables alone: for an archive, which does not list every kind of object."""
    return tuple(_tables(expected, found))


def _describe(table: TableInventory | None) -> str:
    if table is None:
        return "no such table"
    return f"{table.rows} rows" + (f", checksum {table.checksum}" if table.checksum else "")


def _tables(expected: Inventory, found: Inventory) -> list[Difference]:
    wanted = {table.name: table for table in expected.tables}
    there = {table.name: table for table in found.tables}
    differences = []
    for name in sorted(wanted.keys() | there.keys()):
        left, right = wanted.get(name), there.get(name)
        same = left is not None and right is not None and left.rows == right.rows and left.checksum == right.checksum
        if not same:
            differences.append(Difference(kind="table", name=name, expected=_describe(left), found=_describe(right)))
    return differences


def _objects(expected: Inventory, found: Inventory) -> list[Difference]:
    wanted = Counter((item.kind, item.name) for item in expected.objects)
    there = Counter((item.kind, item.name) for item in found.objects)
    return [
        Difference(kind=kind, name=name, expected=_times(wanted[kind, name]), found=_times(there[kind, name]))
        for kind, name in sorted(wanted.keys() | there.keys())
        if wanted[kind, name] != there[kind, name]
    ]


def _times(count: int) -> str:
    return "none" if count == 0 else "one" if count == 1 else f"{count} of them"
