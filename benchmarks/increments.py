"""Increments: what they cost as more of a database changes, beside a full, and beside the stock tools."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engines import fill_mariadb, fill_postgres, fill_sqlite, folder_size, workspace
from benchmarks.measuring import run
from db_backup.model import ConnectionInfo, EngineName
from support.mysql_server import MariaDbServer
from support.postgres_server import PostgresServer
from support.project import Project

#: How much of each table is changed before an increment, in percent of its rows: each time others, side by side.
SHARES = (1, 10, 50)
#: Of each table the column that is written anew, so that every row is really another.
_CHANGES = {"articles": "title = 'changed'", "measurements": "sensor = sensor + 1000", "events": "id = -id"}


@dataclass(frozen=True)
class Source:
    """A database with a history. ``change``: these statements, committed. ``rival``: prepared before a change, it is
    given the folder to fill, and gives the shell script that fetches what has changed by then."""

    title: str
    version: str
    folder: Path
    project: Project
    environment: Mapping[str, str]
    change: Callable[[Sequence[str]], None]
    rival: Callable[[], Callable[[Path], str]]
    rival_name: str


@dataclass(frozen=True)
class Taken:
    """One backup, or what a rival fetched; ``share`` is None for a full."""

    name: str
    share: int | None
    wall_seconds: float
    stored_bytes: int


@dataclass(frozen=True)
class Increments:
    """Of one engine, in the order in which they were taken; the first is the full."""

    title: str
    version: str
    taken: Sequence[Taken]


def measure_increments(rows: Mapping[str, Path], say: Callable[[str], None]) -> list[Increments]:
    """Of every engine: a full, and after each change the rival and an increment, once each."""
    found = []
    for source_of in (postgres, mariadb, sqlite):
        with source_of(rows) as source:
            taken = []
            for one in _take(source, rows):
                say(f"{source.title}, increments: {one.name}, {one.share or 100} %: {one.wall_seconds:.2f} s")
                taken.append(one)
            found.append(Increments(source.title, source.version, taken))
    return found


def _take(source: Source, rows: Mapping[str, Path]) -> Iterator[Taken]:
    yield _ours(source, "full", None)
    counts = {table: path.read_bytes().count(b"\n") for table, path in rows.items()}
    changed = 0
    for share in SHARES:
        fetch = source.rival()
        source.change(list(_statements(counts, changed, changed + share)))
        changed += share
        with tempfile.TemporaryDirectory(prefix="rival-", dir=source.folder) as name:
            done = run(["bash", "-c", f"set -e -o pipefail; {fetch(Path(name))}"], source.environment, source.folder)
            yield Taken(source.rival_name, share, done.wall_seconds, folder_size(Path(name)))
        yield _ours(source, "incremental", share)


def _statements(counts: Mapping[str, int], first: int, last: int) -> Iterator[str]:
    """Of each table the rows from one percentage to the other."""
    for table, change in _CHANGES.items():
        low, high = (counts[table] * percent // 100 for percent in (first, last))
        yield f"UPDATE {table} SET {change} WHERE id > {low} AND id <= {high}"


def _ours(source: Source, kind: str, share: int | None) -> Taken:
    options = ["--type", kind, "--no-verify", "--no-cleanup", "--json"]
    done = run(
        [sys.executable, "-m", "db_backup", "create", "shop", *options], source.project.environment, source.folder
    )
    (backup,) = json.loads(done.stdout)["backups"]
    name = f"`db-backup create --type {kind}`"
    if backup["type"] != kind:
        name += f", which took a {backup['type']} instead"
    return Taken(name, share, done.wall_seconds, backup["size_bytes"])


def _configure(project: Project, section: str, **keys: Any) -> None:
    entry = {"conn_id": "shop_db", "types": ["full", "incremental"], **keys}
    project.config.write_text(yaml.safe_dump({"version": 1, section: {"shop": entry}}))


@contextmanager
def postgres(rows: Mapping[str, Path]) -> Iterator[Source]:
    """As servers are by default: whole pages are logged after each checkpoint."""
    with PostgresServer.start(options=("-c", "full_page_writes=on", "-c", "max_wal_size=8GB")) as server:
        database = fill_postgres(server, rows)
        with workspace(server.connection(database)) as (folder, project):
            _configure(project, "servers", engine=EngineName.POSTGRES.value)

            def change(statements: Sequence[str]) -> None:
                server.run(*statements, database=database)

            def rival() -> Callable[[Path], str]:
                server.run(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'rival'",
                    "SELECT pg_create_physical_replication_slot('rival', true)",
                )
                return lambda target: (
                    f"pg_receivewal --directory={target} --slot=rival --no-loop --compress=gzip:9"
                    # It stops beyond the end: at the end itself it would wait for the server's next sign of life.
                    f" --endpos={server.run('SELECT pg_current_wal_flush_lsn() - 1')[0][0]}"
                )

            yield Source(
                "PostgreSQL",
                str(server.run("SHOW server_version")[0][0]).split()[0],
                folder,
                project,
                {**os.environ, **server.environment()},
                change,
                rival,
                "`pg_receivewal --compress=gzip:9`",
            )


@contextmanager
def mariadb(rows: Mapping[str, Path]) -> Iterator[Source]:
    options = ["--local-infile=1", "--innodb-buffer-pool-size=512M"]
    with MariaDbServer.start(binlog=True, options=options) as server:
        fill_mariadb(server, rows)
        with workspace(server.connection("shop")) as (folder, project):
            _configure(project, "servers", engine=EngineName.MYSQL.value)
            client = folder / "client.cnf"
            client.write_text(server.option_file())
            client.chmod(0o600)

            def change(statements: Sequence[str]) -> None:
                server.run(*statements, database="shop")

            def rival() -> Callable[[Path], str]:
                server.run("FLUSH BINARY LOGS")
                before = {row[0] for row in server.run("SHOW BINARY LOGS")[:-1]}

                def fetch(target: Path) -> str:
                    files = " ".join(row[0] for row in server.run("SHOW BINARY LOGS") if row[0] not in before)
                    options = f"--defaults-extra-file={client} --raw --read-from-remote-server --result-file={target}/"
                    return f"mariadb-binlog {options} {files}; gzip -9 {target}/*"

                return fetch

            yield Source(
                "MariaDB",
                str(server.run("SELECT VERSION()")[0][0]).split("-")[0],
                folder,
                project,
                dict(os.environ),
                change,
                rival,
                "`mariadb-binlog --raw`, then `gzip -9`",
            )


@contextmanager
def sqlite(rows: Mapping[str, Path]) -> Iterator[Source]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        path = Path(name) / "shop.sqlite"
        fill_sqlite(path, rows)

        def change(statements: Sequence[str]) -> None:
            with closing(sqlite3.connect(path)) as connection, connection:
                for statement in statements:
                    connection.execute(statement)

        connection_info = ConnectionInfo(conn_id="bench", engine=EngineName.SQLITE, database=str(path))
        with workspace(connection_info) as (folder, project):
            _configure(project, "databases", engine=EngineName.SQLITE.value)
            yield Source(
                "SQLite",
                sqlite3.sqlite_version,
                folder,
                project,
                dict(os.environ),
                change,
                lambda: lambda target: f"sqlite3 {path} '.backup {target}/copy'; gzip -9 {target}/copy",
                "`sqlite3 shop.sqlite '.backup copy'`, then `gzip -9`",
            )
