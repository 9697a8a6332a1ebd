"""Databases for runs of the real DAG: a small shop in SQLite, and a server that does not answer."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from db_backup.model import ConnectionInfo, EngineName

PASSWORD = "not-for-logs-7Q"


def sqlite_database(folder: Path, name: str, *, rows: int = 200, row_bytes: int = 40) -> ConnectionInfo:
    """A small shop: customers, and orders that refer to them."""
    path = folder / f"{name}.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(
            "create table customers (id integer primary key, name text not null);"
            "create table orders (id integer primary key, customer_id integer references customers, note text);"
            "create index orders_by_customer on orders (customer_id);"
        )
        database.executemany("insert into customers values (?, ?)", [(row, f"Customer {row}") for row in range(rows)])
        database.executemany(
            "insert into orders values (?, ?, ?)",
            [(row, row % 7, f"{row:06d}".ljust(row_bytes, "x")) for row in range(rows)],
        )
    database.close()
    return ConnectionInfo(conn_id=name, engine=EngineName.SQLITE, database=str(path))


def unreachable() -> ConnectionInfo:
    """A PostgreSQL where nothing listens."""
    return ConnectionInfo(
        conn_id="gone",
        engine=EngineName.POSTGRES,
        host="127.0.0.1",
        port=1,
        login="backup",
        password=PASSWORD,
        database="gone",
    )
