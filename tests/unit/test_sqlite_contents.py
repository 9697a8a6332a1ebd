"""Counting and hashing SQLite tables, and finding damage, on real files."""

from __future__ import annotations

import marshal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from db_backup.engines.sqlite.contents import count_tables, find_damage, interruptible, read_schema
from db_backup.errors import Interrupted
from db_backup.manifest import DatabaseObject, TableInventory
from db_backup.progress import Cancellation

pytestmark = pytest.mark.unit


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def count(connection: sqlite3.Connection, name: str) -> TableInventory:
    tables = count_tables(connection, read_schema(connection), Cancellation()).tables
    return next(table for table in tables if table.name == name)


def checksum_of(connection: sqlite3.Connection, value: str) -> str | None:
    """The checksum of a table that holds this one SQL value."""
    connection.execute("DROP TABLE IF EXISTS one")
    connection.execute("CREATE TABLE one (value)")
    connection.execute(f"INSERT INTO one VALUES ({value})")
    return count(connection, "one").checksum


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"(\x01\x00\x00\x00N"),
        (1, b"(\x01\x00\x00\x00i\x01\x00\x00\x00"),
        (-(2**63), b"(\x01\x00\x00\x00l\xfb\xff\xff\xff" + b"\x00\x00" * 4 + b"\x08\x00"),
        (0.1, b"(\x01\x00\x00\x00g\x9a\x99\x99\x99\x99\x99\xb9?"),
        ("é\x00", b"(\x01\x00\x00\x00u\x03\x00\x00\x00\xc3\xa9\x00"),
        (b"\xff\x00", b"(\x01\x00\x00\x00s\x02\x00\x00\x00\xff\x00"),
    ],
)
def test_python_writes_rows_as_it_always_has(value: object, expected: bytes) -> None:
    """A Python that writes marshal version 2 otherwise would make every old checksum look wrong."""
    assert marshal.dumps((value,), 2) == expected


def test_a_tables_checksum_is_the_same_in_every_release(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE t (a, b)")
    database.execute("INSERT INTO t VALUES (1, 'one'), (2.5, x'ff'), (NULL, CAST(x'c328' AS TEXT))")
    assert count(database, "t") == TableInventory(name="t", rows=3, checksum="8fa86a886c3b69ea")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("'abc'", "x'616263'"),
        ("1", "1.0"),
        ("1", "'1'"),
        ("NULL", "''"),
        ("''", "x''"),
        ("0.1", "0.1 + 2e-17"),
        ("5e-324", "0.0"),
        ("9e999", "-9e999"),
        ("'a' || char(0) || 'b'", "'a' || char(0) || 'c'"),
        ("CAST(x'ff' AS TEXT)", "CAST(x'fe' AS TEXT)"),
        ("CAST(x'ff' AS TEXT)", "CAST(x'edb3bf' AS TEXT)"),
        ("9007199254740993", "9007199254740992"),
    ],
)
def test_values_that_differ_in_sqlite_have_different_checksums(
    database: sqlite3.Connection, left: str, right: str
) -> None:
    assert checksum_of(database, left) != checksum_of(database, right)


