"""What no restore may go into: the catalogue, the storages, and the database that Airflow itself works with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from db_backup.errors import ConfigurationError, Refused
from db_backup.jobs.restore.targets import Owners, Target, is_same_address
from db_backup.jobs.workspace import Workspace
from db_backup.model import ConnectionInfo, EngineName
from db_backup.settings import airflow_home

_AIRFLOW_DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_ENGINES = {"postgresql": EngineName.POSTGRES, "mysql": EngineName.MYSQL}


def refuse_own_places(workspace: Workspace, target: Target, owners: Owners) -> None:
    """Refuse a target that this restore, or the Airflow around it, needs while it is at work.

    Airflow's own database may be an entry's, backed up and brought back on purpose.

    :raises Refused:
    """
    found = _catalogue_or_storage(workspace, target)
    if found is None and not owners.sure and _is_airflows(workspace, target):
        found = "Airflow's own database"
    if found is not None:
        address = target.engine.connection.address
        raise Refused(
            f"{address} is {found}: no restore goes there. Nothing was changed.",
            hint="Name another database, or another file.",
        )


def _catalogue_or_storage(workspace: Workspace, target: Target) -> str | None:
    settings, connection = workspace.settings, target.engine.connection
    if connection.engine is not EngineName.SQLITE:
        if not settings.backup_catalog_conn_id:
            return None
        with suppress(ConfigurationError):  # a catalogue without a connection is not in use either
            catalogue = workspace.connection(settings.backup_catalog_conn_id)
            return "the catalogue" if is_same_address(catalogue, connection) else None
        return None
    file = Path(os.path.realpath(connection.database))
    if file == Path(os.path.realpath(settings.backup_catalog_path)):
        return "the catalogue"
    for storage in workspace.storages.values():
        is_folder = "://" not in storage.location
        if is_folder and file.is_relative_to(os.path.realpath(storage.location)):
            return f"a file in the storage '{storage.name}'"
    return None


def _is_airflows(workspace: Workspace, target: Target) -> bool:
    return any(is_same_address(theirs, target.engine.connection) for theirs in _airflow_databases(workspace))


def _airflow_databases(workspace: Workspace) -> Iterator[ConnectionInfo]:
    """Where Airflow keeps it without being told, and where its environment says; Airflow need not be there."""
    environment = os.environ if workspace.environment is None else workspace.environment
    yield ConnectionInfo("", EngineName.SQLITE, database=str(airflow_home(environment) / "airflow.db"))
    try:
        address = urlsplit(environment.get(_AIRFLOW_DATABASE, ""))
        dialect, host, port = address.scheme.partition("+")[0], address.hostname or "", address.port
    except ValueError:
        return  # Airflow cannot read it either
    path = unquote(address.path)[1:]
    if dialect == "sqlite":
        yield ConnectionInfo("", EngineName.SQLITE, database=path)
    elif dialect in _ENGINES:
        yield ConnectionInfo("", _ENGINES[dialect], host=host, port=port, database=path)
