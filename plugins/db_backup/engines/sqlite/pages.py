"""An SQLite file as pages: the list of their hashes, and an increment, which is the pages that have changed.

docs/formats/sqlite-increment.md describes both streams for people who have nothing else.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from db_backup.engines.base import Block
from db_backup.engines.blocks import BlockReader
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated
from db_backup.manifest import Manifest

FORMAT = "sqlite pages"  # of an increment's main stream
PAGES = "pages"  # the stream of hashes, of fulls and of increments
HASH_BYTES = 16

_MAGIC = b"sqlite pages 1\n\0"
_HEADER = struct.Struct(">16s3I")  # magic, bytes of a page, pages of the file, pages that follow
_NUMBER = struct.Struct(">I")
_CHUNK_BYTES = 1 << 20
_HINT = "Restore to a moment before it, or take another copy of it; the next full begins a new chain."
_POSITION = re.compile(r"(\d+)x(\d+):([0-9a-f]{64})")


@dataclass(frozen=True)
class Position:
    """What a chain's backup says of the file: its shape, and the SHA-256 of the list of its pages' hashes."""

    page_count: int
    page_bytes: int
    digest: str

    def __str__(self) -> str:
        return f"{self.page_count}x{self.page_bytes}:{self.digest}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """None: it is no position of an SQLite file."""
        match = _POSITION.fullmatch(text or "")
        return cls(int(match[1]), int(match[2]), match[3]) if match else None

    @property
    def file_bytes(self) -> int:
        return self.page_count * self.page_bytes


def page_hash(page: Block) -> bytes:
    return sha256(page).digest()[:HASH_BYTES]


class PageHashes:
    """The list of hashes, made of the pages as they go by: the first 16 bytes of the SHA-256 of each."""

    def __init__(self, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._page_count = 0
        self._digest = sha256()

    def of(self, pages: Block) -> bytes:
        """The hashes of the next pages; all but the file's last come whole."""
        step = self._page_bytes
        with memoryview(pages) as view:
            starts = range(0, len(view), step)
            hashes = b"".join([page_hash(view[start : start + step]) for start in starts])
        self._page_count += len(starts)
        self._digest.update(hashes)
        return hashes

    @property
    def position(self) -> Position:
        return Position(self._page_count, self._page_bytes, self._digest.hexdigest())


class HashReader:
    """The list of hashes of a backup, read once from its beginning."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._reader = BlockReader(blocks)
        self._digest = sha256()
        self._page_count = 0

    def take(self, count: int) -> bytes:
        """The hashes of so many further pages; fewer only at the end."""
        hashes = self._reader.take(count * HASH_BYTES)
        self._digest.update(hashes)
        self._page_count += len(hashes) // HASH_BYTES
        return hashes

    def of_page(self, number: int) -> bytes:
        """The hash of one page, after those that were asked for before; empty: there is none."""
        while self._page_count < number - 1 and self.take(min(number - 1 - self._page_count, _CHUNK_BYTES)):
            pass
        return self.take(1)

    def finish(self, manifest: Manifest, position: Position) -> None:
        """Read on to the end.

        :raises ArtefactCorrupt: it is not the list that this backup ended with.
        """
        while self.take(_CHUNK_BYTES):
            pass
        if (self._page_count, self._digest.hexdigest()) != (position.page_count, position.digest):
            raise corrupt(manifest, "the list of its page hashes is not the one that its position names")


def chunks_in(descriptor: int, page_bytes: int) -> Iterator[bytes]:
    """The file that is open, in whole pages, without moving anybody's place in it."""
    size, place = _chunk_bytes(page_bytes), 0
    while chunk := os.pread(descriptor, size, place):
        yield chunk
        place += len(chunk)


def hashed(content: Iterable[Block], hashes: PageHashes, page_bytes: int) -> Iterator[bytes]:
    """The same bytes, whose pages are hashed as they go by."""
    reader = BlockReader(content)
    while chunk := reader.take(_chunk_bytes(page_bytes)):
        hashes.of(chunk)
        yield chunk


def differing(
    chunks: Iterable[bytes], hashes: PageHashes, known: HashReader, each: Callable[[bytes], object] = lambda _: None
) -> Iterator[int]:
    """The numbers, from 1, of the pages whose hashes are not the known ones, or that these do not have.

    :param each: is shown the hashes of all pages, in order.
    """
    number = 1
    for chunk in chunks:
        found = hashes.of(chunk)
        each(found)
        expected = known.take(len(found) // HASH_BYTES)
        if found != expected:
            for place in range(0, len(found), HASH_BYTES):
                if found[place : place + HASH_BYTES] != expected[place : place + HASH_BYTES]:
                    yield number + place // HASH_BYTES
        number += len(found) // HASH_BYTES


def increment_bytes(changed: int, page_bytes: int) -> int:
    """The size of an increment's main stream with so many pages."""
    return _HEADER.size + changed * (_NUMBER.size + page_bytes)


def increment(descriptor: int, page_bytes: int, page_count: int, changed: Sequence[int]) -> Iterator[bytes]:
    """An increment's main stream: these pages of the file that is open, in ascending order."""
    yield _HEADER.pack(_MAGIC, page_bytes, page_count, len(changed))
    for number in changed:
        yield _NUMBER.pack(number)
        yield os.pread(descriptor, page_bytes, (number - 1) * page_bytes)


def changed_pages(content: Iterable[Block], manifest: Manifest, position: Position) -> Iterator[tuple[int, bytes]]:
    """The pages of an increment, with their numbers, in ascending order.

    :param position: where it ends.
    :raises ArtefactTruncated, ArtefactCorrupt: as late as the end.
    """
    reader = BlockReader(content)
    header = reader.take(_HEADER.size)
    if header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        raise corrupt(manifest, "it does not begin like an increment")
    if len(header) < _HEADER.size:
        raise _truncated(manifest, "it ends within its head")
    _, page_bytes, page_count, changed = _HEADER.unpack(header)
    if (page_count, page_bytes) != (position.page_count, position.page_bytes):
        raise corrupt(manifest, f"its head tells of {page_count} pages of {page_bytes} bytes, its position of others")
    before = 0
    for _ in range(changed):
        record = reader.take(_NUMBER.size + page_bytes)
        if len(record) < _NUMBER.size + page_bytes:
            raise _truncated(manifest, f"it ends after page {before} of the file")
        (number,) = _NUMBER.unpack_from(record)
        if not before < number <= page_count:
            raise corrupt(manifest, f"page {number} follows page {before} in it, and the file has {page_count}")
        yield number, record[_NUMBER.size :]
        before = number
    if not reader.has_ended():
        raise corrupt(manifest, f"something follows its {changed} pages")


def position_of(manifest: Manifest) -> Position:
    """Where a backup of a chain ends.

    :raises ArtefactCorrupt: its manifest has no position of an SQLite file.
    """
    position = Position.parse(manifest.chain.to_position if manifest.chain else None)
    if position is None:
        raise corrupt(manifest, "its manifest has no position of an SQLite file")
    return position


def corrupt(manifest: Manifest, what: str) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"{manifest.id} is damaged: {what}.", hint=_HINT, database=manifest.entry, backup_id=manifest.id
    )


def _truncated(manifest: Manifest, what: str) -> ArtefactTruncated:
    return ArtefactTruncated(
        f"{manifest.id} is cut off: {what}.", hint=_HINT, database=manifest.entry, backup_id=manifest.id
    )


def _chunk_bytes(page_bytes: int) -> int:
    return max(1, _CHUNK_BYTES // page_bytes) * page_bytes
