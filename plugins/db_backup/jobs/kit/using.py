"""Working by a kit for one call: its settings and connections, never written to disk and never in our environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from db_backup.errors import UsageError
from db_backup.jobs.kit.document import Kit
from db_backup.jobs.reindex import refresh_index
from db_backup.jobs.workspace import Workspace
from db_backup.settings import airflow_home

CATALOGUE_VARIABLES = ("BACKUP_CATALOG_PATH", "BACKUP_CATALOG_CONN_ID")


def read_sealed(path: Path) -> bytes:
    """The file as it is, before anybody is asked for a passphrase.

    :raises UsageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The kit {path} cannot be read: {error.strerror}.", hint="Name the file that `db-backup kit export` wrote."
        ) from error


def open_by_kit(kit: Kit, *, indexed: bool, own: Mapping[str, str] | None = None) -> Workspace:
    """A workspace of the kit's settings, configuration and connections.

    What is set in the environment wins over the kit. The catalogue is one that this user has for this storage alone:
    that of the machine that the kit comes from may be lost with it.

    :param indexed: the catalogue is asked for backups: it reads what lies in the storages now.
    :param own: stands in for the process's environment.
    :raises ConfigurationError, StorageError:
    """
    own = os.environ if own is None else own
    environment = kit.environment(own)
    shared = any(own.get(name) for name in CATALOGUE_VARIABLES)
    if not shared:
        environment["BACKUP_CATALOG_PATH"] = str(_catalogue_of(kit, own))
    configuration = None if own.get("BACKUP_CONFIG") else kit.configuration
    workspace = Workspace.open_without_need_of_catalogue(environment, configuration=configuration)
    workspace.break_glass = True
    workspace.keyring.keys.carry(kit.keys)
    try:
        if indexed and (not shared or workspace.catalog_lost):  # others' catalogue knows of more than this storage
            for problem in refresh_index(workspace):
                about = problem.backup_id or f"Storage '{problem.storage}'"
                workspace.warnings.append(f"{about}: {problem.problem.removesuffix('.')}. {problem.remedy}")
    except BaseException:
        workspace.__exit__(None, None, None)
        raise
    return workspace


def _catalogue_of(kit: Kit, own: Mapping[str, str]) -> Path:
    """Its own for each set of storages, so that the kits of two places never meet in one catalogue."""
    places = (kit.settings.get(name, "") for name in ("BACKUP_LOCAL_PATH", "BACKUP_CLOUD_URL"))
    storage = hashlib.sha256("\n".join((*places, kit.configuration or "")).encode()).hexdigest()
    return airflow_home(own) / f"db_backup_kit_{storage[:16]}.sqlite"
