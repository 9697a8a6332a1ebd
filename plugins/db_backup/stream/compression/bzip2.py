"""Independent bzip2 streams, for ``bzip2 -d``."""

from __future__ import annotations

import bz2
from collections.abc import Iterable, Iterator
from typing import ClassVar

from db_backup.model import COMPRESSION_LEVELS, DEFAULT_COMPRESSION_LEVEL, Compression
from db_backup.storage.base import Block
from db_backup.stream.compression.contract import Encoder, IndependentBlocks, chosen
from db_backup.stream.compression.decoding import BoundedUnit, decompress_units

_LARGEST_BLOCK_BYTES = 900_000


class _Bzip2Encoder(IndependentBlocks):
    def __init__(self, level: int) -> None:
        self._level = level
        # bzip2's own block holds 19 bytes less than 100 kB times the level (compress.c, nblockMAX): a round number
        # would leave a second block of 19 bytes in every stream.
        own_block_bytes = 100_000 * level - 19
        self.block_bytes = _LARGEST_BLOCK_BYTES // own_block_bytes * own_block_bytes

    def compress(self, block: memoryview) -> Block:
        return bz2.compress(block, self._level)


class Bzip2Codec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.BZIP2]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.BZIP2]

    def encoder(self, level: int | None) -> Encoder:
        return _Bzip2Encoder(chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return decompress_units(stored, _Bzip2Stream, name)


class _Bzip2Stream(BoundedUnit):
    kind: ClassVar[str] = "bzip2 stream"
    damage: ClassVar[type[Exception]] = OSError

    def __init__(self) -> None:
        super().__init__(bz2.BZ2Decompressor())
