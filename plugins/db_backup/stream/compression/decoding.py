"""Reading files that are many members, frames or streams in a row, and telling damage from a missing end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Protocol

from db_backup.errors import ArtefactCorrupt, ArtefactTruncated
from db_backup.storage.base import Block
from db_backup.stream.compression.contract import MEBIBYTE

PLAIN_BLOCK_BYTES = MEBIBYTE
# Decoders copy what they did not consume, once per member: small steps keep many small members cheap.
_STEP_BYTES = 64 << 10
_OTHER_COPY = "Restore from another copy of this backup, or from an older backup."


class Unit(Protocol):
    """A member, frame or stream being decompressed."""

    kind: ClassVar[str]
    damage: ClassVar[type[Exception]]

    @property
    def rest(self) -> bytes | None:
        """What was fed beyond its end; None before its end."""

    def feed(self, stored: Block) -> Iterator[bytes]: ...


def decompress_units(stored: Iterable[Block], begin: Callable[[], Unit], name: str) -> Iterator[bytes]:
    """The plain bytes of all units, one after the other, as ``Codec.decompress`` promises them."""
    unit = begin()
    for step in _steps(stored):
        rest: Block | None = step
        while rest:
            if unit.rest is not None:
                unit = begin()
            try:
                yield from filter(None, unit.feed(rest))
            except unit.damage as error:
                raise ArtefactCorrupt(
                    f"'{name}' is damaged: expected a {unit.kind}, found something else ({error}).", hint=_OTHER_COPY
                ) from error
            rest = unit.rest
    if unit.rest is None:
        raise ArtefactTruncated(f"'{name}' is incomplete: it ends inside a {unit.kind}.", hint=_OTHER_COPY)


def _steps(stored: Iterable[Block]) -> Iterator[memoryview]:
    for block in stored:
        view = memoryview(block)
        for start in range(0, len(view), _STEP_BYTES):
            yield view[start : start + _STEP_BYTES]


class Decompressor(Protocol):
    """What bz2, lzma and lz4 have in common: input that was not used up stays inside."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: Block, max_length: int = -1) -> bytes: ...


class BoundedUnit:
    """A unit read by such a decompressor, in blocks of at most ``PLAIN_BLOCK_BYTES``."""

    def __init__(self, decompressor: Decompressor) -> None:
        self._decompressor = decompressor

    @property
    def rest(self) -> bytes | None:
        # lz4 says None where nothing is left over.
        return self._decompressor.unused_data or b"" if self._decompressor.eof else None

    def feed(self, stored: Block) -> Iterator[bytes]:
        while True:
            plain = self._decompressor.decompress(stored, PLAIN_BLOCK_BYTES)
            yield plain
            # A full block may have more behind it inside the decompressor, although its input is used up.
            wants_more = self._decompressor.needs_input and len(plain) < PLAIN_BLOCK_BYTES
            if self._decompressor.eof or wants_more:
                return
            stored = b""
