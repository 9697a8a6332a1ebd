"""Which part of an inventory a restore answers for: pure."""

from __future__ import annotations

from collections.abc import Collection

from db_backup.jobs.restore.request import Way
from db_backup.manifest import Inventory


def restored_part(inventory: Inventory, expected: Inventory, way: Way, tables: Collection[str]) -> Inventory:
    """What of an inventory, the manifest's or the target's, came out of the backup.

    Of tables that were picked out, these alone. Of rows that went into a database of its own, what the backup knows:
    the rest was there before. Else everything.

    :param expected: the manifest's inventory.
    :param tables: those that were picked; empty: all.
    """
    if tables:
        return Inventory(tables=tuple(table for table in inventory.tables if table.name in tables))
    if way is not Way.ROWS:
        return inventory
    known_tables = {table.name for table in expected.tables}
    known_objects = {(item.kind, item.name) for item in expected.objects}
    return Inventory(
        tables=tuple(table for table in inventory.tables if table.name in known_tables),
        objects=tuple(item for item in inventory.objects if (item.kind, item.name) in known_objects),
    )
