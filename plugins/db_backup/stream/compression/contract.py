"""What a codec is. Every implementation passes ``tests/conformance/codec_contract.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Protocol

from db_backup.storage.base import Block

MEBIBYTE = 1 << 20
#: More would not help one dump, which is seldom faster than four cores compress.
MAX_THREADS = 4


class Encoder(Protocol):
    """One stream being compressed."""

    block_bytes: int
    #: Blocks compressed at a time, which bounds the memory; at most ``MAX_THREADS``.
    max_threads: int

    def compress(self, block: memoryview) -> Block:
        """Compress one block of at most ``block_bytes``, perhaps empty, on its own. Thread-safe; releases the GIL.

        How far it is compressed may depend on the blocks before.
        """

    def join(self, block: memoryview, compressed: Block) -> Iterator[Block]:
        """What to write for the next block; called in order, from one thread. May hold a little back."""

    def finish(self) -> Iterator[Block]:
        """What is still held back once every block was joined."""


class Codec(Protocol):
    """One compression format. ``levels`` is empty where there is nothing to choose."""

    levels: ClassVar[range]
    default_level: ClassVar[int | None]

    def encoder(self, level: int | None) -> Encoder:
        """Begin a stream at a level that ``check_level`` returned."""

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        """The plain bytes of a whole file, of any number of members or frames, in blocks of bounded size.

        :param name: what errors call the file.
        :raises ArtefactTruncated: the input ends inside a member.
        :raises ArtefactCorrupt: damaged, or something else follows the last member.
        """


class IndependentBlocks:
    """An encoder's joining half when compressed blocks simply follow one another."""

    max_threads = MAX_THREADS

    def join(self, block: memoryview, compressed: Block) -> Iterator[Block]:  # noqa: ARG002
        yield compressed

    def finish(self) -> Iterator[Block]:
        yield from ()


def chosen(codec: Codec, level: int | None) -> int:
    """The level, of a codec that has levels."""
    level = codec.default_level if level is None else level
    assert level is not None  # noqa: S101 - only codecs with levels ask
    return level
