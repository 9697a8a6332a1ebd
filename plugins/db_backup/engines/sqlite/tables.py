"""Which tables of an SQLite file are the user's own, and how their rows are read and written.

Shadow tables hold what a virtual table is made of. They come and go with it, and SQLite's shell refuses to write them:
rows go through the virtual table, or its index is built anew from the table that it belongs to.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from enum import Enum, auto

from db_backup.engines.sqlite.contents import hash_rows, module_of, quoted, tolerant_text
from db_backup.engines.sqlite.literals import quoted_name
from db_backup.manifest import TableInventory
from db_backup.progress import Cancellation

SEQUENCES = "sqlite_sequence"  # where AUTOINCREMENT stands
_FULL_TEXT = frozenset({"fts3", "fts4", "fts5"})
_KEYED_BY_FIRST_COLUMN = frozenset({"rtree", "rtree_i32"})
_READABLE = _FULL_TEXT | _KEYED_BY_FIRST_COLUMN | {"geopoly"}
# Of full-text tables (sqlite.org, "FTS5", 4.4): content='' keeps no text, content='t' keeps it in the table t.
_CONTENT = re.compile(r"[(,]\s*content\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s,)]*))", re.IGNORECASE)
_ROWID_NAMES = ("rowid", "_rowid_", "oid")


class _Way(Enum):
    """How the content of a virtual table is written."""

    ROWS = auto()
    REBUILD = auto()
    NOT_AT_ALL = auto()


@dataclass(frozen=True)
class TableRows:
    """The rows of one table. ``columns`` are as SQL writes them, and may begin with the row's number."""

    name: str
    columns: tuple[str, ...]

    @property
    def query(self) -> str:
        return f"SELECT {', '.join(self.columns)} FROM {quoted(self.name)}"  # noqa: S608 - quoted

    @property
    def insertion(self) -> bytes:
        """What stands before a row's values."""
        return b"INSERT INTO %b(%b) VALUES(" % (quoted_name(self.name), ",".join(self.columns).encode())


@dataclass(frozen=True)
class Tables:
    """What there is to count and to write.

    :param ordinary: names of tables that are neither virtual nor shadows, nor SQLite's own.
    :param with_rows: those, and the virtual tables whose rows can be read and written.
    :param rebuilt: full-text tables whose text is another table's.
    :param unwritten: virtual tables whose rows no statement can write.
    """

    ordinary: tuple[str, ...]
    shadow: frozenset[str]
    with_rows: tuple[TableRows, ...]
    rebuilt: tuple[str, ...]
    unwritten: tuple[str, ...]


def read_tables(connection: sqlite3.Connection) -> Tables:
    kinds = {
        name: (kind, bool(without_rowid))
        for name, kind, without_rowid in connection.execute(
            "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main'"
        )
    }
    ordinary: list[str] = []
    with_rows: list[TableRows] = []
    rebuilt: list[str] = []
    unwritten: list[str] = []
    for name, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY rowid"):
        kind, without_rowid = kinds[name]
        if kind == "shadow" or name.startswith("sqlite_"):
            continue
        if kind != "virtual":
            ordinary.append(name)
            with_rows.append(_rows_of(connection, name, numbered=not without_rowid))
            continue
        way = _way(sql)
        if way is _Way.ROWS:
            with_rows.append(_rows_of(connection, name, numbered=module_of(sql) not in _KEYED_BY_FIRST_COLUMN))
        else:
            (rebuilt if way is _Way.REBUILD else unwritten).append(name)
    shadow = frozenset(name for name, (kind, _) in kinds.items() if kind == "shadow")
    return Tables(tuple(ordinary), shadow, tuple(with_rows), tuple(rebuilt), tuple(unwritten))


def sequences(connection: sqlite3.Connection) -> TableRows | None:
    """Where AUTOINCREMENT stands, if it stands anywhere."""
    exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (SEQUENCES,)).fetchone()
    if not exists or not connection.execute("SELECT 1 FROM sqlite_sequence").fetchone():
        return None
    return TableRows(SEQUENCES, ('"name"', '"seq"'))


def foreign_keys(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Of every foreign key, its table and the table that it refers to, which may be written in another case."""
    names = {
        name.lower(): name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    found = connection.execute(
        'SELECT DISTINCT m.name, f."table" FROM sqlite_master m, pragma_foreign_key_list(m.name) f '
        "WHERE m.type = 'table'"
    )
    return [(table, names.get(referred.lower(), referred)) for table, referred in found]


def count_rows(connection: sqlite3.Connection, cancellation: Cancellation) -> tuple[TableInventory, ...]:
    """The inventory of a data backup of this database: what its statements would write, counted and hashed."""
    stand = sequences(connection)
    tables = (*read_tables(connection).with_rows, *([stand] if stand else []))
    connection.text_factory = tolerant_text
    try:
        return by_name(
            [hash_rows(connection.execute(table.query), cancellation).inventory(table.name) for table in tables]
        )
    finally:
        connection.text_factory = str


def by_name(inventories: list[TableInventory]) -> tuple[TableInventory, ...]:
    return tuple(sorted(inventories, key=lambda table: table.name))


def _way(sql: str) -> _Way:
    if module_of(sql) not in _READABLE:
        return _Way.NOT_AT_ALL
    content = _CONTENT.search(sql) if module_of(sql) in _FULL_TEXT else None
    if content is None:
        return _Way.ROWS
    return _Way.REBUILD if any(content.groups()) else _Way.NOT_AT_ALL


def _rows_of(connection: sqlite3.Connection, name: str, *, numbered: bool) -> TableRows:
    """Columns that hold something: neither hidden nor generated.

    The number of a row is a column of its own where no column is it: full-text tables and applications lean on it.
    """
    columns = connection.execute(
        "SELECT name, lower(type), pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (name,)
    ).fetchall()
    taken = {column.lower() for column, _, _ in columns}
    free = [word for word in _ROWID_NAMES if word not in taken]
    is_number = [kind for _, kind, key in columns if key] == ["integer"]
    number = free[:1] if numbered and not is_number else []
    return TableRows(name, (*number, *(quoted(column) for column, _, _ in columns)))
