"""A throwaway database of each engine, and the commands that compete over it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import TABLES
from db_backup.model import ConnectionInfo, EngineName
from support.mysql_server import MariaDbServer
from support.postgres_server import PostgresServer
from support.project import Project

#: What is asked of ``db-backup create`` and of the pipeline.
CODECS = ("gzip", "zstd")
_ROOT = Path(__file__).parents[1]
#: Of our own commands, which run elsewhere.
PYTHON_PATH = os.pathsep.join(str(_ROOT / part) for part in ("", "plugins", "tests"))


@dataclass(frozen=True)
class Case:
    """One contestant. ``stored_bytes`` is asked after each run, with what it printed; None where nothing is kept."""

    name: str
    command: Sequence[str]
    stored_bytes: Callable[[str], int | None]
    environment: Mapping[str, str]
    is_ours: bool = False
    tool: str = ""  # which must be there


@dataclass(frozen=True)
class Arena:
    """A database that is ready: ``folder`` for results, ``project`` for our command, the first case is the baseline."""

    title: str
    version: str
    folder: Path
    project: Project
    cases: Sequence[Case]
    #: Makes the dump of the database so many times as large as it was at first.
    grow: Callable[[int], None] | None = None


@contextmanager
def workspace(connection: ConnectionInfo) -> Iterator[tuple[Path, Project]]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        project = Project(folder / "project", {"shop": connection})
        project.environment |= {
            "BACKUP_MAX_SIZE_MB": "0",
            "PYTHONPATH": PYTHON_PATH,
        }
        yield folder, project


def _ours(project: Project, tool: Sequence[str]) -> list[Case]:
    cases = []
    for codec in CODECS:
        create = [sys.executable, "-m", "db_backup", "create", "shop", "--no-verify", "--compression", codec]
        pipeline = [sys.executable, "-m", "benchmarks.pipeline", codec, *tool]
        cases += [
            Case(f"`db-backup create`, {codec}", create, lambda _: _newest(project), project.environment, True),
            Case(f"our pipeline alone, {codec}", pipeline, int, project.environment, True),
        ]
    return cases


def _newest(project: Project) -> int:
    newest = max((project.storage / "database").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    return newest.stat().st_size


class Shell:
    """Competitors that are pipelines: a shell with ``pipefail``, the result in one file, which is thrown away."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._result = folder / "result"
        self._environment = environment

    def case(self, script: str, *, tool: str = "", shown: str = "") -> Case:
        command = ["bash", "-c", f"set -o pipefail; {script} > {self._result}"]
        return Case(f"`{shown or script}`", command, self._take, self._environment, tool=tool)

    def nowhere(self, script: str) -> Case:
        command = ["bash", "-c", f"{script} > /dev/null"]
        return Case(f"`{script} > /dev/null`", command, lambda _: None, self._environment)

    def _take(self, _: str) -> int:
        size = self._result.stat().st_size
        self._result.unlink()
        return size


def fill_postgres(server: PostgresServer, rows: Mapping[str, Path]) -> str:
    """A database with these rows; its name."""
    database = server.create_database(*(f"CREATE TABLE {table} ({columns})" for table, columns in TABLES.items()))
    with server.connect(database) as connection:
        for table, path in rows.items():
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy, path.open("rb") as file:
                while block := file.read(1 << 20):
                    copy.write(block)
    server.run("VACUUM ANALYZE", database=database)
    return database


def fill_mariadb(server: MariaDbServer, rows: Mapping[str, Path]) -> None:
    """The database ``shop`` with these rows."""
    server.run("CREATE DATABASE shop")
    with server.connect("shop", local_infile=True) as connection, connection.cursor() as cursor:
        for table, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE {table} ({columns})")
            cursor.execute(f"LOAD DATA LOCAL INFILE '{rows[table]}' INTO TABLE {table}")


