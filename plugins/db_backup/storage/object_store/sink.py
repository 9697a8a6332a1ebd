"""One large object on its way: by one request when it is small, else as an upload in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from db_backup.errors import ObjectMissing, StorageConflict, StorageError
from db_backup.storage.base import Block
from db_backup.storage.object_store import claims
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.uploads import uploads_of

if TYPE_CHECKING:
    from obstore import WritableFile

_LONGEST_COMPLETION = timedelta(hours=1)  # Amazon S3, "CompleteMultipartUpload": several minutes


class ObjectSink:
    """Bytes are gathered up to one part. When more comes, an upload begins, and with it a claim that says who writes.

    Providers complete an upload over whatever has its name. Therefore the name is claimed, looked at, and let go only
    after the upload is complete.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._upload: _Upload | None = None
        self._usable = True

    def write(self, block: Block) -> None:
        with self._last_chance():
            if self._upload is None:
                self._gathered_bytes += len(block)
                if self._gathered_bytes <= self._bucket.limits.part_bytes:
                    self._gathered.append(bytes(block))
                else:
                    self._upload = _Upload(self._bucket, self._key)
                    for gathered in self._gathered:
                        self._upload.write(gathered)
                    self._gathered.clear()
            if self._upload is not None:
                self._upload.write(block)
        self._usable = True

    def commit(self) -> None:
        with self._last_chance():
            try:
                if self._upload is None:
                    self._bucket.create(self._key, b"".join(self._gathered))
                else:
                    self._upload.publish()
            finally:
                self._let_go()

    def abort(self) -> None:
        self._usable = False
        self._let_go()

    def _let_go(self) -> None:
        self._gathered.clear()
        if self._upload is not None:
            self._upload.abort()

    @contextmanager
    def _last_chance(self) -> Iterator[None]:
        """After an error, only ``abort`` is left: a half-written object must never be committed."""
        if not self._usable:
            raise StorageError(
                f"'{self._key}' cannot be written to {self._bucket.place} any more: it was committed, aborted, or"
                " failed before.",
                hint="Start the backup again.",
            )
        self._usable = False
        yield


class _Upload:
    """An upload in parts that has begun."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        import obstore

        self._bucket = bucket
        self._key = key
        self._written_bytes = 0
        self._claim = claims.upload_claim(key)
        self._over = False  # it is published or aborted
        claims.set_claim(bucket, self._claim)  # before the upload: what has one and no claim has no writer
        self._writer: WritableFile = obstore.open_writer(
            bucket.opened.store,
            bucket.path(key),
            buffer_size=bucket.limits.part_bytes,
            max_concurrency=bucket.limits.parts_in_flight,
        )

    def write(self, block: Block) -> None:
        with self._explained():
            self._writer.write(block)
        self._written_bytes += len(block)

    def publish(self) -> None:
        """:raises StorageConflict: the name is taken."""
        try:
            with claims.claimed(self._bucket, claims.name_claim(self._key), stale_after=_LONGEST_COMPLETION):
                if self._size() is not None:
                    raise self._bucket.place.conflict(self._key)
                try:
                    with self._explained():
                        self._writer.close()
                except StorageError:
                    if self._size() != self._written_bytes:  # else only the answer was lost: the name is ours alone
                        raise
                self._over = True
        except StorageConflict as error:
            raise self._bucket.place.conflict(self._key) from error
        claims.drop_claim(self._bucket, self._claim)

    def abort(self) -> None:
        """Right at any time. What cannot be aborted now is left to a sweep."""
        if self._over:
            return
        self._over = True
        from obstore.exceptions import BaseError

        reason = StorageError("aborted")
        try:
            self._writer.__exit__(type(reason), reason, None)  # obstore has no other call for it
        except (BaseError, OSError):
            with contextlib.suppress(StorageError):
                self._abort_by_name()
        claims.drop_claim(self._bucket, self._claim)

    def _abort_by_name(self) -> None:
        """A writer whose ``close`` failed takes no more orders, and of a part that failed it leaves the others."""
        uploads = uploads_of(self._bucket)
        others = {claim.key for claim in claims.claims(self._bucket, self._claim.rpartition("/")[0])} - {self._claim}
        if uploads is None or others:
            return
        for upload in uploads.begun(self._key.rpartition("/")[2]):
            if upload.key == self._key:
                uploads.abort(upload)

    def _size(self) -> int | None:
        try:
            return self._bucket.head(self._key)["size"]
        except ObjectMissing:
            return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            raise self._bucket.explained(error, self._key, "written") from error
