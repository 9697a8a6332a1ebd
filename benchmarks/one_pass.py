"""The pipeline alone into storages, in a process of its own: hashed, compressed, maybe encrypted, hashed, stored.

python -m benchmarks.one_pass CODEC plain|encrypted FILE STORAGE…

A STORAGE is a folder, or the address of an object storage that AIRFLOW_CONN_AWS_DEFAULT opens.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.pipeline import FileSource
from db_backup import naming
from db_backup.connections import storage_access
from db_backup.encryption.data_key import DataKey
from db_backup.model import BackupType, Compression, utc_now
from db_backup.progress import Cancellation, Silent
from db_backup.settings.addresses import StorageAddress
from db_backup.storage import LocalStorage, Storage
from db_backup.storage.object_store import ObjectStorage
from db_backup.stream.pipeline import Limits, pump


def _storage(place: str) -> Storage:
    storage: Storage
    if "://" in place:
        address = StorageAddress.parse(place)
        storage = ObjectStorage("object", address, partial(storage_access, address))
    else:
        storage = LocalStorage(Path(place).name, Path(place))
    storage.initialise()
    return storage


def carry(file: Path, compression: Compression, *, encrypted: bool, places: list[str]) -> int:
    """All of it into every storage, as one part; returns the stored bytes."""
    backup_id = str(naming.BackupName("bench", BackupType.FULL, utc_now(), os.getpid()))
    name = f"{backup_id}.dump"
    sinks = [_storage(place).open_sink(naming.part_key(name)) for place in places]
    key = DataKey.generate() if encrypted else None
    with file.open("rb") as source:
        done = pump(
            FileSource(source),
            compression=compression,
            level=None,
            sinks=sinks,
            limits=Limits(),
            progress=Silent(),
            cancellation=Cancellation(),
            encryption=partial(key.encryptor, backup_id=backup_id, part=name) if key else None,
        ).end()
    for sink in sinks:
        sink.commit()
    return done.stored_bytes


if __name__ == "__main__":
    codec, mode, path, *storages = sys.argv[1:]
    print(carry(Path(path), Compression(codec), encrypted=mode == "encrypted", places=storages))
