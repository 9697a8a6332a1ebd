"""A large object read as one stream, which goes on where a connection broke off, and only in the same object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from db_backup.errors import ObjectMissing, StorageConflict, StorageError
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.explaining import may_pass

if TYPE_CHECKING:
    from obstore import GetResult

_BLOCK_BYTES = 1 << 20


class Reading:
    """One range of one object, read once from its start to its end.

    obstore's own way of going on asks for the rest of whatever has the name by then; here every request after the
    first is bound to the entity tag of the first.
    """

    def __init__(self, bucket: Bucket, key: str, *, offset: int, length: int | None) -> None:
        self._bucket = bucket
        self._key = key
        self._at = offset
        self._end: int | None = None  # not known yet
        self._e_tag: str | None = None
        if offset or length is not None:
            found = bucket.head(key)  # a range that begins behind the end is no error here, and one there
            self._e_tag = found["e_tag"]
            self._end = found["size"] if length is None else min(offset + length, found["size"])

    def blocks(self) -> Iterator[bytes]:
        """Blocks of at most 1 MiB.

        :raises ObjectMissing: there is none.
        :raises StorageConflict: another object took its name meanwhile; what was given out is of the first one.
        """
        from obstore.exceptions import BaseError

        failures = 0
        while self._end is None or self._at < self._end:
            before = self._at
            try:
                yield from self._request()
            except (BaseError, OSError) as error:
                failures = 1 if self._at > before else failures + 1
                if failures > self._bucket.limits.retries or not self._goes_on(error):
                    raise self._explained(error) from error
                self._bucket.wait(failures)

    def _request(self) -> Iterator[bytes]:
        found = self._bucket.get(self._key, start=self._at, end=self._end, e_tag=self._e_tag)
        self._bind(found)
        for chunk in found.stream(min_chunk_size=_BLOCK_BYTES):
            for start in range(0, len(chunk), _BLOCK_BYTES):
                block = bytes(chunk[start : start + _BLOCK_BYTES])
                self._at += len(block)
                yield block
        if self._end is not None and self._at < self._end:
            raise ConnectionResetError("the answer ended before the object did")

    def _bind(self, found: GetResult) -> None:
        """All that follows is of this object, whatever the provider makes of ``If-Match``."""
        meta = found.meta
        if self._end is None:
            self._end, self._e_tag = meta["size"], meta["e_tag"]
        elif meta["e_tag"] != self._e_tag:
            raise self._changed()

    def _goes_on(self, error: Exception) -> bool:
        return isinstance(error, ConnectionError) or may_pass(error)

    def _explained(self, error: Exception) -> Exception:
        explained = self._bucket.explained(error, self._key, "read")
        if not isinstance(explained, StorageConflict):
            return explained
        try:
            self._bucket.head(self._key)
        except ObjectMissing as missing:  # not everybody's answer to If-Match tells the two apart
            return missing
        return self._changed()

    def _changed(self) -> StorageError:
        return StorageConflict(
            f"'{self._key}' in {self._bucket.place} was overwritten while it was being read.",
            hint="Read it again; if it is a part of a backup, let `db-backup verify` look at it.",
        )
