"""Databases of a server as such: their names, character sets, and what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from db_backup.engines.mysql.connecting import Session, identifier, query
from db_backup.errors import UsageError

LONGEST_NAME = 64
_REPLACEMENT = "__db_backup_restoring"
_REPLACED = "__db_backup_replaced"
_SHOWN = 10

_TABLES = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'SEQUENCE') ORDER BY table_name"""
_CODE = """SELECT 'VIEW' AS kind, table_name FROM information_schema.views WHERE table_schema = %s
    UNION ALL SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = %s
    UNION ALL SELECT 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = %s
    UNION ALL SELECT 'EVENT', event_name FROM information_schema.events WHERE event_schema = %s ORDER BY 1, 2"""

Item = tuple[str, str]  # what DROP calls the kind, and the name
Place = tuple[str, str]  # a database and the name of a table in it


def check_name(database: str) -> None:
    """The rules of the MySQL manual, "Schema Object Names".

    :raises UsageError: no server takes this name.
    """
    if not database:
        wrong = "is empty"
    elif len(database) > LONGEST_NAME:
        wrong = f"has {len(database)} characters, and {LONGEST_NAME} are the most"
    elif database.endswith(" "):
        wrong = "ends in a space"
    elif any(character == "\0" or character > "\uffff" for character in database):
        wrong = "holds a character that names may not hold"
    else:
        return
    raise UsageError(f"The name '{database}' for a new database {wrong}.", hint="Choose another name.")


def replacement_name(database: str) -> str:
    """What a database's replacement is called until it takes its place."""
    return _with_ending(database, _REPLACEMENT)


def replaced_name(database: str) -> str:
    """Where what is replaced lies until the replacement is in its place."""
    return _with_ending(database, _REPLACED)


def is_replacement(database: str) -> bool:
    """Whether this database is not in its place yet."""
    return database.endswith(_REPLACEMENT)


def _with_ending(database: str, ending: str) -> str:
    if len(database) + len(ending) <= LONGEST_NAME:
        return database + ending
    digest = hashlib.sha256(database.encode()).hexdigest()[:8]
    return f"{database[: LONGEST_NAME - len(ending) - len(digest) - 1]}_{digest}{ending}"


def character_set(session: Session, database: str) -> tuple[str, str] | None:
    """Character set and collation of a database; None when there is none of exactly this name."""
    folded = bool(query(session, "SELECT @@lower_case_table_names")[0][0])
    rows = query(
        session,
        "SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata "
        "WHERE schema_name = %s",
        (database,),
    )
    for name, encoding, collation in rows:
        if name == database or (folded and str(name).lower() == database.lower()):
            return str(encoding), str(collation)
    return None


def set_character_set(session: Session, database: str, encoding: str, collation: str) -> None:
    query(session, f"ALTER DATABASE {identifier(database)} CHARACTER SET {encoding} COLLATE {collation}")


def stored_tables(session: Session, database: str) -> list[str]:
    """What RENAME TABLE moves: tables and sequences."""
    return [str(name) for (name,) in query(session, _TABLES, (database,))]


def code_items(session: Session, database: str) -> list[Item]:
    """Views, routines, triggers and events."""
    return [(str(kind), str(name)) for kind, name in query(session, _CODE, (database,) * 4)]


def folded(session: Session, items: Iterable[Item]) -> dict[Item, Item]:
    """Each with the form in which the server compares it: the names of routines and events know no case."""
    no_case = {"PROCEDURE", "FUNCTION", "PACKAGE", "PACKAGE BODY", "EVENT"}
    if query(session, "SELECT @@lower_case_table_names")[0][0]:
        no_case |= {"VIEW", "TRIGGER"}
    return {(kind, name): (kind, name.casefold() if kind in no_case else name) for kind, name in items}


def drop_items(session: Session, database: str, items: Iterable[Item]) -> None:
    """Those that are there."""
    for kind, name in items:
        query(session, f"DROP {kind} IF EXISTS {identifier(database)}.{identifier(name)}")


def drop_tables(session: Session, database: str, names: Iterable[str]) -> None:
    """Tables and sequences, whatever foreign keys they have among themselves."""
    if names := [f"{identifier(database)}.{identifier(name)}" for name in names]:
        query(session, "SET SESSION foreign_key_checks = 0")
        try:
            query(session, f"DROP TABLE IF EXISTS {', '.join(names)}")
        finally:
            query(session, "SET SESSION foreign_key_checks = 1")


def move_tables(session: Session, moves: Iterable[tuple[Place, Place]]) -> None:
    """All or none of them, each from one place to another.

    Foreign keys among them follow: with checks switched off, they would not.
    """
    pairs = [f"{_written(source)} TO {_written(target)}" for source, target in moves]
    query(session, "SET SESSION foreign_key_checks = 1")
    query(session, f"RENAME TABLE {', '.join(pairs)}")


def _written(place: Place) -> str:
    return ".".join(map(identifier, place))


def empty_database(session: Session, database: str) -> None:
    """Take away every object of a database."""
    drop_items(session, database, code_items(session, database))
    drop_tables(session, database, stored_tables(session, database))


def some(names: Iterable[str]) -> str:
    """The first few, for a message."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
