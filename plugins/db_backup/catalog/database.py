"""The catalogue's database: its transactions, and its schema brought up to date."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, column, inspect, select, table
from sqlalchemy.exc import DBAPIError, IntegrityError

from db_backup.catalog import tables
from db_backup.catalog.place import WRITES, Place
from db_backup.errors import CatalogError
from db_backup.model import ConnectionInfo

_VERSION_TABLE = "alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Transactions over the catalogue; whatever fails in them is told as a ``CatalogError``."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the embedded catalogue; make it, or bring its schema up to date, where that is needed.

        :raises CatalogError: it cannot be opened or written, is no catalogue, is damaged, or is of a newer program.
        """
        from db_backup.catalog.sqlite import sqlite_place

        return cls._ready(sqlite_place(path))

    @classmethod
    def open_postgres(cls, connection: ConnectionInfo) -> Self:
        """Open the catalogue in a PostgreSQL database; its tables are made, or brought up to date, where needed.

        :raises CatalogError: it cannot be reached or written, is no catalogue, or is of a newer program.
        :raises ConfigurationError: the connection makes no sense.
        """
        from db_backup.catalog.postgres import postgres_place

        return cls._ready(postgres_place(connection))

    @classmethod
    def _ready(cls, place: Place) -> Self:
        database = cls(place)
        database._prepare()
        return database

    @property
    def name(self) -> str:
        """Where it is, for people; never with a secret."""
        return self._place.name

    def close(self) -> None:
        self._place.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view.

        :raises CatalogError:
        """
        with self._telling_what_failed(), self._place.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing; waits for other writers.

        :raises CatalogError:
        :raises IntegrityError: somebody else has this key already; which the caller expects, or should.
        """
        engine = self._place.engine.execution_options(**{WRITES: True})
        with self._telling_what_failed(), engine.begin() as connection:
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The present moment by the clock of the catalogue: several hosts' clocks may differ."""
        return self._place.now(connection)

    @contextmanager
    def _telling_what_failed(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise self._place.explain(error) from error

    def _prepare(self) -> None:
        with self.read() as connection:
            found = self._schema(connection)
        if found == tables.SCHEMA:
            return
        with self.write() as connection:
            if self._schema(connection) != tables.SCHEMA:  # another process may have been faster
                _migrate(connection)

    def _schema(self, connection: Connection) -> str | None:
        """The revision of the schema, or None for an empty database; cheap, for it is asked at every start."""
        names = inspect(connection).get_table_names()
        if not names:
            return None
        found = None
        if _VERSION_TABLE in names:
            found = connection.scalar(select(column("version_num")).select_from(table(_VERSION_TABLE)))
        if found is None or not found.isdecimal() or tables.backups.name not in names:
            raise CatalogError(
                f"{self.name} is a database, but not a catalogue of db-backup.", hint=self._place.remedy_when_taken
            )
        if int(found) > int(tables.SCHEMA):
            raise CatalogError(
                f"The catalogue {self.name} has schema {found}; this program knows schemas up to {tables.SCHEMA}.",
                hint="Use the release of db-backup that wrote it, or a newer one.",
            )
        return str(found)


def _migrate(connection: Connection) -> None:
    """Bring the schema to its newest revision, within the caller's transaction."""
    from alembic import command  # seldom needed, and slow to import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _quietly("alembic"):
        command.upgrade(config, "head")


@contextmanager
def _quietly(logger_name: str) -> Iterator[None]:
    """Airflow's log goes to the terminal of `airflow backup`, where Alembic's plans say nothing to a person."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
