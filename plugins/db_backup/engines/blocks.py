"""Bytes that come in blocks of any size, taken in pieces of the size that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from db_backup.engines.base import Block

_CHUNK_BYTES = 1 << 20


class BlockReader:
    """Reads the blocks once, from the first to the last."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = iter(blocks)
        self._rest = memoryview(b"")

    def take(self, size: int) -> bytes:
        """So many bytes; fewer only at the end, where the blocks' own reader has had its say."""
        taken = bytearray()
        for piece in self.pieces(size):
            taken += piece
        return bytes(taken)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The same as it comes, in constant memory. Consume it all before anything else is taken."""
        while size:
            if not self._rest:
                block = next(self._blocks, None)
                if block is None:
                    return
                self._rest = memoryview(block)
                continue
            piece = self._rest[: min(size, _CHUNK_BYTES)]
            self._rest = self._rest[len(piece) :]
            size -= len(piece)
            yield piece

    def has_ended(self) -> bool:
        """Whether nothing is left; asks for the next block where that is not known."""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return True
            self._rest = memoryview(block)
        return False
