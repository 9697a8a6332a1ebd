"""A program that writes to an SQLite file: ``python sqlite_writer.py FILE NAME``, until its standard input is closed.

What its transactions do follows from their number alone, so that the content of a file follows from how many of each
writer it holds: ``replayed`` makes that content without the file.
"""

from __future__ import annotations

import select
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing

TABLES = "CREATE TABLE ledger (writer TEXT, number INTEGER, PRIMARY KEY (writer, number)) WITHOUT ROWID"
_PAUSE_SECONDS = 0.002


def transaction(writer: str, number: int) -> Iterator[str]:
    """The statements of one transaction, DDL among them."""
    if number == 1:
        yield f"CREATE TABLE of_{writer} (id INTEGER PRIMARY KEY, body TEXT)"
    yield f"INSERT INTO ledger VALUES ('{writer}', {number})"
    yield f"INSERT INTO of_{writer} (id, body) VALUES ({number}, hex(zeroblob({number % 97 * 20})))"
    yield f"UPDATE of_{writer} SET body = body || '+' WHERE id = {number // 2}"
    yield f"DELETE FROM of_{writer} WHERE id = {number // 3} AND id % 4 = 0"
    match number % 10:
        case 0:
            yield f"CREATE TABLE extra_{writer}_{number} AS SELECT id, body FROM of_{writer} WHERE id > {number - 5}"
        case 4:
            yield f"CREATE INDEX IF NOT EXISTS by_length_{writer} ON of_{writer} (length(body))"
        case 6 if number > 20:
            yield f"DROP TABLE extra_{writer}_{number - 16}"
        case 8:
            yield f"DROP INDEX IF EXISTS by_length_{writer}"
        case 9 if number % 50 == 49:
            yield f"ALTER TABLE of_{writer} ADD COLUMN added_{number} INTEGER DEFAULT {number}"


def write(connection: sqlite3.Connection, writer: str, number: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in transaction(writer, number):
        connection.execute(statement)
    connection.execute("COMMIT")


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """How many transactions of each writer the file holds."""
    return dict(connection.execute("SELECT writer, max(number) FROM ledger GROUP BY writer"))


def content(connection: sqlite3.Connection) -> dict[str, object]:
    """Every definition, and every row of every table in an order of its own."""
    definitions = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    tables = [name for kind, name, _ in definitions if kind == "table"]
    return {"": definitions, **{name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}}


def replayed(transactions: Mapping[str, int]) -> dict[str, object]:
    """The content of a file that holds so many transactions of each writer."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute(TABLES)
        for writer, count in transactions.items():
            for number in range(1, count + 1):
                write(connection, writer, number)
        return content(connection)


def main(file: str, writer: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        number = 0
        while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
            number += 1
            write(connection, writer, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
