"""Independent zstd frames, for ``zstd -d``."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import ClassVar

import zstandard

from db_backup.model import COMPRESSION_LEVELS, DEFAULT_COMPRESSION_LEVEL, Compression
from db_backup.storage.base import Block
from db_backup.stream.compression.contract import MEBIBYTE, Encoder, IndependentBlocks, chosen
from db_backup.stream.compression.decoding import decompress_units


class _ZstdEncoder(IndependentBlocks):
    def __init__(self, level: int) -> None:
        # A frame of 2 MiB is 1.4 % larger than one endless frame on SQL at level 3. Above level 15 one compressor
        # for 2 MiB takes up to 35 MB, for 1 MiB half of it.
        self.block_bytes = 2 * MEBIBYTE if level <= 15 else MEBIBYTE
        self._level = level
        self._of_thread = threading.local()

    def compress(self, block: memoryview) -> Block:
        compressor: zstandard.ZstdCompressor | None = getattr(self._of_thread, "compressor", None)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self._level, write_checksum=True, write_content_size=True)
            self._of_thread.compressor = compressor
        return compressor.compress(block)


class ZstdCodec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.ZSTD]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.ZSTD]

    def encoder(self, level: int | None) -> Encoder:
        return _ZstdEncoder(chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return decompress_units(stored, _ZstdFrame, name)


class _ZstdFrame:
    kind: ClassVar[str] = "zstd frame"
    damage: ClassVar[type[Exception]] = zstandard.ZstdError

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor().decompressobj()

    @property
    def rest(self) -> bytes | None:
        return self._decompressor.unused_data if self._decompressor.eof else None

    def feed(self, stored: Block) -> Iterator[bytes]:
        # Our frames hold 2 MiB at most, which bounds what one call returns.
        yield self._decompressor.decompress(stored)
