"""Storage classes of S3: an object is moved by copying it onto itself, on the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from db_backup.errors import StorageError
from db_backup.storage.base import Temperature
from db_backup.storage.object_store.cold import cold_error, refuse_unknown_class
from db_backup.storage.object_store.s3_errors import told
from db_backup.storage_classes import S3_CLASSES, StorageClass, needs_thaw

#: One CopyObject takes 5 GB; a larger object is copied in parts, of which there may be 10,000 ("Amazon S3 limits").
_LARGEST_SINGLE_COPY = 5_000_000_000
_COPIED_PART = 1 << 30
_THAW_TIER = "Standard"  # which every class has; what it takes is said by ``storage_classes``

_ONGOING = re.compile(r'ongoing-request="(true|false)"')


class S3Classes:
    """See :class:`ColdClasses`.

    :param client: gives a boto3 client of the bucket's connection; called when it is needed.
    :param place: the storage, for messages.
    """

    classes: ClassVar[tuple[StorageClass, ...]] = S3_CLASSES

    def __init__(self, client: Callable[[], Any], bucket: str, place: str) -> None:
        self._client = client
        self._bucket = bucket
        self._place = place

    def temperature(self, path: str) -> Temperature:
        return _temperature(self._head(path))

    def archive(self, path: str, storage_class: str) -> str:
        refuse_unknown_class(self.classes, storage_class, self._place)
        before = self._head(path)
        if before.get("StorageClass", "STANDARD") == storage_class:
            return ""
        if cold := cold_error(self._place, path, _temperature(before)):
            raise cold
        self._copy(path, before, storage_class)
        self._refuse_other(path, before, storage_class)
        return self._drop_old_version(path, before)

    def thaw(self, path: str, *, days: int) -> None:
        found = _temperature(self._head(path))
        if found.readable or found.thawing:
            return
        request: dict[str, Any] = {"GlacierJobParameters": {"Tier": _THAW_TIER}}
        if found.storage_class != "INTELLIGENT_TIERING":  # of which the object itself is moved back, for good
            request["Days"] = days
        with told(self._place, path, "be thawed", besides=("RestoreAlreadyInProgress",)):
            self._client().restore_object(Bucket=self._bucket, Key=path, RestoreRequest=request)

    def _head(self, path: str) -> Mapping[str, Any]:
        with told(self._place, path, "be looked at"):
            head: Mapping[str, Any] = self._client().head_object(Bucket=self._bucket, Key=path)
        return head

    def _copy(self, path: str, before: Mapping[str, Any], storage_class: str) -> None:
        """A copy in parts takes nothing over by itself: what belongs to the object is given along."""
        from boto3.s3.transfer import TransferConfig

        kept = {name: before[name] for name in ("ContentType", "ContentEncoding") if before.get(name)}
        with told(self._place, path, f"be moved to {storage_class}"):
            self._client().copy(
                {"Bucket": self._bucket, "Key": path},
                self._bucket,
                path,
                ExtraArgs={
                    "StorageClass": storage_class,
                    "MetadataDirective": "REPLACE",
                    "Metadata": before.get("Metadata", {}),
                    "CopySourceIfMatch": before["ETag"],
                    **kept,
                },
                Config=TransferConfig(
                    multipart_threshold=_LARGEST_SINGLE_COPY, multipart_chunksize=_COPIED_PART, max_concurrency=4
                ),
            )

    def _refuse_other(self, path: str, before: Mapping[str, Any], storage_class: str) -> None:
        """:raises StorageError: what lies there now is not what was copied, or in another class."""
        after = self._head(path)
        same = (
            after["ContentLength"] == before["ContentLength"]
            and after.get("Metadata") == before.get("Metadata")
            and _tags_agree(before, after)
        )
        found = after.get("StorageClass", "STANDARD")
        if not same or found != storage_class:
            raise StorageError(
                f"'{path}' in {self._place} was to be moved to {storage_class}, and is now "
                f"{'in ' + found if same else 'not what it was before'}.",
                hint="Run `db-backup verify` on this backup, and look at the bucket's own rules.",
            )

    def _drop_old_version(self, path: str, before: Mapping[str, Any]) -> str:
        """In a versioned bucket what was copied stays, in its class and at its price."""
        version = before.get("VersionId")
        if version in {None, "null"}:
            return ""
        try:
            with told(self._place, path, "be deleted"):
                self._client().delete_object(Bucket=self._bucket, Key=path, VersionId=version)
        except StorageError as error:
            return f"the version before it stays, and costs as before: {error.message.removesuffix('.')}"
        return ""


def _tags_agree(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """An ETag is a hash of the content only where there were no parts, and no key of the customer's."""
    tags = before["ETag"], after["ETag"]
    if any("-" in tag for tag in tags) or "SSEKMSKeyId" in before or "SSEKMSKeyId" in after:
        return True
    return bool(tags[0] == tags[1])


def _temperature(head: Mapping[str, Any]) -> Temperature:
    storage_class = head.get("StorageClass", "STANDARD")
    # ArchiveStatus: of INTELLIGENT_TIERING, where the bucket lets it archive by itself.
    if not needs_thaw(storage_class) and not head.get("ArchiveStatus"):
        return Temperature(storage_class)
    ongoing = _ONGOING.search(head.get("Restore", ""))
    return Temperature(
        storage_class,
        readable=bool(ongoing and ongoing[1] == "false"),
        thawing=bool(ongoing and ongoing[1] == "true"),
    )
