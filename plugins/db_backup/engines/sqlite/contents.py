"""What an SQLite file holds: its objects, its tables counted and hashed, its damage.

A row is hashed as ``marshal`` version 2 writes the tuple that Python's module returns: at 130 MB/s twice as fast as
``repr``, and unlike SQL's ``quote()``, whose digits of a float changed between releases of SQLite, it keeps every bit
of a number and tells text from blob. Version 2 is what Python 2.5 wrote; ``test_sqlite_contents.py`` pins it.
"""

from __future__ import annotations

import marshal
import re
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat

from xxhash import xxh3_64_intdigest

from db_backup.engines.row_hashing import TableCounter
from db_backup.engines.sqlite.literals import Value
from db_backup.manifest import DatabaseObject, TableInventory
from db_backup.progress import Cancellation

_MARSHAL_VERSION = 2
_ROWS_PER_STEP = 10_000
_STEPS_PER_PROGRESS = 1_000_000  # of SQLite's virtual machine, between looks for a cancellation
_MODULE = re.compile(r"\bUSING\s+[\"'`\[]?(\w+)", re.IGNORECASE)
# What the checks say of rows that break a rule of their table (sqlite.org, "PRAGMA integrity_check"): true of the
# source as well, and kept as it is. Everything else that they say is damage.
_BROKEN_RULE = re.compile(
    r"^(CHECK constraint failed in|NULL value in|NUMERIC value in|TEXT value in|non-\w+ value in) "
)
# Undecodable bytes become lone surrogates, which marshal keeps apart from every valid text.
tolerant_text = partial(str, encoding="utf-8", errors="surrogateescape")


@dataclass(frozen=True)
class Schema:
    """The schema table. ``tables`` hold rows of their own: shadow tables do, virtual tables do not."""

    objects: tuple[DatabaseObject, ...]
    tables: tuple[str, ...]
    virtual_tables: tuple[tuple[str, str], ...]  # name, module


