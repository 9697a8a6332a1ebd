"""Which catalogue the settings mean, and opening it: without reading backup.yaml or touching a storage."""

from __future__ import annotations

from collections.abc import Mapping

from db_backup.catalog import Catalog
from db_backup.catalog.place import postgres_name
from db_backup.connections import resolve_connection
from db_backup.errors import ConfigurationError
from db_backup.model import ConnectionInfo, EngineName
from db_backup.settings import Settings


def open_catalog(settings: Settings, environment: Mapping[str, str] | None = None) -> Catalog:
    """The catalogue of BACKUP_CATALOG_CONN_ID, else the file BACKUP_CATALOG_PATH.

    :param environment: stands in for the process's environment; None reads that.
    :raises ConfigurationError, ConnectionNotFound, CatalogError:
    """
    connection = _connection(settings, environment)
    return Catalog.open(settings.backup_catalog_path) if connection is None else Catalog.open_postgres(connection)


def catalog_name(settings: Settings, environment: Mapping[str, str] | None = None) -> str:
    """What :func:`open_catalog` would open, for people, without opening it.

    :raises ConfigurationError, ConnectionNotFound:
    """
    connection = _connection(settings, environment)
    if connection is None:
        return str(settings.backup_catalog_path)
    return postgres_name(connection)


def _connection(settings: Settings, environment: Mapping[str, str] | None) -> ConnectionInfo | None:
    conn_id = settings.backup_catalog_conn_id
    if not conn_id:
        return None
    connection = resolve_connection(conn_id, environment=environment)
    if connection.engine is not EngineName.POSTGRES:
        raise ConfigurationError(
            f"BACKUP_CATALOG_CONN_ID: the connection '{conn_id}' is of type {connection.engine}, "
            "and a shared catalogue lies in PostgreSQL.",
            hint="Name a postgres connection, or remove BACKUP_CATALOG_CONN_ID to use BACKUP_CATALOG_PATH.",
        )
    return connection
