"""Independent lz4 frames with checksums of their content, for ``lz4 -d``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import lz4.frame

from db_backup.model import COMPRESSION_LEVELS, DEFAULT_COMPRESSION_LEVEL, Compression
from db_backup.storage.base import Block
from db_backup.stream.compression.contract import MEBIBYTE, Encoder, IndependentBlocks, chosen
from db_backup.stream.compression.decoding import BoundedUnit, decompress_units


class _Lz4Encoder(IndependentBlocks):
    # lz4 looks back 64 KiB only: frames of 1 MiB lose next to nothing.
    block_bytes = MEBIBYTE

    def __init__(self, level: int) -> None:
        self._level = level

    def compress(self, block: memoryview) -> Block:
        frame: bytes = lz4.frame.compress(
            block,
            compression_level=self._level,
            block_size=lz4.frame.BLOCKSIZE_MAX1MB,
            content_checksum=True,
        )
        return frame


class Lz4Codec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.LZ4]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.LZ4]

    def encoder(self, level: int | None) -> Encoder:
        return _Lz4Encoder(chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return decompress_units(stored, _Lz4Frame, name)


class _Lz4Frame(BoundedUnit):
    kind: ClassVar[str] = "lz4 frame"
    damage: ClassVar[type[Exception]] = RuntimeError

    def __init__(self) -> None:
        super().__init__(lz4.frame.LZ4FrameDecompressor())