@dataclass(frozen=True)
class Contents:
    """The tables that could be read, and what there is to say about the others."""

    tables: tuple[TableInventory, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Damage:
    """What SQLite's check found: ``problems`` are damage, ``warnings`` are not."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


@contextmanager
def interruptible(connection: sqlite3.Connection, cancellation: Cancellation) -> Iterator[None]:
    """Statements inside the block end soon after a cancellation.

    :raises Interrupted: they did.
    """
    connection.set_progress_handler(lambda: cancellation.requested, _STEPS_PER_PROGRESS)
    try:
        with cancellation.on_cancel(connection.interrupt):
            yield
    except sqlite3.OperationalError:
        cancellation.check()
        raise
    finally:
        connection.set_progress_handler(None, 0)


def read_schema(connection: sqlite3.Connection) -> Schema:
    """Objects and tables; SQLite's own indexes and statistics are no objects, but its tables' rows count."""
    objects, tables, virtual_tables = [], [], []
    for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name"):
        virtual = kind == "table" and sql is not None and sql[:14].upper() == "CREATE VIRTUAL"
        if virtual:
            virtual_tables.append((name, module_of(sql)))
        elif kind == "table":
            tables.append(name)
        if not name.startswith("sqlite_"):
            objects.append(DatabaseObject(kind="virtual table" if virtual else kind, name=name))
    return Schema(tuple(objects), tuple(tables), tuple(virtual_tables))


def module_of(sql: str) -> str:
    """The module of a virtual table, in lower case."""
    module = _MODULE.search(sql)
    return module[1].lower() if module else ""


def count_tables(connection: sqlite3.Connection, schema: Schema, cancellation: Cancellation) -> Contents:
    """Count and hash every table's rows. Generated columns that are not stored are left out: they hold nothing.

    :raises sqlite3.Error: the file is damaged.
    :raises Interrupted:
    """
    warnings = [
        f"Virtual table '{name}' needs the module '{module}', which this machine's SQLite does not have; "
        "it is in the backup, and can be used where the module is."
        for name, module in without_module(connection, schema)
    ]
    tables = []
    for name in schema.tables:
        try:
            tables.append(_count_table(connection, name, cancellation))
        except sqlite3.OperationalError as error:
            cancellation.check()
            if not _needs_the_application(error):
                raise
            warnings.append(f"Table '{name}' is in the backup, but its rows could not be counted: {error}.")
    return Contents(tuple(tables), tuple(warnings))


def without_module(connection: sqlite3.Connection, schema: Schema) -> list[tuple[str, str]]:
    """The virtual tables, with their modules, that cannot be used here; their shadow tables look like any other."""
    modules = {name.lower() for (name,) in connection.execute("PRAGMA module_list")}
    return [(name, module) for name, module in schema.virtual_tables if module not in modules]


def find_damage(connection: sqlite3.Connection, schema: Schema, *, thorough: bool) -> Damage:
    """Run SQLite's check. ``thorough`` also holds indexes against their tables, in some ten times the time.

    Where a table needs a function or collation that only its application has, the others are checked one by one.
    """
    pragma = "integrity_check" if thorough else "quick_check"
    try:
        return _classify(_messages(connection, f"PRAGMA {pragma}"))
    except sqlite3.OperationalError as error:
        if not _needs_the_application(error):
            raise
    messages: list[str] = []
    unchecked: list[str] = []
    for table in schema.tables:
        try:
            messages += _messages(connection, f"PRAGMA {pragma}({quoted(table)})")
        except sqlite3.OperationalError as error:
            if not _needs_the_application(error):
                raise
            unchecked.append(f"Table '{table}' could not be checked for damage: {error}.")
    found = _classify(messages)
    return Damage(found.problems, (*found.warnings, *unchecked))


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _count_table(connection: sqlite3.Connection, name: str, cancellation: Cancellation) -> TableInventory:
    columns = connection.execute(
        "SELECT name FROM pragma_table_xinfo(?) WHERE hidden IN (0, 3) ORDER BY cid", (name,)
    ).fetchall()
    query = f"SELECT {', '.join(quoted(column) for (column,) in columns)} FROM {quoted(name)}"  # noqa: S608 - quoted
    try:
        counter = hash_rows(connection.execute(query), cancellation)
    except sqlite3.OperationalError as error:
        if "Could not decode to UTF-8" not in str(error):
            raise
        connection.text_factory = tolerant_text
        try:
            counter = hash_rows(connection.execute(query), cancellation)
        finally:
            connection.text_factory = str
    return counter.inventory(name)


def hash_row(row: tuple[Value, ...]) -> int:
    """The xxh3_64 digest under which a ``TableCounter`` counts a row."""
    return xxh3_64_intdigest(marshal.dumps(row, _MARSHAL_VERSION))


def hash_rows(rows: sqlite3.Cursor, cancellation: Cancellation) -> TableCounter:
    """Row by row inside C code, so that memory stays that of one row."""
    counter = TableCounter()
    digests = map(xxh3_64_intdigest, map(marshal.dumps, rows, repeat(_MARSHAL_VERSION)))
    while step := array("Q", islice(digests, _ROWS_PER_STEP)):
        counter.add_all_hashed(step)
        cancellation.check()
    return counter


def _messages(connection: sqlite3.Connection, pragma: str) -> list[str]:
    return [message for (message,) in connection.execute(pragma) if message != "ok"]


def _classify(messages: list[str]) -> Damage:
    broken_rules = [message for message in messages if _BROKEN_RULE.match(message)]
    return Damage(
        problems=tuple(message for message in messages if message not in broken_rules),
        warnings=tuple(f"Rows of the source break a rule of their table: {message}." for message in broken_rules),
    )


def _needs_the_application(error: sqlite3.OperationalError) -> bool:
    """A function, collation or module is missing here: SQLITE_ERROR says that a statement could not be prepared."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_ERROR
