"""Keys in files, and encrypted backups that were never made by a database."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from db_backup import naming
from db_backup.encryption import CIPHER, DataKey, Keyring
from db_backup.encryption.key_file import Key, KeyKind
from db_backup.manifest import Cipher, Copy, Manifest, State, WrappedKey
from db_backup.storage import LocalStorage
from support.factories import MORNING, make_manifest, make_part, make_state


def put_key(folder: Path, key: Key, file_name: str | None = None) -> Path:
    """Write a key file as it must be; by default under the name that the keyring looks for."""
    public = key.kind is KeyKind.PUBLIC
    path = folder / (file_name or f"{key.name}{'.public' if public else ''}.json")
    folder.mkdir(exist_ok=True)
    path.write_text(key.to_json())
    path.chmod(0o644 if public else 0o600)
    return path


def make_encrypted(keyring: Keyring, *, serial: int = 1) -> tuple[Manifest, State]:
    """A backup's manifest and state, with its data key wrapped for the keyring's recipients; of no storage."""
    manifest = make_manifest(serial=serial)
    data_key, wraps = keyring.new_data_key(manifest.id)
    return closed(manifest, data_key), make_state(manifest, wrapped_keys=wraps)


def closed(manifest: Manifest, data_key: DataKey) -> Manifest:
    cipher = Cipher(name=CIPHER, key_id=data_key.fingerprint)
    return manifest.model_copy(
        update={"parts": tuple(part.model_copy(update={"cipher": cipher}) for part in manifest.parts)}
    )


def encrypted_part(data_key: DataKey, plain: bytes, *, backup_id: str, part: str) -> bytes:
    """A part's bytes as they are stored."""
    stored = bytearray()
    encryptor = data_key.encryptor(stored.extend, backup_id=backup_id, part=part)
    encryptor.write(plain)
    encryptor.finish()
    return bytes(stored)


def publish_encrypted(
    storage: LocalStorage, keyring: Keyring, *, created_at: datetime = MORNING, serial: int = 1
) -> tuple[Manifest, tuple[WrappedKey, ...]]:
    """One small encrypted backup in a storage, its plain bytes being its own id."""
    backup_id = make_manifest(created_at=created_at, serial=serial).id
    data_key, wraps = keyring.new_data_key(backup_id)
    path, plain = f"{backup_id}.sql.enc", backup_id.encode()
    stored = encrypted_part(data_key, plain, backup_id=backup_id, part=path)
    part = make_part(
        path,
        stored_bytes=len(stored),
        stored_sha256=hashlib.sha256(stored).hexdigest(),
        plain_bytes=len(plain),
        plain_sha256=hashlib.sha256(plain).hexdigest(),
        compression="none",
        level=None,
        cipher=Cipher(name=CIPHER, key_id=data_key.fingerprint),
    )
    manifest = make_manifest(created_at=created_at, serial=serial, parts=(part,))
    copy = Copy(storage=storage.name, storage_id=storage.storage_id, created_at=manifest.finished_at)
    storage.create(naming.part_key(path), stored)
    storage.create(naming.state_key(backup_id), make_state(manifest, copies=(copy,), wrapped_keys=wraps).to_json())
    storage.create(naming.manifest_key(backup_id), manifest.to_json())
    return manifest, wraps
