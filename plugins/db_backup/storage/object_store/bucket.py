"""One bucket's objects: small requests, each tried again where that may help, and their errors as ours."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any, TypeVar

from db_backup.connections.access import CloudAccess
from db_backup.errors import ObjectMissing
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.base import Document
from db_backup.storage.object_store.explaining import LISTED, Place, may_pass
from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.opening import OpenedAccess, open_access, refuse_fork

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta

T = TypeVar("T")

_LONGEST_PAUSE_SECONDS = 10.0
_PAGE = 1000


@dataclass(frozen=True)
class Small(Document):
    """A small object read whole."""

    modified_at: datetime


class Bucket:
    """Opened at the first use. Keys are the storage's own, relative to its prefix; paths are whole, as the bucket's.

    :param access: called once; what it raises passes through.
    """

    def __init__(self, place: Place, access: Callable[[], CloudAccess], limits: Limits) -> None:
        self.place = place
        self.limits = limits
        self._access = access
        self._opened: OpenedAccess | None = None
        self._opening = threading.Lock()

    @property
    def address(self) -> StorageAddress:
        return self.place.address

    @property
    def opened(self) -> OpenedAccess:
        """:raises StorageError: this process was forked from one that used obstore."""
        refuse_fork()
        with self._opening:
            if self._opened is None:
                from obstore.exceptions import BaseError

                try:
                    self._opened = open_access(self._access, self.limits)
                except BaseError as error:  # what the environment says beside the connection, it reads and may refuse
                    raise self.place.explain(error, "", "done") from error
            return self._opened

    def client(self) -> Any:
        """boto3's client; of S3 alone."""
        return self.opened.client()

    def path(self, key: str) -> str:
        """The whole path of a key in the bucket."""
        return f"{self.address.prefix}/{key}" if self.address.prefix else key

    def key(self, path: str) -> str:
        """The key of a path of this storage."""
        return path[len(self.address.prefix) + 1 :] if self.address.prefix else path

    def create(self, key: str, content: bytes) -> None:
        """Write a small object if there is none.

        :raises StorageConflict: there is one.
        """
        self._write(key, content, "create")

    def replace(self, key: str, content: bytes, version: str) -> None:
        """Write a small object if it is still at ``version``.

        :raises StorageConflict: it is not.
        """
        self._write(key, content, json.loads(version))

    def read_small(self, key: str) -> Small:
        """:raises ObjectMissing:"""

        def read(once: Any) -> Small:
            import obstore

            found = obstore.get(once, self.path(key))
            return Small(bytes(found.bytes()), _version(found.meta), found.meta["last_modified"])

        return self.tried(read, key, "read")

    def head(self, key: str) -> ObjectMeta:
        """:raises ObjectMissing:"""
        import obstore

        return self.tried(lambda once: obstore.head(once, self.path(key)), key, "read")

    def get(self, key: str, *, start: int, end: int | None, e_tag: str | None) -> GetResult:
        """Begin to read, from ``start`` to before ``end``; not tried again.

        :raises StorageConflict: the object is not the one of ``e_tag`` any more.
        """
        import obstore

        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        if e_tag is not None:
            options["if_match"] = e_tag
        return obstore.get(self.opened.once, self.path(key), options=options)

    def delete(self, key: str) -> None:
        """A missing one is no error."""
        import obstore

        try:
            self.tried(lambda once: obstore.delete(once, self.path(key)), key, "deleted")
        except ObjectMissing:
            return

    def listed(self, folder: str) -> list[ObjectMeta]:
        """Everything below a folder, in order of path."""

        def read(once: Any) -> list[ObjectMeta]:
            import obstore

            pages = obstore.list(once, self.path(folder), chunk_size=_PAGE)
            return sorted((meta for page in pages for meta in page), key=lambda meta: meta["path"])

        return self.tried(read, folder, LISTED)

    def keys_of(self, folder: str, beginning: str) -> list[str]:
        """The keys in a folder whose names begin so. Listed from there on: providers list in order of name."""

        def read(once: Any) -> list[str]:
            import obstore

            first = self.path(f"{folder}/{beginning}")
            pages = obstore.list(once, self.path(folder), offset=first[:-1], chunk_size=_PAGE)
            paths = (meta["path"] for page in pages for meta in page)
            reached = dropwhile(lambda path: path < first, paths)
            return [self.key(path) for path in takewhile(lambda path: path.startswith(first), reached)]

        return self.tried(read, folder, LISTED)

    def tried(self, request: Callable[[Any], T], key: str, done: str) -> T:
        """What the request answers, made again a few times where its failure may pass.

        :raises StorageError: in all its classes.
        """
        return self._attempts(lambda once, _: request(once), key, done)

    def explained(self, error: Exception, key: str, done: str) -> Exception:
        """Our error for obstore's; a failure to get credentials is told as it was raised."""
        lost = self._opened.lost_credentials if self._opened is not None else None
        if lost is not None and "credential provider" in str(error):
            return lost
        return self.place.explain(error, key, done)

    def wait(self, failures: int) -> None:
        """Longer from failure to failure, and never in step with other clients."""
        longest = min(self.limits.pause_seconds * 2 ** (failures - 1), _LONGEST_PAUSE_SECONDS)
        time.sleep(random.uniform(longest / 2, longest))  # noqa: S311 - to spread, not to hide

    def _attempts(self, request: Callable[[Any, int], T], key: str, done: str) -> T:
        from obstore.exceptions import BaseError

        once = self.opened.once
        last_try = time.monotonic() + self.limits.give_up_seconds
        for failures in range(1, self.limits.retries + 2):
            try:
                return request(once, failures)
            except (BaseError, OSError) as error:
                if failures > self.limits.retries or time.monotonic() > last_try or not may_pass(error):
                    raise self.explained(error, key, done) from error
            self.wait(failures)
        raise AssertionError  # the last failure was raised

    def _write(self, key: str, content: bytes, mode: Any) -> None:
        """A try whose answer was lost may have written: then the next one is refused because of ourselves."""

        def write(once: Any, attempt: int) -> None:
            import obstore
            from obstore.exceptions import AlreadyExistsError, PreconditionError

            try:
                obstore.put(once, self.path(key), content, mode=mode)
            except (AlreadyExistsError, PreconditionError):
                if attempt == 1 or bytes(obstore.get(once, self.path(key)).bytes()) != content:
                    raise

        try:
            self._attempts(write, key, "written")
        except ObjectMissing as error:
            raise self.place.conflict(key) from error  # deleted since it was read


def _version(meta: ObjectMeta) -> str:
    """What a conditional write compares, as text: some providers go by the entity tag, others by the generation."""
    return json.dumps({name: meta[name] for name in ("e_tag", "version") if meta[name] is not None})
