"""Backups in a bucket of S3, Google Cloud Storage or Azure Blob Storage."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from db_backup.connections.access import CloudAccess
from db_backup.errors import ObjectCold, ObjectMissing, StorageConflict
from db_backup.model import utc_now
from db_backup.naming import DATABASE_FOLDER, METADATA_FOLDER, manifest_key
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.base import Document, Protection, Sink, Storage, StoredObject, Temperature
from db_backup.storage.keys import split_key
from db_backup.storage.object_store import claims
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.cold_and_locked import ColdAndLocked
from db_backup.storage.object_store.explaining import Place
from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.reading import Reading
from db_backup.storage.object_store.sink import ObjectSink
from db_backup.storage.object_store.sweeping import sweep_bucket

if TYPE_CHECKING:
    from obstore import ObjectMeta

_ID_FILE = ".storage-id"
_ID = re.compile(r"[\w.:-]{1,100}")


class ObjectStorage(Storage):
    """Every object appears whole, by one request, or not at all. Nothing is asked of the provider before it is needed.

    :param access: how to get in; called once, at the first use, in the process that uses it. What it raises
        (``ConfigurationError``, ``ConnectionNotFound``) passes through.
    :param object_lock: how firmly objects are to be locked (``retain``): ``governance`` or ``compliance``; of S3 alone.
    :param expected_id: what ``.storage-id`` must hold; None: what it holds at the first use.
    """

    def __init__(
        self,
        name: str,
        address: StorageAddress,
        access: Callable[[], CloudAccess],
        *,
        expected_id: str | None = None,
        limits: Limits | None = None,
        object_lock: str | None = None,
    ) -> None:
        self.name = name
        self._place = Place(name, address)
        self._limits = limits or Limits()
        self._bucket = Bucket(self._place, access, self._limits)
        self._special = ColdAndLocked(self._bucket, object_lock)
        self._expected_id = expected_id
        self._identity_checked_at = -float("inf")

    @property
    def location(self) -> str:
        return str(self._place.address)

    @property
    def max_object_bytes(self) -> int:
        return self._limits.max_object_bytes

    @property
    def requests_at_once(self) -> int:
        return self._limits.requests_at_once

    @property
    def storage_id(self) -> str:
        return self._check_identity()

    def initialise(self) -> None:
        if self._read_identity() is None and self._expected_id is None and not self._has_backups():
            self._give_identity()
        self._check_identity()

    @contextmanager
    def reserve(self, backup_id: str) -> Iterator[None]:
        split_key(manifest_key(backup_id))
        self._check_identity()
        with claims.claimed(self._bucket, claims.id_claim(backup_id)):
            taken = next(self._objects_of(backup_id), None)
            if taken is not None:
                raise self._place.conflict(taken)
            yield

    def open_sink(self, key: str) -> Sink:
        split_key(key)
        self._check_identity()
        return ObjectSink(self._bucket, key)

    def create(self, key: str, content: bytes) -> None:
        split_key(key)
        self._check_identity()
        self._bucket.create(key, content)

    def replace(self, key: str, content: bytes, *, version: str | None) -> None:
        if version is None:
            self.create(key, content)
            return
        split_key(key)
        self._check_identity()
        self._bucket.replace(key, content, version)

    def read_document(self, key: str) -> Document:
        split_key(key)
        with self._reading():
            return self._bucket.read_small(key)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        split_key(key)
        if offset < 0 or (length is not None and length < 0):
            raise ValueError(f"A range begins and extends at 0 or more: offset {offset}, length {length}.")
        return self._read_range(key, offset, length)

    def stat(self, key: str) -> StoredObject:
        split_key(key)
        with self._reading():
            found = self._bucket.head(key)
            return self._stored(found)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        split_key(prefix)
        return self._list_folder(prefix)

    def delete(self, key: str) -> None:
        split_key(key)
        self._check_identity()
        self._special.delete(key)

    def append_record(self, key: str, record: bytes) -> None:
        """As an object of its own below the key; their names are in the order of writing."""
        split_key(key)
        if b"\n" in record:
            raise ValueError("A record is one line.")
        self._check_identity()
        self._bucket.create(f"{key}/{utc_now():%Y-%m-%dT%H-%M-%S.%fZ}-{secrets.token_hex(4)}", record + b"\n")

    def free_bytes(self) -> int | None:
        self._check_identity()
        return None

    def sweep(self, *, older_than: timedelta) -> tuple[str, ...]:
        self._check_identity()
        return tuple(sweep_bucket(self._bucket, older_than=older_than, objects_of=self._objects_of))

    # Cold and locked objects

    @property
    def archive_classes(self) -> tuple[str, ...]:
        return self._special.class_names

    def protection(self) -> Protection:
        self._check_identity()
        return self._special.protection()

    def temperature(self, key: str) -> Temperature:
        split_key(key)
        with self._reading():
            return self._special.temperature(key)

    def archive(self, key: str, storage_class: str) -> str:
        split_key(key)
        self._check_identity()
        return self._special.archive(key, storage_class)

    def thaw(self, key: str, *, days: int) -> None:
        split_key(key)
        self._check_identity()
        self._special.thaw(key, days=days)

    def retain(self, key: str, until: datetime) -> None:
        split_key(key)
        self._check_identity()
        self._special.retain(key, until)

    def retained_until(self, key: str) -> datetime | None:
        split_key(key)
        with self._reading():
            return self._special.retained_until(key)

    # Below the contract

    def _check_identity(self) -> str:
        """:raises StorageNotMounted: ``.storage-id`` is missing or not the expected one."""
        found = self._read_identity()
        if not found:
            raise self._place.not_mounted(f"{_ID_FILE} is {'missing' if found is None else 'empty'}")
        if self._expected_id not in {None, found}:
            told = found if _ID.fullmatch(found) else "something that is no id"  # a proxy's page, with status 200
            raise self._place.not_mounted(f"{_ID_FILE} holds {told}, not {self._expected_id}")
        self._expected_id = found
        self._identity_checked_at = time.monotonic()
        return found

    def _read_identity(self) -> str | None:
        try:
            return self._bucket.read_small(_ID_FILE).content.decode(errors="replace").strip()
        except ObjectMissing:
            return None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is found is ours if the identity was seen a moment ago; what is missing is so only if it is seen now."""
        if time.monotonic() - self._identity_checked_at > self._limits.identity_seconds:
            self._check_identity()
        try:
            yield
        except ObjectMissing:
            self._check_identity()
            raise

    def _read_range(self, key: str, offset: int, length: int | None) -> Iterator[bytes]:
        with self._reading():
            try:
                yield from Reading(self._bucket, key, offset=offset, length=length).blocks()
            except ObjectCold as cold:
                raise self._special.why_cold(key) or cold from cold

    def _list_folder(self, prefix: str) -> Iterator[StoredObject]:
        with self._reading():
            found = self._bucket.listed(prefix)
            if not found:
                self._check_identity()
        for meta in found:
            found_object = self._stored(meta)
            name = found_object.key.removeprefix(f"{prefix}/")
            if "/" not in name and not name.startswith("."):
                yield found_object

    def _stored(self, meta: ObjectMeta) -> StoredObject:
        """In whole seconds: some providers tell more of them in a listing than of one object."""
        return StoredObject(self._bucket.key(meta["path"]), meta["size"], meta["last_modified"].replace(microsecond=0))

    def _give_identity(self) -> None:
        with suppress(StorageConflict):  # another process was first
            self._bucket.create(_ID_FILE, f"{uuid.uuid4().hex}\n".encode())

    def _has_backups(self) -> bool:
        return any(self._bucket.listed(folder) for folder in (DATABASE_FOLDER, METADATA_FOLDER))

    def _objects_of(self, backup_id: str) -> Iterator[str]:
        for folder in (METADATA_FOLDER, DATABASE_FOLDER):
            yield from self._bucket.keys_of(folder, f"{backup_id}.")
