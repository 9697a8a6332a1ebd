"""The keys of encrypted backups in a kit: those that are files, and which ones somebody else must bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from db_backup.connections import find_storage_connection, usual_connection
from db_backup.encryption.key_file import Key, KeyKind, read_key_file
from db_backup.errors import ConfigurationError, EncryptionKeyError
from db_backup.jobs.keys import key_records
from db_backup.jobs.workspace import Workspace
from db_backup.settings.addresses import StorageKind


@dataclass(frozen=True)
class KitKeys:
    """``files``: the content of key files by a bare name. ``connections``: the ids of those that hold or reach a key.

    ``warnings``: what opens backups and is not in the kit.
    """

    files: dict[str, str]
    connections: tuple[str, ...]
    warnings: tuple[str, ...]


def keys_for_kit(workspace: Workspace) -> KitKeys:
    """What goes into a kit, so that whoever has it opens what this worker opens."""
    found = dict(_found(workspace))
    return KitKeys(
        files={name: key.to_json() for name, key in found.items()},
        connections=tuple(dict.fromkeys(_connections(workspace))),
        warnings=tuple(_warnings(workspace, found)),
    )


def _connections(workspace: Workspace) -> Iterator[str]:
    """Also those of key services that are used without being named, if they are there."""
    for key in workspace.config.keys.values():
        conn_id = key.conn_id or (_usual(workspace, key.kms) if key.kms else None)
        if conn_id is not None:
            yield conn_id


def _usual(workspace: Workspace, address: str) -> str | None:
    kind = StorageKind.GCS if address.startswith("gcp-") else StorageKind.S3
    conn_id = usual_connection(kind)
    there = find_storage_connection(kind, conn_id, environment=workspace.environment) is not None
    return conn_id if there else None


def _found(workspace: Workspace) -> Iterator[tuple[str, Key]]:
    """Every key file that can be used; of two with one name, the second is called after its fingerprint."""
    keys = workspace.keyring.keys
    configured = (keys.file_of(name) for name in keys.configured)
    taken: dict[str, str] = {}
    for path in dict.fromkeys([*(path for path in configured if path is not None), *keys.key_files()]):
        key = _usable(path)
        if key is None:
            continue
        name = path.name if path.name not in taken else f"{key.fingerprint}-{path.name}"
        taken[name] = key.fingerprint
        yield name, key


def _usable(path: Path) -> Key | None:
    try:
        return read_key_file(path)
    except (EncryptionKeyError, ConfigurationError):
        return None  # what needs it is told below, with the reason


def _warnings(workspace: Workspace, found: dict[str, Key]) -> Iterator[str]:
    opening = {key.fingerprint for key in found.values() if key.kind is not KeyKind.PUBLIC}
    encrypts = any(entry.encrypt for entry in workspace.config.entries.values())
    for record in key_records(workspace):
        if record.error:
            if encrypts or record.name in workspace.config.keys:
                yield f"The key '{record.name}' is not in the kit: {record.error}"
        elif not record.opens and record.fingerprint not in opening:
            yield (
                f"The private key '{record.name}' ({record.fingerprint}) is not in the kit, for this worker does not "
                "have it: what is encrypted for it alone cannot be opened with the kit."
            )
        elif record.kind.endswith("_kms"):
            yield (
                f"The key '{record.name}' is kept by its key service ({record.fingerprint}), and never in a kit: see "
                "that it can be asked from elsewhere, or add a recipient that is a file."
            )
