"""What the chain conformance suite needs: one real source with a history of its own, changed step by step."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from db_backup.comparison import compare
from db_backup.engines import chain_engine_for, engine_for
from db_backup.engines.base import EngineOptions
from db_backup.engines.chain import ChainEngine
from db_backup.manifest import Difference, Inventory, Manifest, ServerInfo
from db_backup.model import ConnectionInfo
from support.chains import Taken, take_full, take_increment
from support.dumps import dump_of
from support.lab import EngineLab
from support.lab_mysql import MysqlLab
from support.lab_postgres import PostgresLab
from support.lab_sqlite import SqliteLab
from support.mysql_server import MariaDbServer
from support.postgres_server import PostgresServer

Contents = Mapping[str, Inventory]  # of every user database


class ChainLab(ABC):
    """A source: a server with two sample databases (SQLite: a file), of which nobody but the suite knows.

    ``tells_moments_apart_after``: seconds after which the source's history has another time.
    ``leads_beyond_its_end``: whether a moment after the last backup leads to that backup, or is refused.
    """

    tells_moments_apart_after: ClassVar[float] = 0.0
    leads_beyond_its_end: ClassVar[bool] = False

    def __init__(self, lab: EngineLab) -> None:
        self.lab = lab
        self.databases = self.create_databases()

    @classmethod
    @abstractmethod
    def open(cls, folder: Path) -> AbstractContextManager[Self]:
        """The lab, while its source runs."""

    def create_databases(self) -> tuple[str, ...]:
        return self.lab.create_sample(), self.lab.create_sample()

    @abstractmethod
    def break_history(self) -> None:
        """Do what no increment can follow."""

    def of_another_source(self, manifest: Manifest) -> Manifest:
        """The same backup, had it been taken of another server."""
        server = ServerInfo(**{**manifest.server.model_dump(), "identity": "4711-another-one"})
        return manifest.model_copy(update={"server": server})

    @property
    def connection(self) -> ConnectionInfo:
        return self.lab.connection("")

    @property
    def unreachable(self) -> ConnectionInfo:
        return self.lab.unreachable("")

    def chain(self, options: EngineOptions | None = None, connection: ConnectionInfo | None = None) -> ChainEngine:
        return chain_engine_for(connection or self.connection, options or self.lab.options)

    def change(self, number: int) -> None:
        """Rows and definitions, in every database."""
        for database in self.databases:
            self.lab.execute(database, f"CREATE TABLE step_{number} (id integer PRIMARY KEY)")
            self.lab.execute(
                database,
                f"INSERT INTO step_{number} VALUES (1), (2)",
                f"INSERT INTO left_side (id) VALUES ({number})",
                f"INSERT INTO right_side (id) VALUES ({number})",
                f"UPDATE marks SET word = 'step {number}' WHERE id = 1",
                f"DELETE FROM marks WHERE id = {number + 1}",
            )
        time.sleep(self.tells_moments_apart_after)

    def contents(self) -> Contents:
        """Of the source, as the ordinary engine finds it."""
        return {name: dump_of(self.lab.engine(name)).manifest.inventory for name in self.databases}

    def contents_at(self, connection: ConnectionInfo) -> Contents:
        """Of a rebuilt source, the same way."""
        return {
            name: dump_of(engine_for(self.rebuilt(connection, name), self.lab.options)).manifest.inventory
            for name in self.databases
        }

    def rebuilt(self, connection: ConnectionInfo, database: str) -> ConnectionInfo:
        """To one database of a rebuilt source."""
        return dataclasses.replace(connection, database=database)


class SqliteChainLab(ChainLab):
    leads_beyond_its_end = True

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        yield cls(SqliteLab(folder))

    def create_databases(self) -> tuple[str, ...]:
        return (self.lab.create_sample(),)

    def break_history(self) -> None:
        """There is no log to lose; but pages that are cut otherwise cannot be compared."""
        with closing(sqlite3.connect(self.databases[0], isolation_level=None)) as connection:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("VACUUM")

    def of_another_source(self, manifest: Manifest) -> Manifest:
        server = ServerInfo(**{**manifest.server.model_dump(), "address": "/srv/another.sqlite"})
        return manifest.model_copy(update={"server": server})

    @property
    def connection(self) -> ConnectionInfo:
        return self.lab.connection(self.databases[0])

    @property
    def unreachable(self) -> ConnectionInfo:
        return self.lab.unreachable(self.databases[0])

    def rebuilt(self, connection: ConnectionInfo, database: str) -> ConnectionInfo:
        return connection


class MysqlChainLab(ChainLab):
    tells_moments_apart_after = 1.0  # events of the binlog have whole seconds

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        with MariaDbServer.start(binlog=True) as server:
            yield cls(MysqlLab(folder, server))

    def break_history(self) -> None:
        assert isinstance(self.lab, MysqlLab)
        self.lab.server.run("RESET MASTER")


class PostgresChainLab(ChainLab):
    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        with PostgresServer.start() as server:
            yield cls(PostgresLab(folder, server))

    def break_history(self) -> None:
        assert isinstance(self.lab, PostgresLab)
        self.lab.server.run("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


@dataclass(frozen=True)
class Told:
    """A chain, each of its backups published, and what the source held when it was taken."""

    taken: tuple[Taken, ...]
    contents: tuple[Contents, ...]


def tell(lab: ChainLab) -> Told:
    """A full, and three increments: of a change, of none, of another change."""
    engine = lab.chain()
    taken, contents = [take_full(engine)], [lab.contents()]
    engine.published(taken[0].manifest)
    for number in (1, None, 2):
        if number is not None:
            lab.change(number)
        contents.append(lab.contents() if number is not None else contents[-1])
        taken.append(take_increment(engine, taken[-1]))
        engine.published(taken[-1].manifest)
        time.sleep(lab.tells_moments_apart_after)
    return Told(tuple(taken), tuple(contents))


def differences(expected: Contents, found: Contents) -> tuple[tuple[str, Difference], ...]:
    return tuple((name, each) for name in expected for each in compare(expected[name], found[name]))
