"""Exporting a break-glass kit: gathered whole, sealed, opened again to be sure, and only then there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import db_backup
from db_backup.catalog import AuditAct, Catalog
from db_backup.config import Config
from db_backup.config.document import read_text
from db_backup.connections import (
    AirflowConnection,
    connection_variable,
    find_storage_connection,
    opens_by_itself,
    portable_connection,
    usual_connection,
)
from db_backup.errors import ConfigurationError, KitError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.kit.document import KIT_VERSION, Kit
from db_backup.jobs.kit.keys import KitKeys, keys_for_kit
from db_backup.jobs.new_file import new_file, refuse_taken
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import EngineName, utc_now

_TAKEN = "Choose another name, or replace it with --force."
_FINGERPRINT = re.compile(r"backup\.yaml ([0-9a-f]{16})")


class KitReport(FrozenModel):
    """What was put into the kit, without a secret of it."""

    path: Path
    connections: tuple[str, ...]
    settings: tuple[str, ...]
    configuration: str
    keys: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class LastExport:
    """``configuration``: the fingerprint that backup.yaml had then; empty where it was not written down."""

    at: datetime
    configuration: str


def export_kit(workspace: Workspace, target: Path, ask: Callable[[], str], *, replace: bool, run: RunInfo) -> KitReport:
    """Write a kit that holds everything a restore needs but the storage itself.

    :param ask: for the passphrase, once all the rest is known to be there.
    :raises Refused: the file exists.
    :raises UsageError: the passphrase is too short.
    :raises ConnectionNotFound, ConfigurationError: a connection that the configuration names is not to be had.
    :raises BackupError: the file cannot be written. There is no half kit.
    """
    target = target.absolute()
    ready_storages(workspace, (workspace.settings.backup_storage_disk,))  # which keeps the audit trail
    with audited(workspace, AuditAct.KIT_EXPORT, run) as act:
        act.detail = f"to {target}"
        refuse_taken(target, replace=replace, taken=_TAKEN)
        keys = keys_for_kit(workspace)
        connections, warnings = _connections(workspace, keys)
        kit = _gathered(workspace, connections, keys, run)
        passphrase = ask()
        sealed = kit.seal(passphrase)
        if Kit.unseal(sealed, passphrase, source=str(target)) != kit:
            raise KitError(f"{target} was not written: what was sealed does not open as it was.", hint="Report it.")
        with new_file(target, replace=replace, taken=_TAKEN, elsewhere="in FILE") as output:
            output.write(sealed)
        act.detail = f"to {target}, with the connections {', '.join(connections)}"
        if kit.keys:
            act.detail += f" and the keys {', '.join(kit.keys)}"
        if kit.configuration is not None:
            act.detail += f", backup.yaml {_fingerprint(kit.configuration)}"
    return KitReport(
        path=target,
        connections=tuple(kit.connections),
        settings=tuple(kit.settings),
        configuration=workspace.config.name,
        keys=tuple(kit.keys),
        warnings=(*warnings, *keys.warnings, *_files(connections)),
    )


def last_export(catalog: Catalog) -> LastExport | None:
    """Of the newest kit, as far as this catalogue knows."""
    record = catalog.last_done(AuditAct.KIT_EXPORT)
    if record is None:
        return None
    found = _FINGERPRINT.search(record.detail)
    return LastExport(record.at, found[1] if found else "")


def fingerprint_of(config: Config) -> str:
    """What tells one backup.yaml from another; empty where there is none.

    :raises ConfigurationError: it cannot be read any more.
    """
    return _fingerprint(read_text(config.path, config.name)) if config.path else ""


def _fingerprint(configuration: str) -> str:
    return hashlib.sha256(configuration.encode()).hexdigest()[:16]


def _gathered(workspace: Workspace, connections: dict[str, AirflowConnection], keys: KitKeys, run: RunInfo) -> Kit:
    settings, config = workspace.settings, workspace.config
    variables = settings.given() | {"BACKUP_LOCAL_PATH": str(settings.backup_local_path)}
    variables.pop("BACKUP_CONFIG", None)  # its text is in the kit
    return Kit(
        kit_version=KIT_VERSION,
        program_version=db_backup.__version__,
        exported_at=utc_now(),
        exported_by=run.actor or "",
        host=run.host or "",
        settings=variables,
        configuration=read_text(config.path, config.name) if config.path else None,
        connections={name: connection.fields for name, connection in connections.items()},
        keys=keys.files,
    )


def _connections(workspace: Workspace, keys: KitKeys) -> tuple[dict[str, AirflowConnection], list[str]]:
    """Those that go into the kit, and what a person must hear of those that open nothing elsewhere.

    :raises ConnectionNotFound, ConfigurationError:
    """
    found, warnings = _of_storages(workspace)
    by_variable = {connection_variable(conn_id): conn_id for conn_id in found}
    for conn_id, engine in (*_named(workspace), *((conn_id, None) for conn_id in keys.connections)):
        other = by_variable.setdefault(connection_variable(conn_id), conn_id)
        if other != conn_id:
            raise ConfigurationError(
                f"The connections '{other}' and '{conn_id}' cannot both be in a kit: the variable "
                f"{connection_variable(conn_id)} would stand for either.",
                hint="Give one of them another id, which differs in more than capitals.",
            )
        if conn_id not in found:
            found[conn_id] = portable_connection(conn_id, engine=engine, environment=workspace.environment)
    return found, warnings


def _of_storages(workspace: Workspace) -> tuple[dict[str, AirflowConnection], list[str]]:
    """The connections of the object storages, also those that are used without being named."""
    found: dict[str, AirflowConnection] = {}
    warnings = []
    for storage in workspace.config.storages.values():
        conn_id = storage.conn_id or usual_connection(storage.kind)
        if conn_id is None:
            continue
        connection = find_storage_connection(storage.kind, conn_id, environment=workspace.environment)
        if connection is not None:
            found[conn_id] = connection
        if not opens_by_itself(storage.kind, conn_id, connection):
            warnings.append(
                f"The storage '{storage.name}' is opened by what this machine may do by itself, which is not in the "
                f"kit: elsewhere, set {connection_variable(conn_id)} to a connection with credentials."
            )
    return found, warnings


def _named(workspace: Workspace) -> Iterator[tuple[str, EngineName | None]]:
    """Every connection that the configuration names."""
    config = workspace.config
    for entry in config.entries.values():
        yield entry.conn_id, entry.engine
        if entry.read_conn_id:
            yield entry.read_conn_id, entry.engine
    for target in config.restore_targets.values():
        yield target.conn_id, None
    if workspace.settings.backup_catalog_conn_id:
        yield workspace.settings.backup_catalog_conn_id, EngineName.POSTGRES


def _files(connections: dict[str, AirflowConnection]) -> Iterator[str]:
    """Files that a connection only names, such as a certificate, are not in the kit."""
    for conn_id, connection in connections.items():
        for key, value in connection.extra.items():
            if isinstance(value, str) and value.startswith("/") and Path(value).is_file():
                yield f"The connection '{conn_id}' names {value} ({key}), a file that is not in the kit: keep a copy."
