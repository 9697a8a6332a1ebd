"""The independent list: what the system catalogue says a database holds, to hold the dump stream against."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.connecting import Session, identifier, query
from db_backup.engines.mysql.contents import Contents
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.tables import read_tables
from db_backup.engines.row_hashing import TableCounter
from db_backup.manifest import DatabaseObject, Inventory, TableInventory
from db_backup.model import BackupType

_BASE_TABLES = {"BASE TABLE", "SYSTEM VERSIONED"}
_KINDS_IN_STREAM = {"view", "sequence", "trigger", "procedure", "function", "package", "package body", "event"}

_TABLES = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = %s"
_ROUTINES = "SELECT LOWER(routine_type), routine_name FROM information_schema.routines WHERE routine_schema = %s"
_TRIGGERS = "SELECT 'trigger', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s"
_EVENTS = "SELECT 'event', event_name FROM information_schema.events WHERE event_schema = %s"
_INDEXES = """SELECT DISTINCT 'index', CONCAT(table_name, '.', index_name)
    FROM information_schema.statistics WHERE table_schema = %s"""
_FOREIGN_KEYS = """SELECT 'foreign key', CONCAT(table_name, '.', constraint_name)
    FROM information_schema.referential_constraints WHERE constraint_schema = %s"""
_CHECKS = {
    # MySQL keeps a check's table elsewhere; its names are unique in a database anyway.
    Flavour.MARIADB: """SELECT 'check', CONCAT(table_name, '.', constraint_name)
    FROM information_schema.check_constraints WHERE constraint_schema = %s""",
    Flavour.MYSQL: """SELECT 'check', constraint_name
    FROM information_schema.table_constraints WHERE constraint_schema = %s AND constraint_type = 'CHECK'""",
}


@dataclass(frozen=True)
class Catalogue:
    """Every object of one database, as its system catalogue lists it.

    :param tables_with_rows: names of the tables whose rows the dump tools print.
    """

    objects: tuple[DatabaseObject, ...]
    tables_with_rows: frozenset[str] = frozenset()

    def names(self, kind: str) -> list[str]:
        return [item.name for item in self.objects if item.kind == kind]

    def without_views(self, left_out: Collection[str]) -> Catalogue:
        """The same without the views that the dump leaves out."""
        kept = tuple(item for item in self.objects if not (item.kind == "view" and item.name in left_out))
        return dataclasses.replace(self, objects=kept)


def read_catalogue(session: Session, database: str, flavour: Flavour, options: EngineOptions) -> Catalogue:
    """List what a dump with these options holds. Names come without the database, so that a restored copy compares.

    Invalid views are listed too: they are the preflight's to find.
    """
    statements = [_INDEXES, _FOREIGN_KEYS, _CHECKS[flavour]]
    statements += [_ROUTINES] if options.mysql_routines else []
    statements += [_TRIGGERS] if options.mysql_triggers else []
    statements += [_EVENTS] if options.mysql_events else []
    found = [_object(_kind(str(row[1])), row[0]) for row in query(session, _TABLES, (database,))]
    for statement in statements:
        found += [_object(str(kind), name) for kind, name in query(session, statement, (database,))]
    with_rows = frozenset(table.name for table in read_tables(session, database) if table.has_own_rows)
    return Catalogue(tuple(sorted(found, key=lambda item: (item.kind, item.name))), with_rows)


def _object(kind: str, name: object) -> DatabaseObject:
    return DatabaseObject(kind=kind, name=str(name))


def _kind(table_type: str) -> str:
    return "table" if table_type in _BASE_TABLES else table_type.lower()


def invalid_views(session: Session, database: str, views: Collection[str]) -> dict[str, str]:
    """The views whose columns cannot be listed, with the SQL that made them: one of them would abort the dump."""
    invalid = {}
    for view in views:
        name = f"{identifier(database)}.{identifier(view)}"
        try:
            query(session, f"SHOW FIELDS FROM {name}")
        except session.Error:
            rows = query(session, f"SHOW CREATE VIEW {name}")
            invalid[view] = str(rows[0][1])
    return invalid


def inventory_of(
    catalogue: Catalogue, contents: Contents, backup_type: BackupType, left_out: Collection[str] = ()
) -> Inventory:
    """Objects as the catalogue lists them; rows and counters as the dump prints them, for a load of it gives those.

    AUTO_INCREMENT came back the same from InnoDB, MyISAM, Aria and MEMORY, with partitions and without.

    :param left_out: the tables whose rows the dump leaves out.
    """
    defined = () if backup_type is BackupType.DATA else catalogue.objects
    objects = sorted((*defined, *contents.counters), key=lambda item: (item.kind, item.name))
    return Inventory(tables=tables_of(contents, backup_type, left_out), objects=tuple(objects))


def tables_of(contents: Contents, backup_type: BackupType, left_out: Collection[str]) -> tuple[TableInventory, ...]:
    """The tables of a dump; a data backup says nothing of those whose rows it leaves out."""
    if backup_type is BackupType.STRUCTURE:
        return tuple(table.model_copy(update={"checksum": None}) for table in contents.tables)
    silent = set(left_out) - {table.name for table in contents.tables}
    empty = [TableCounter().inventory(name) for name in silent]
    return tuple(sorted((*contents.tables, *empty), key=lambda table: table.name))


def missing_from_dump(
    catalogue: Catalogue, contents: Contents, backup_type: BackupType, left_out: Collection[str] = ()
) -> list[str]:
    """What the catalogue lists and no stream created or filled, in words; empty when the dump is complete."""
    silent = () if backup_type is BackupType.STRUCTURE else catalogue.tables_with_rows - contents.tables_with_rows
    rows = [f"the rows of '{name}'" for name in sorted(set(silent) - set(left_out))]
    if backup_type is BackupType.DATA:
        unset = set(catalogue.names("sequence")) - contents.sequences
        return [*rows, *(f"sequence '{name}'" for name in sorted(unset))]
    tables = [f"table '{name}'" for name in catalogue.names("table") if name not in contents.created_tables]
    return [*tables, *_missing_objects(catalogue, contents), *rows]


def _missing_objects(catalogue: Catalogue, contents: Contents) -> Iterator[str]:
    # Kinds are counted rather than named: the text of a trigger is the user's own, and so is its spelling of the name.
    listed = Counter(item.kind for item in catalogue.objects if item.kind in _KINDS_IN_STREAM)
    dumped = Counter(kind for kind, _ in contents.objects)
    for kind, count in sorted(listed.items()):
        if dumped[kind] < count:
            seen = {name for seen_kind, name in contents.objects if seen_kind == kind}
            absent = [f"'{name}'" for name in catalogue.names(kind) if name not in seen]
            yield f"{count - dumped[kind]} of {count} {kind}s ({', '.join(absent[:5])})"
