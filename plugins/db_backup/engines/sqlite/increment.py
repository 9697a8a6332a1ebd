"""The two kinds of dumps of a chain: an image with the hashes of its pages, and the pages that have changed since."""

from __future__ import annotations

import dataclasses
import errno
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from db_backup.engines.base import Dump, DumpSummary, Preflight
from db_backup.engines.piping import PipedStream, piped
from db_backup.engines.sqlite.contents import Damage, find_damage, interruptible
from db_backup.engines.sqlite.image import AGAIN, ImageDump, ImageStream, Moment, open_image, prove_copy
from db_backup.engines.sqlite.pages import (
    FORMAT,
    HASH_BYTES,
    PAGES,
    HashReader,
    PageHashes,
    Position,
    chunks_in,
    differing,
    increment,
    increment_bytes,
)
from db_backup.engines.sqlite.source import explained
from db_backup.engines.sqlite.staging import Image
from db_backup.engines.staging import SPACE_HINT
from db_backup.errors import DumpIncomplete, StorageFull
from db_backup.manifest import Inventory
from db_backup.progress import Cancellation

_HASHES_SUFFIX = "hashes"
_PAGES_SUFFIX = "pages"


class PagedImageDump(Dump):
    """A full that increments can follow: the hashes are taken of the same image while it streams."""

    def __init__(self, image: ImageDump, hashes: PageHashes, pages: PipedStream) -> None:
        self.preflight = image.preflight
        self.format = image.format
        self.streams = (*image.streams, pages)
        self._image = image
        self._hashes = hashes
        self._pages = pages

    def complete(self) -> DumpSummary:
        summary = self._image.complete()
        if not self._pages.is_whole():
            raise DumpIncomplete("Not all hashes of the image's pages were read.", hint=AGAIN)
        return dataclasses.replace(summary, to_position=str(self._hashes.position))


@contextmanager
def open_paged_image(
    path: Path, preflight: Preflight, moment: Moment, image: Image, page_bytes: int
) -> Iterator[PagedImageDump]:
    hashes = PageHashes(page_bytes)
    listed = (hashes.of(chunk) for chunk in chunks_in(image.descriptor, page_bytes))
    with (
        open_image(path, preflight, moment, image) as dump,
        piped(listed, name=PAGES, suffix=_HASHES_SUFFIX) as pages,
    ):
        yield PagedImageDump(dump, hashes, pages)


@dataclass(frozen=True)
class Changes:
    """What an image has that its chain's last backup has not. ``hashes``: an open file with those of all its pages."""

    numbers: array[int]
    position: Position
    hashes: int

    @property
    def plain_bytes(self) -> int:
        """Of both streams."""
        return increment_bytes(len(self.numbers), self.position.page_bytes) + self.position.page_count * HASH_BYTES


@contextmanager
def changes_in(
    image: Image, page_bytes: int, known: HashReader, staging_path: Path, cancellation: Cancellation
) -> Iterator[Changes]:
    """Hold every page against the known hashes. The new ones go to a file without a name.

    :raises StorageFull: there is no room in ``staging_path``.
    """
    hashes = PageHashes(page_bytes)
    with tempfile.TemporaryFile(dir=staging_path, buffering=0) as file:
        descriptor = file.fileno()
        chunks = _watched(chunks_in(image.descriptor, page_bytes), cancellation)
        try:
            numbers = array("I", differing(chunks, hashes, known, partial(_append, descriptor)))
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise StorageFull(
                f"{staging_path} was filled by the hashes of a database's pages; nothing was kept.", hint=SPACE_HINT
            ) from error
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield Changes(numbers, hashes.position, descriptor)


class IncrementDump(Dump):
    """The pages that have changed, and the hashes of all."""

    format = FORMAT

    def __init__(
        self,
        path: Path,
        preflight: Preflight,
        moment: Moment,
        image: Image,
        changes: Changes,
        began: Position,
        pages: PipedStream,
        checked: Future[Damage],
    ) -> None:
        self.preflight = preflight
        self._hashes = ImageStream(changes.hashes, PAGES, _HASHES_SUFFIX)
        self.streams = (pages, self._hashes)
        self._path = path
        self._moment = moment
        self._image = image
        self._changes = changes
        self._began = began
        self._pages = pages
        self._checked = checked

    def complete(self) -> DumpSummary:
        listed_bytes = self._changes.position.page_count * HASH_BYTES
        if not self._pages.is_whole() or self._hashes.observed_bytes != listed_bytes:
            raise DumpIncomplete(f"Not all changed pages of {self._path} were read.", hint=AGAIN)
        with explained(self._path):
            damage = self._checked.result()
        prove_copy(self._path, self._moment, self._image, damage)
        return DumpSummary(
            consistency=self._moment.consistency,
            recovery_point=self._moment.at,
            inventory=Inventory(),
            warnings=damage.warnings,
            from_position=str(self._began),
            to_position=str(self._changes.position),
        )


@contextmanager
def open_increment(
    path: Path, preflight: Preflight, moment: Moment, image: Image, changes: Changes, began: Position
) -> Iterator[IncrementDump]:
    """SQLite looks for damage in the image while the changed pages are read from it.

    :param began: where the parent ended.
    """
    shape, left = changes.position, Cancellation()
    pieces = increment(image.descriptor, shape.page_bytes, shape.page_count, changes.numbers)
    with (
        ThreadPoolExecutor(1, thread_name_prefix="sqlite-check") as checking,
        piped(pieces, suffix=_PAGES_SUFFIX) as pages,
    ):
        try:
            checked = checking.submit(_look_for_damage, image, moment, left)
            yield IncrementDump(path, preflight, moment, image, changes, began, pages, checked)
        finally:
            left.cancel("the dump was closed")


def _look_for_damage(image: Image, moment: Moment, left: Cancellation) -> Damage:
    with interruptible(image.connection, left):
        return find_damage(image.connection, moment.schema, thorough=False)


def _watched(chunks: Iterable[bytes], cancellation: Cancellation) -> Iterator[bytes]:
    for chunk in chunks:
        cancellation.check()
        yield chunk


def _append(descriptor: int, hashes: bytes) -> None:
    view = memoryview(hashes)
    while view:
        view = view[os.write(descriptor, view) :]
