"""S3 Object Lock, and deleting where a bucket keeps versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from db_backup.errors import FeatureNotAvailable, ObjectLocked, StorageError
from db_backup.model import utc_now
from db_backup.storage.base import Protection
from db_backup.storage.object_store.s3_errors import error_code, told

_DENIED = frozenset({"AccessDenied", "403"})
_GONE = frozenset({"404", "NoSuchKey", "NoSuchVersion"})
_NO_LOCKS = frozenset({"InvalidRequest", "ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"})
_NO_FAULT_OF_THE_SERVER = frozenset({*range(400, 500), 501})
_ROUNDING = timedelta(seconds=1)  # S3 keeps whole milliseconds, and some who speak like it whole seconds


@dataclass(frozen=True)
class _Version:
    version_id: str
    is_marker: bool
    is_latest: bool


class S3Locks:
    """Locks of one bucket, and deletions that respect them.

    :param client: gives a boto3 client of the bucket's connection; called when it is needed.
    :param place: the storage, for messages.
    :param mode: ``governance`` or ``compliance``; None: none is asked for, and those that are there are respected.
    """

    def __init__(self, client: Callable[[], Any], bucket: str, place: str, *, mode: str | None) -> None:
        self._client = client
        self._bucket = bucket
        self._place = place
        self._mode = (mode or "governance").upper()
        self._protection: Protection | None = None
        self._may_lock = True

    def protection(self) -> Protection:
        """What the bucket itself does against deletion; asked once. What may not be asked counts as not there."""
        if self._protection is None:
            versioning = self._asked("get_bucket_versioning")
            locking = self._asked("get_object_lock_configuration")
            # A denial may hide a lock. Whoever speaks S3's protocol and has no locks says so in many ways.
            self._may_lock = locking is None or _enabled(locking)
            locks = locking is not None and _enabled(locking)
            # Suspended: new versions are not kept, and those that are there stay. Without versions there are no locks.
            kept = versioning is not None and versioning.get("Status") in {"Enabled", "Suspended"}
            self._protection = Protection(object_lock=locks, versioned=kept or locks)
        return self._protection

    def _asked(self, operation: str) -> Mapping[str, Any] | None:
        """None: it may not be asked; empty: there is no such thing here."""
        from botocore.exceptions import ClientError

        with told(self._place, self._bucket, "be looked at"):
            try:
                answer: Mapping[str, Any] = getattr(self._client(), operation)(Bucket=self._bucket)
            except ClientError as error:
                if error_code(error) in _DENIED:
                    return None
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in _NO_FAULT_OF_THE_SERVER:
                    return {}
                raise
        return answer

    def retain(self, path: str, until: datetime) -> None:
        """Lock the object as it is now; a lock that lasts longer stays.

        :raises FeatureNotAvailable: the bucket was made without Object Lock.
        :raises StorageError: it may not be locked, or was not.
        """
        from botocore.exceptions import ClientError

        head = self._head(path)
        if (locked := _locked_until(head)) is not None and locked >= until:
            return
        named = {"VersionId": head["VersionId"]} if "VersionId" in head else {}
        with told(self._place, path, "be locked"):
            try:
                self._client().put_object_retention(
                    Bucket=self._bucket,
                    Key=path,
                    Retention={"Mode": self._mode, "RetainUntilDate": until.astimezone(UTC)},
                    **named,
                )
            except ClientError as error:
                if error_code(error) not in _NO_LOCKS:
                    raise
                raise FeatureNotAvailable(
                    f"'{path}' cannot be locked: the bucket of {self._place} has no Object Lock.",
                    hint="Make a bucket with Object Lock, or remove object_lock from this storage in backup.yaml.",
                ) from error
        locked = self.retained_until(path)
        if locked is None or locked < until - _ROUNDING:
            raise StorageError(
                f"'{path}' in {self._place} was to be locked until {_day(until)}, and "
                f"{f'is only until {_day(locked)}' if locked else 'is not'}.",
                hint="Check that the storage really has Object Lock.",
            )

    def retained_until(self, path: str) -> datetime | None:
        """None: it is not locked, or not any more."""
        return _still(_locked_until(self._head(path)))

    def delete_versions(self, path: str) -> bool:
        """Remove all versions of the object, where the bucket keeps versions.

        :return: False: it keeps none, or the rights do not reach to them. Then a deletion is to be made as usual; in a
            versioned bucket it leaves a delete marker, and the bytes go when the bucket's lifecycle rule takes versions
            that are not current.
        :raises ObjectLocked: one of its versions is; nothing of it was removed.
        """
        if not self.protection().versioned:
            return False
        # The latest goes last: after a failure half-way, an earlier one must not come to light in its place.
        versions = sorted(self._versions(path), key=lambda version: version.is_latest)
        for version in versions if self._may_lock else ():
            if not version.is_marker:
                self._refuse_locked(path, version.version_id)
        return bool(versions) and all(self._delete_version(path, version) for version in versions)

    def _versions(self, path: str) -> Iterator[_Version]:
        """All of exactly this key; none where they may not be listed."""
        from botocore.exceptions import ClientError

        with told(self._place, path, "be looked at"):
            try:
                for page in self._pages(path):
                    for kind, is_marker in (("Versions", False), ("DeleteMarkers", True)):
                        for found in page.get(kind, ()):
                            if found["Key"] == path:
                                yield _Version(found["VersionId"], is_marker, found["IsLatest"])
            except ClientError as error:
                if error_code(error) not in _DENIED:
                    raise
                self._refuse_locked(path, None)

    def _pages(self, path: str) -> Iterator[Mapping[str, Any]]:
        paginator = self._client().get_paginator("list_object_versions")
        yield from paginator.paginate(Bucket=self._bucket, Prefix=path)

    def _refuse_locked(self, path: str, version: str | None) -> None:
        from botocore.exceptions import ClientError

        named = {} if version is None else {"VersionId": version}
        with told(self._place, path, "be looked at"):
            try:
                head = self._client().head_object(Bucket=self._bucket, Key=path, **named)
            except ClientError as error:
                if error_code(error) not in {*_GONE, *_DENIED}:
                    raise
                return  # gone meanwhile; or this user may not know, and S3 itself refuses
        until = _still(_locked_until(head))
        if until is not None or head.get("ObjectLockLegalHoldStatus") == "ON":
            raise ObjectLocked(
                f"'{path}' in {self._place} is locked {f'until {_day(until)}' if until else 'by a legal hold'}.",
                hint="It can be deleted when that has ended." if until else "Ask whoever put the hold there.",
            )

    def _delete_version(self, path: str, version: _Version) -> bool:
        """False: the rights do not reach that far."""
        from botocore.exceptions import ClientError

        with told(self._place, path, "be deleted", besides=_GONE):
            try:
                self._client().delete_object(Bucket=self._bucket, Key=path, VersionId=version.version_id)
            except ClientError as error:
                if error_code(error) not in _DENIED:
                    raise
                return False
        return True

    def _head(self, path: str) -> Mapping[str, Any]:
        with told(self._place, path, "be looked at"):
            head: Mapping[str, Any] = self._client().head_object(Bucket=self._bucket, Key=path)
        return head


def _locked_until(head: Mapping[str, Any]) -> datetime | None:
    until: datetime | None = head.get("ObjectLockRetainUntilDate")
    return until.astimezone(UTC) if until else None


def _enabled(locking: Mapping[str, Any]) -> bool:
    return bool(locking.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _still(until: datetime | None) -> datetime | None:
    return until if until is not None and until > utc_now() else None


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
