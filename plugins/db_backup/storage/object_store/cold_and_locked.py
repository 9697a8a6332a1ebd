"""What a bucket can do beyond holding objects: colder classes and locks, as far as its provider has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from db_backup.connections.access import AzureAccess, GoogleAccess
from db_backup.errors import FeatureNotAvailable, ObjectCold
from db_backup.settings.addresses import StorageKind
from db_backup.storage.base import Protection, Temperature
from db_backup.storage.object_store.azure_tiers import AzureTiers
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.cold import ColdClasses, cold_error
from db_backup.storage.object_store.gcs_classes import GcsClasses
from db_backup.storage.object_store.locking import S3Locks
from db_backup.storage.object_store.s3_classes import S3Classes
from db_backup.storage_classes import StorageClass

_CLASSES: Mapping[StorageKind, tuple[StorageClass, ...]] = {
    StorageKind.S3: S3Classes.classes,
    StorageKind.GCS: GcsClasses.classes,
    StorageKind.AZURE: AzureTiers.classes,
}


class ColdAndLocked:
    """The classes and locks of one bucket, by the keys of its storage. Nothing is asked before it is needed.

    :param object_lock: how firmly objects are locked, of S3; None: they are not to be.
    """

    def __init__(self, bucket: Bucket, object_lock: str | None) -> None:
        self._bucket = bucket
        self._kind = bucket.address.kind
        self._known_classes: ColdClasses | None = None
        place = str(bucket.place)
        self._locks = (
            S3Locks(bucket.client, bucket.address.bucket, place, mode=object_lock)
            if self._kind is StorageKind.S3
            else None
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(one.name for one in _CLASSES.get(self._kind, ()))

    def temperature(self, key: str) -> Temperature:
        return self._classes.temperature(self._bucket.path(key))

    def archive(self, key: str, storage_class: str) -> str:
        return self._classes.archive(self._bucket.path(key), storage_class)

    def thaw(self, key: str, *, days: int) -> None:
        self._classes.thaw(self._bucket.path(key), days=days)

    def why_cold(self, key: str) -> ObjectCold | None:
        """Why the object cannot be read, with its class; None: that is not the reason."""
        return cold_error(str(self._bucket.place), key, self.temperature(key))

    def protection(self) -> Protection:
        return self._locks.protection() if self._locks else Protection()

    def retain(self, key: str, until: datetime) -> None:
        """:raises FeatureNotAvailable: this provider's objects are not locked by us."""
        if self._locks is None:
            raise FeatureNotAvailable(
                f"'{key}' cannot be locked until {until:%Y-%m-%d}: {self._bucket.place} has no Object Lock.",
                hint="Remove object_lock from this storage in backup.yaml; its own retention policy can be set there.",
            )
        self._locks.retain(self._bucket.path(key), until)

    def retained_until(self, key: str) -> datetime | None:
        if self._locks is None:
            self._bucket.head(key)
            return None
        return self._locks.retained_until(self._bucket.path(key))

    def delete(self, key: str) -> None:
        """With all versions, where there are some and they may be deleted; a missing one is no error.

        :raises ObjectLocked: it may not go yet; nothing of it was removed.
        """
        if self._locks is None or not self._locks.delete_versions(self._bucket.path(key)):
            self._bucket.delete(key)

    @property
    def _classes(self) -> ColdClasses:
        if self._known_classes is None:
            self._known_classes = self._opened_classes()
        return self._known_classes

    def _opened_classes(self) -> ColdClasses:
        place, bucket = str(self._bucket.place), self._bucket
        if self._kind is StorageKind.S3:
            return S3Classes(bucket.client, bucket.address.bucket, place)
        access = bucket.opened.access
        if self._kind is StorageKind.GCS:
            return GcsClasses(cast(GoogleAccess, access), place)
        return AzureTiers(cast(AzureAccess, access), lambda: bucket.opened.store, place)
