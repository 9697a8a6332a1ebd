"""Increments: what they cost as more of a database changes, beside a full, and beside the stock tools."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.engines import fill_mariadb, fill_postgres, fill_sqlite, workspace
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
class Rival:
    """A stock tool that fetches what has changed.

    :param prepare: before each change.
    :param script: what fetches it afterwards; ``takes_a_full``: also a first time, before any change.
    :param stored_bytes: of what it fetched last.
    """

    name: str
    tool: str
    script: Callable[[], str]
    stored_bytes: Callable[[], int]
    prepare: Callable[[], None] = lambda: None
    takes_a_full: bool = False


@dataclass(frozen=True)
class Source:
    """A database with a history. ``change``: these statements, committed."""

    title: str
    version: str
    folder: Path
    project: Project
    environment: Mapping[str, str]
    change: Callable[[Sequence[str]], None]
    rivals: Sequence[Rival]


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
    absent: Sequence[str]


def measure_increments(rows: Mapping[str, Path], say: Callable[[str], None]) -> list[Increments]:
    """Of every engine: a full, and after each change the rivals and an increment, once each."""
    found = []
    for source_of in (postgres, mariadb, sqlite):
        with source_of(rows) as source:
            taken = []
            rivals = [rival for rival in source.rivals if shutil.which(rival.tool)]
            for one in _take(source, rivals, rows):
                say(f"{source.title}, increments: {one.name}, {one.share or 100} %: {one.wall_seconds:.2f} s")
                taken.append(one)
            absent = [rival.name for rival in source.rivals if rival not in rivals]
            found.append(Increments(source.title, source.version, taken, absent))
    return found


def _take(source: Source, rivals: Sequence[Rival], rows: Mapping[str, Path]) -> Iterator[Taken]:
    yield _ours(source, "full", None)
    yield from (_theirs(source, rival, None) for rival in rivals if rival.takes_a_full)
    counts = {table: path.read_bytes().count(b"\n") for table, path in rows.items()}
    changed = 0
    for share in SHARES:
        for rival in rivals:
            rival.prepare()
        source.change(list(_statements(counts, changed, changed + share)))
        changed += share
        yield from (_theirs(source, rival, share) for rival in rivals)
        yield _ours(source, "incremental", share)


def _theirs(source: Source, rival: Rival, share: int | None) -> Taken:
    done = run(["bash", "-c", f"set -e -o pipefail; {rival.script()}"], source.environment, source.folder)
    return Taken(rival.name, share, done.wall_seconds, rival.stored_bytes())


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


def _tree_size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _afresh(folder: Path) -> str:
    """The command that makes it an empty folder."""
    return f"rm -rf {folder}; mkdir {folder}"


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

            yield Source(
                "PostgreSQL",
                str(server.run("SHOW server_version")[0][0]).split()[0],
                folder,
                project,
                {**os.environ, **server.environment()},
                change,
                [_receivewal(server, folder / "received"), _pgbackrest(server, folder)],
            )


def _receivewal(server: PostgresServer, target: Path) -> Rival:
    def prepare() -> None:
        server.run(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'rival'",
            "SELECT pg_create_physical_replication_slot('rival', true)",
        )

    def script() -> str:
        # It stops beyond the end: at the end itself it would wait for the server's next sign of life.
        end = server.run("SELECT pg_current_wal_flush_lsn() - 1")[0][0]
        receive = f"pg_receivewal --directory={target} --slot=rival --no-loop --compress=gzip:9 --endpos={end}"
        return f"{_afresh(target)}; {receive}"

    name = "`pg_receivewal --compress=gzip:9`"
    return Rival(name, "pg_receivewal", script, lambda: _tree_size(target), prepare)


def _pgbackrest(server: PostgresServer, folder: Path) -> Rival:
    """On the database's own host, as it must be: it reads the data folder, and archives no WAL here."""
    repository, configuration = folder / "pgbackrest", folder / "pgbackrest.conf"
    sizes = [0]
    configuration.write_text(
        f"[global]\nrepo1-path={repository}\nrepo1-bundle=y\nrepo1-retention-full=9\nlock-path={folder}\n"
        "log-level-file=off\ncompress-type=gz\ncompress-level=9\nprocess-max=2\nstart-fast=y\narchive-check=n\n"
        f"[shop]\npg1-path={server.folder / 'data'}\npg1-port={server.port}\npg1-socket-path={server.folder}\n"
        f"pg1-user={server.environment()['PGUSER']}\n"
    )

    def script() -> str:
        call = f"env -u PGHOST pgbackrest --config={configuration} --stanza=shop"
        first = "" if repository.exists() else f"{call} stanza-create; "
        return f"{first}{call} --type=incr backup"

    def stored_bytes() -> int:
        sizes.append(_tree_size(repository / "backup"))
        return sizes[-1] - sizes[-2]

    return Rival("`pgbackrest --type=incr backup`", "pgbackrest", script, stored_bytes, takes_a_full=True)


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

            yield Source(
                "MariaDB",
                str(server.run("SELECT VERSION()")[0][0]).split("-")[0],
                folder,
                project,
                dict(os.environ),
                change,
                [_mariadb_binlog(server, client, folder / "fetched")],
            )


def _mariadb_binlog(server: MariaDbServer, client: Path, target: Path) -> Rival:
    before: set[str] = set()

    def prepare() -> None:
        server.run("FLUSH BINARY LOGS")
        before.update(row[0] for row in server.run("SHOW BINARY LOGS")[:-1])

    def script() -> str:
        files = " ".join(row[0] for row in server.run("SHOW BINARY LOGS") if row[0] not in before)
        fetch = f"mariadb-binlog --defaults-extra-file={client} --raw --read-from-remote-server"
        return f"{_afresh(target)}; {fetch} --result-file={target}/ {files}; gzip -9 {target}/*"

    name = "`mariadb-binlog --raw`, then `gzip -9`"
    return Rival(name, "mariadb-binlog", script, lambda: _tree_size(target), prepare)


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
            copies = folder / "copies"
            copy = f"{_afresh(copies)}; sqlite3 {path} '.backup {copies}/copy'; gzip -9 {copies}/copy"
            shown = "`sqlite3 shop.sqlite '.backup copy'`, then `gzip -9`"
            yield Source(
                "SQLite",
                sqlite3.sqlite_version,
                folder,
                project,
                dict(os.environ),
                change,
                [Rival(shown, "sqlite3", lambda: copy, lambda: _tree_size(copies))],
            )
