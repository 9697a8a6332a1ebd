"""The catalogue's database: its transactions, and its schema brought up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, column, inspect, select, table
from sqlalchemy.exc import DBAPIError, IntegrityError

from db_backup.catalog import tables
from db_backup.catalog.connection import WRITES, explain_sqlite, open_sqlite
from db_backup.errors import CatalogError

_VERSION_TABLE = "alembic_version"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Transactions over the catalogue; whatever fails in them is told as a ``CatalogError``.

    :param name: the catalogue's address, for people.
    :param explain: what an error of this engine means, given that name.
    """

    def __init__(self, engine: Engine, name: str, explain: Callable[[DBAPIError, str], CatalogError]) -> None:
        self._engine = engine
        self._name = name
        self._explain = explain

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the embedded catalogue; make it, or bring its schema up to date, where that is needed.

        :raises CatalogError: it cannot be opened or written, is no catalogue, is damaged, or is of a newer program.
        """
        database = cls(open_sqlite(path), str(path), explain_sqlite)
        database._prepare()
        return database

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view.

        :raises CatalogError:
        """
        with self._telling_what_failed(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """All or nothing; waits for other writers.

        :raises CatalogError:
        :raises IntegrityError: somebody else has this key already; which the caller expects, or should.
        """
        with self._telling_what_failed(), self._engine.execution_options(**{WRITES: True}).begin() as connection:
            yield connection

    @contextmanager
    def _telling_what_failed(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise self._explain(error, self._name) from error

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
                f"{self._name} is a database, but not a catalogue of db-backup.",
                hint="Set BACKUP_CATALOG_PATH to a file of its own.",
            )
        if int(found) > int(tables.SCHEMA):
            raise CatalogError(
                f"The catalogue {self._name} has schema {found}; this program knows schemas up to {tables.SCHEMA}.",
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
    command.upgrade(config, "head")
