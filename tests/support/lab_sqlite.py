"""The SQLite lab: files, and everything that files can hold."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import ClassVar

from db_backup.engines.base import EngineOptions
from db_backup.manifest import Inventory
from db_backup.model import BackupType, ConnectionInfo, EngineName
from support.lab import EngineLab, awkward_script

_SAMPLE = """
CREATE TABLE marks (id INTEGER PRIMARY KEY, word TEXT NOT NULL);
INSERT INTO marks VALUES (1, 'first'), (2, 'doomed'), (3, 'last');
CREATE TABLE left_side (id INTEGER PRIMARY KEY);
CREATE TABLE right_side (id INTEGER PRIMARY KEY);
CREATE TABLE empty_table (id INTEGER);
CREATE TABLE "select ""from"" where; '%' ?#" ("group" INTEGER, "a ""quoted"" column" TEXT);
INSERT INTO "select ""from"" where; '%' ?#" VALUES (1, 'it''s'), (NULL, NULL);
CREATE TABLE customers (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT COLLATE NOCASE UNIQUE);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
    price REAL, quantity INTEGER, total REAL GENERATED ALWAYS AS (price * quantity) STORED,
    label TEXT GENERATED ALWAYS AS ('order ' || id) VIRTUAL, CHECK (quantity > 0)
);
INSERT INTO customers (email) VALUES ('ada@example.com'), ('grace@example.com'), ('zoë@exämple.com'),
    ('💾@example.com');
INSERT INTO orders (customer_id, price, quantity) VALUES (1, 12.5, 2), (2, 0.1, 3), (2, 1e300, 1);
CREATE INDEX orders_by_customer ON orders (customer_id) WHERE price > 1;
CREATE VIEW revenue AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id;
CREATE TABLE log (at TEXT, what TEXT);
CREATE TRIGGER log_orders AFTER INSERT ON orders BEGIN INSERT INTO log VALUES (datetime(), 'order'); END;
CREATE TABLE pairs (a TEXT, b INTEGER, value ANY, PRIMARY KEY (a, b)) STRICT, WITHOUT ROWID;
INSERT INTO pairs VALUES ('x', 1, 'text'), ('x', 2, x'00ff'), ('y', 1, NULL), ('y', 2, 1.5);
CREATE TABLE oddities (kind TEXT, value);
INSERT INTO oddities VALUES
    ('null', NULL), ('text with nul', 'before' || char(0) || 'after'), ('blob', x'0001fe00ff'), ('empty text', ''),
    ('empty blob', x''), ('text like blob', 'abc'), ('blob like text', x'616263'), ('largest', 9223372036854775807),
    ('smallest', -9223372036854775808), ('infinity', 9e999), ('minus infinity', -9e999), ('subnormal', 5e-324),
    ('one tenth', 0.1), ('integer real', 1.0), ('invalid utf-8', CAST(x'c328ff' AS TEXT)),
    ('not a number', 9e999 - 9e999);
CREATE VIRTUAL TABLE notes USING fts5(body);
INSERT INTO notes VALUES ('the quick brown fox'), ('jumps over the lazy dog');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
INSERT INTO boxes VALUES (1, 0, 1), (2, 5, 8);
ANALYZE;
PRAGMA user_version = 42;
PRAGMA application_id = 4711;
"""
# What the sample's virtual tables are made of, and what ANALYZE has found.
_ENGINES_OWN = ("notes_", "boxes_", "sqlite_stat")


class SqliteLab(EngineLab):
    sample = _SAMPLE
    engine_name = EngineName.SQLITE
    not_carried: ClassVar[Mapping[BackupType, tuple[str, ...]]] = {
        BackupType.DATA: ("'forgetful'",)
    }  # a full backup is an image
    types_that_leave_tables_out = frozenset({BackupType.DATA})  # a full backup is an image

    def connection(self, database: str) -> ConnectionInfo:
        return ConnectionInfo(conn_id="lab_sqlite", engine=EngineName.SQLITE, database=database)

    def unreachable(self, database: str) -> ConnectionInfo:
        return self.connection(f"{database}.is-not-there")

    def fresh_name(self) -> str:
        return str(self.folder / f"{super().fresh_name()}.sqlite")

    def create_sample(self) -> str:
        database = self.fresh_name()
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(self.sample)
        return database

    def create_nasty(self) -> str:
        database = self.fresh_name()
        with closing(sqlite3.connect(database)) as connection:
            connection.executescript(awkward_script(self.engine_name))
        return database

    def create_empty(self) -> str:
        database = self.fresh_name()
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA user_version = 1")  # a file of one page
        return database

    def fill(self, database: str, megabytes: int) -> None:
        self.execute(
            database,
            "CREATE TABLE filler (id INTEGER PRIMARY KEY, value BLOB)",
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < "
            f"{megabytes * 1100}) INSERT INTO filler SELECT i, randomblob(1000) FROM n",
        )

    def execute(self, database: str, *statements: str) -> None:
        with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement)

    def counts(self, database: str) -> dict[str, int]:
        with closing(sqlite3.connect(database)) as connection:
            names = [
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
                )
            ]
            return {
                name: connection.execute('SELECT count(*) FROM "' + name.replace('"', '""') + '"').fetchone()[0]
                for name in names
            }

    def own_counts(self, database: str) -> dict[str, int]:
        return {name: rows for name, rows in self.counts(database).items() if not name.startswith(_ENGINES_OWN)}

    def comparable(self, inventory: Inventory) -> Inventory:
        tables = tuple(table for table in inventory.tables if not table.name.startswith(_ENGINES_OWN))
        return inventory.model_copy(update={"tables": tables})

    def stock_dump(self, database: str) -> str:
        return subprocess.run(
            ["sqlite3", database, ".dump"], capture_output=True, text=True, errors="replace", check=True
        ).stdout

    def exists(self, database: str) -> bool:
        return Path(database).exists()

    def drop(self, database: str) -> None:
        Path(database).unlink(missing_ok=True)

    def break_one_row(self, plain: bytes) -> bytes:
        if plain.startswith(b"--"):
            row = b'INSERT INTO "marks"("id","word") VALUES(2,\'doomed\');\n'
            assert plain.count(row) == 1
            return plain.replace(row, b"")
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "image.sqlite"
            image.write_bytes(plain)
            self.execute(str(image), "DELETE FROM marks WHERE word = 'doomed'")
            return image.read_bytes()

    def stock_environment(self, home: Path) -> Mapping[str, str]:
        return {}

    def restored_database(self, folder: Path) -> str:
        return str(folder / "restored.sqlite")

    def scratch_database(self, scratch: ConnectionInfo, database: str) -> str:
        return scratch.database


class CompactedSqliteLab(SqliteLab):
    """The same, whose images are compacted; without the CHECK beside generated columns, which would keep them exact."""

    sample = _SAMPLE.replace(", CHECK (quantity > 0)", "")

    def private_options(self, folder: Path) -> EngineOptions:
        return dataclasses.replace(super().private_options(folder), sqlite_vacuum=True)
