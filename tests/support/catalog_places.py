"""Where a catalogue may lie: in a file, or in a real PostgreSQL. What is asked of one kind is asked of both."""

from __future__ import annotations

import dataclasses
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from db_backup.catalog import Catalog
from db_backup.catalog.database import Database
from db_backup.model import ConnectionInfo, EngineName
from support.postgres_server import PostgresServer


class CatalogPlace(ABC):
    """A catalogue that is there, or will be when it is first opened."""

    @abstractmethod
    def open(self, *, host: str | None = None) -> Catalog: ...

    @abstractmethod
    def database(self) -> Database:
        """The same, without the catalogue's own methods: for looking and changing behind its back."""

    @abstractmethod
    def to_json(self) -> str:
        """What another process opens it with: :func:`place_from_json`."""


@dataclass(frozen=True)
class InFile(CatalogPlace):
    path: Path

    def open(self, *, host: str | None = None) -> Catalog:
        return Catalog.open(self.path, host=host)

    def database(self) -> Database:
        return Database.open(self.path)

    def to_json(self) -> str:
        return json.dumps({"path": str(self.path)})


@dataclass(frozen=True)
class InPostgres(CatalogPlace):
    connection: ConnectionInfo

    def open(self, *, host: str | None = None) -> Catalog:
        return Catalog.open_postgres(self.connection, host=host)

    def database(self) -> Database:
        return Database.open_postgres(self.connection)

    def to_json(self) -> str:
        return json.dumps({"connection": dataclasses.asdict(self.connection)})


def place_from_json(document: str) -> CatalogPlace:
    fields = json.loads(document)
    if "path" in fields:
        return InFile(Path(fields["path"]))
    connection = fields["connection"]
    return InPostgres(ConnectionInfo(**{**connection, "engine": EngineName(connection["engine"])}))


def new_postgres_place(server: PostgresServer) -> InPostgres:
    """An empty database whose owner is nobody special, and whose texts sort by the rules of English, not of bytes."""
    name = f"catalog_{secrets.token_hex(4)}"
    user, password = server.create_user()
    server.run(
        f"CREATE DATABASE {name} OWNER {user} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
    )
    return InPostgres(server.connection(name, user=user, password=password))


KINDS = ["file", pytest.param("postgres", marks=pytest.mark.integration)]


def new_place(kind: str, folder: Path, request: pytest.FixtureRequest) -> CatalogPlace:
    """An empty place of this kind; the server is started only when it is needed."""
    if kind == "file":
        return InFile(folder / "state" / "catalog.sqlite")
    return new_postgres_place(request.getfixturevalue("postgres_server"))


@pytest.fixture(params=KINDS)
def catalog_place(request: pytest.FixtureRequest, tmp_path: Path) -> CatalogPlace:
    """A test that takes this runs over both kinds."""
    return new_place(request.param, tmp_path, request)


@pytest.fixture(scope="module", params=KINDS)
def shared_catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """One catalogue for all the examples of a property; each empties the index first."""
    with new_place(request.param, tmp_path_factory.mktemp("shared"), request).open() as opened:
        yield opened