def fill_sqlite(path: Path, rows: Mapping[str, Path]) -> None:
    """A file with these rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            values = ", ".join("?" for _ in columns.split(", "))
            with rows[table].open(encoding="ascii") as file:
                lines = (line.rstrip("\n").split("\t") for line in file)
                connection.executemany(f"INSERT INTO {table} VALUES ({values})", lines)


@contextmanager
def postgres(rows: Mapping[str, Path]) -> Iterator[Arena]:
    options = ("-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_wal_size=8GB", "-c", "jit=off")
    with PostgresServer.start(options=options) as server:
        database = fill_postgres(server, rows)

        def grow(times: int) -> None:
            for serial in range(1, times):
                for table in rows:
                    copy = f"CREATE UNLOGGED TABLE IF NOT EXISTS {table}_{serial} AS SELECT * FROM {table}"
                    server.run(copy, database=database)

        with workspace(server.connection(database)) as (folder, project):
            environment = {**os.environ, **server.environment(), "PGDATABASE": database}
            project.environment |= {name: environment[name] for name in (*server.environment(), "PGDATABASE")}
            shell = Shell(folder, environment)
            yield Arena(
                "PostgreSQL",
                str(server.run("SHOW server_version")[0][0]).split()[0],
                folder,
                project,
                [
                    shell.case("pg_dump | gzip -9"),
                    shell.case("pg_dump | pigz -9", tool="pigz"),
                    shell.case("pg_dump | zstd -q -3 -T2", shown="pg_dump | zstd -3 -T2"),
                    shell.case("pg_dump -Fc"),
                    shell.nowhere("pg_dump -Fc -Z0"),
                    *_ours(project, ["pg_dump", "-Fc", "-Z0"]),
                ],
                grow,
            )


@contextmanager
def mariadb(rows: Mapping[str, Path]) -> Iterator[Arena]:
    with MariaDbServer.start(options=["--local-infile=1", "--innodb-buffer-pool-size=512M"]) as server:
        fill_mariadb(server, rows)
        with workspace(server.connection("shop")) as (folder, project):
            options = folder / "client.cnf"
            options.write_text(server.option_file() + server.option_file().replace("[client]", "[mydumper]"))
            options.chmod(0o600)
            flags = "--single-transaction --quick --routines --events --triggers --hex-blob"
            dump = f"mariadb-dump --defaults-extra-file={options} {flags} shop"
            target = folder / "mydumper"
            several = (
                f"mydumper --defaults-file={options} --host=127.0.0.1 --port={server.port} --user=root"
                f' --password="$PASSWORD" --database=shop --threads=2 --compress --outputdir={target}'
            )
            environment = {**os.environ, "PASSWORD": server.root_password}
            shell = Shell(folder, environment)
            yield Arena(
                "MariaDB",
                str(server.run("SELECT VERSION()")[0][0]).split("-")[0],
                folder,
                project,
                [
                    shell.case(f"{dump} | gzip -9", shown="mariadb-dump | gzip -9"),
                    Case(
                        "`mydumper --threads 2 --compress`",
                        ["bash", "-c", several],
                        lambda _: _folder_size(target),
                        environment,
                        tool="mydumper",
                    ),
                    *_ours(project, dump.split()),
                ],
            )


def _folder_size(folder: Path) -> int:
    size = sum(path.stat().st_size for path in folder.iterdir())
    shutil.rmtree(folder)
    return size


@contextmanager
def sqlite(rows: Mapping[str, Path]) -> Iterator[Arena]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as name:
        path = Path(name) / "shop.sqlite"
        fill_sqlite(path, rows)
        connection_info = ConnectionInfo(conn_id="bench", engine=EngineName.SQLITE, database=str(path))
        with workspace(connection_info) as (folder, project):
            yield Arena(
                "SQLite",
                sqlite3.sqlite_version,
                folder,
                project,
                [
                    Shell(folder, dict(os.environ)).case(
                        f"sqlite3 {path} .dump | gzip -9", shown="sqlite3 shop.sqlite .dump | gzip -9"
                    ),
                    *_ours(project, [str(path)]),
                ],
            )


ENGINES: Mapping[str, Callable[[Mapping[str, Path]], AbstractContextManager[Arena]]] = {
    "postgres": postgres,
    "mariadb": mariadb,
    "sqlite": sqlite,
}
