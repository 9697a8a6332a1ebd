"""The bytes themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from db_backup.storage.base import Block
from db_backup.stream.compression.contract import MEBIBYTE, Encoder, IndependentBlocks


class _NoneEncoder(IndependentBlocks):
    block_bytes = MEBIBYTE

    def compress(self, block: memoryview) -> Block:
        return block


class NoneCodec:
    levels: ClassVar[range] = range(0)
    default_level: ClassVar[int | None] = None

    def encoder(self, level: int | None) -> Encoder:  # noqa: ARG002
        return _NoneEncoder()

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:  # noqa: ARG002
        for block in stored:
            yield bytes(block)