def test_text_that_is_no_utf8_does_not_change_the_hash_of_its_neighbours(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE t (a)")
    database.execute("INSERT INTO t VALUES ('naïve')")
    valid = count(database, "t").checksum
    database.execute("INSERT INTO t VALUES (CAST(x'ff' AS TEXT))")
    both = count(database, "t").checksum
    invalid = checksum_of(database, "CAST(x'ff' AS TEXT)")
    assert valid is not None
    assert both is not None
    assert invalid is not None
    assert int(both, 16) == (int(valid, 16) + int(invalid, 16)) % 2**64


def test_the_same_rows_in_another_order_have_the_same_checksum(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE up (a)")
    database.execute("CREATE TABLE down (a)")
    database.execute("INSERT INTO up VALUES (1), (2), (2), (3)")
    database.execute("INSERT INTO down VALUES (3), (2), (2), (1)")
    assert count(database, "up").checksum == count(database, "down").checksum


def test_a_table_larger_than_one_step_is_counted_whole(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE t (a)")
    database.executemany("INSERT INTO t VALUES (?)", ((number,) for number in range(25_001)))
    assert count(database, "t").rows == 25_001


def test_virtual_tables_are_objects_and_their_shadow_tables_hold_the_rows(database: sqlite3.Connection) -> None:
    database.execute("CREATE VIRTUAL TABLE notes USING fts5(body)")
    database.execute("INSERT INTO notes VALUES ('hello')")
    schema = read_schema(database)
    assert "notes" not in schema.tables
    assert "notes_content" in schema.tables
    assert DatabaseObject(kind="virtual table", name="notes") in schema.objects
    assert count(database, "notes_content").rows == 1


def test_a_virtual_table_without_its_module_is_a_warning(database: sqlite3.Connection) -> None:
    add_to_schema(database, "maps", "CREATE VIRTUAL TABLE maps USING spatial(a)")
    contents = count_tables(database, read_schema(database), Cancellation())
    assert contents.tables == ()
    (warning,) = contents.warnings
    assert "'maps'" in warning
    assert "'spatial'" in warning


def test_tables_that_need_functions_of_their_application_are_counted_where_they_can_be(tmp_path: Path) -> None:
    file = tmp_path / "app.sqlite"
    with closing(sqlite3.connect(file)) as application:
        application.create_function("twice", 1, lambda value: value * 2, deterministic=True)
        application.create_collation("by_length", lambda left, right: len(left) - len(right))
        application.executescript(
            "CREATE TABLE derived (a INTEGER, v AS (twice(a)) VIRTUAL, s AS (twice(a)) STORED);"
            "INSERT INTO derived (a) VALUES (1), (2);"
            "CREATE TABLE keyed (word TEXT COLLATE by_length PRIMARY KEY) WITHOUT ROWID;"
            "INSERT INTO keyed VALUES ('a'), ('bb');"
            "CREATE TABLE plain (a); INSERT INTO plain VALUES (1);"
        )
    with closing(sqlite3.connect(file)) as connection:
        schema = read_schema(connection)
        contents = count_tables(connection, schema, Cancellation())
        damage = find_damage(connection, schema, thorough=True)
    assert {table.name: table.rows for table in contents.tables} == {"derived": 2, "plain": 1}
    assert [warning for warning in contents.warnings if "'keyed'" in warning]
    assert damage.problems == ()
    assert [warning for warning in damage.warnings if "'keyed'" in warning]


def test_rows_that_break_a_rule_are_a_warning_and_no_damage(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE t (a INTEGER CHECK (a > 0))")
    database.execute("PRAGMA ignore_check_constraints = 1")
    database.execute("INSERT INTO t VALUES (-1)")
    database.execute("PRAGMA ignore_check_constraints = 0")
    damage = find_damage(database, read_schema(database), thorough=False)
    assert damage.problems == ()
    assert "CHECK constraint failed in t" in damage.warnings[0]


def test_an_index_that_lacks_a_row_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "broken.sqlite"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.execute("CREATE INDEX i ON t (a)")
        connection.execute("INSERT INTO t VALUES (1), (2)")
        connection.execute("PRAGMA writable_schema = 1")
        (definition,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'i'").fetchone()
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'i'", (f"{definition} WHERE a > 1",))
    with closing(sqlite3.connect(file)) as connection:
        damage = find_damage(connection, read_schema(connection), thorough=True)
    assert damage.problems


def test_an_identifier_with_quotes_is_no_way_into_the_query(database: sqlite3.Connection) -> None:
    name = 'x" UNION SELECT 1; --'
    database.execute('CREATE TABLE "x"" UNION SELECT 1; --" ("a"" b" INTEGER)')
    database.execute('INSERT INTO "x"" UNION SELECT 1; --" VALUES (1)')
    assert count(database, name).rows == 1


def test_a_cancellation_ends_a_long_statement(database: sqlite3.Connection) -> None:
    cancellation = Cancellation()
    endless = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    database.create_function("stop", 0, lambda: cancellation.cancel("the test says so"))
    with pytest.raises(Interrupted), interruptible(database, cancellation):
        database.execute(f"SELECT stop(), ({endless})").fetchall()


def add_to_schema(connection: sqlite3.Connection, name: str, sql: str) -> None:
    """What another SQLite, with more modules than ours, has created."""
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", (name, name, sql))
    connection.execute("PRAGMA writable_schema = RESET")
