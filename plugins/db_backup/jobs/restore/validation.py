"""What a restored database holds, against what the manifest says that a restore of this kind gives: pure."""

from __future__ import annotations

from collections.abc import Collection

from db_backup.comparison import compare, compare_tables
from db_backup.jobs.restore.request import Way
from db_backup.manifest import Difference, Inventory


def differences_of(
    expected: Inventory, found: Inventory, *, way: Way, tables: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Every table and object that is other than it should be.

    :param tables: those that were picked out of the backup; empty: all of it was restored.

    Of picked tables only these are compared. Rows that went into a database of its own are compared with what the
    backup holds; what else there is in it was there before.
    """
    if tables:
        return compare_tables(_only_tables(expected, tables), _only_tables(found, tables))
    if way is Way.ROWS:
        known = {(item.kind, item.name) for item in expected.objects}
        there = _only_tables(found, {table.name for table in expected.tables})
        objects = tuple(item for item in found.objects if (item.kind, item.name) in known)
        return compare(expected, there.model_copy(update={"objects": objects}))
    return compare(expected, found)


def _only_tables(inventory: Inventory, names: Collection[str]) -> Inventory:
    return Inventory(tables=tuple(table for table in inventory.tables if table.name in names))
