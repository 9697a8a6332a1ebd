"""What every kind of database does in its own way, when a catalogue lies in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from db_backup.errors import CatalogError
from db_backup.model import ConnectionInfo

WRITES = "catalogue_writes"  # execution option: the transaction will write
BUSY_TIMEOUT_SECONDS = 30


def postgres_name(connection: ConnectionInfo) -> str:
    """A catalogue in PostgreSQL, as messages and listings call it."""
    return f"PostgreSQL {connection.address} (connection '{connection.conn_id}')"


@dataclass(frozen=True)
class Place:
    """A database that holds the catalogue, or will.

    :param engine: begins transactions so that reading ones see one moment, and writing ones wait for each other.
    :param name: its address, for people; never with a secret.
    :param explain: what an error of its driver means to a person.
    :param now: the present moment by the one clock that all who share the catalogue go by.
    :param remedy_when_taken: what to do when somebody else's tables are found there.
    """

    engine: Engine
    name: str
    explain: Callable[[DBAPIError], CatalogError]
    now: Callable[[Connection], datetime]
    remedy_when_taken: str
