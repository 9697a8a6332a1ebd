"""Codecs by name: blocks are compressed on several threads and joined into one file that stock tools read.

gzip is independent members of 1 MiB made by libdeflate, zstd is independent frames, none is the bytes themselves. Every
implementation passes ``tests/conformance/codec_contract.py``.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar, Protocol

import deflate
import zstandard
from isal import isal_zlib

from db_backup.errors import ArtefactCorrupt, ArtefactTruncated, FeatureNotAvailable, UsageError
from db_backup.model import COMPRESSION_LEVELS, DEFAULT_COMPRESSION_LEVEL, Compression
from db_backup.storage.base import Block

MEBIBYTE = 1 << 20
_GZIP_WBITS = 16 + zlib.MAX_WBITS
# Decoders copy what they did not consume, once per member: small steps keep many small members cheap.
_STEP_BYTES = 64 << 10
_PLAIN_BLOCK_BYTES = MEBIBYTE
_OTHER_COPY = "Restore from another copy of this backup, or from an older backup."


class Encoder(Protocol):
    """One stream being compressed."""

    block_bytes: int

    def compress(self, block: memoryview) -> Block:
        """Compress one block of at most ``block_bytes``, perhaps empty, on its own. Thread-safe; releases the GIL."""

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


class _IndependentBlocks:
    """An encoder's joining half when compressed blocks simply follow one another."""

    def join(self, block: memoryview, compressed: Block) -> Iterator[Block]:  # noqa: ARG002
        yield compressed

    def finish(self) -> Iterator[Block]:
        yield from ()


class _NoneEncoder(_IndependentBlocks):
    block_bytes = MEBIBYTE

    def compress(self, block: memoryview) -> Block:
        return block


class _NoneCodec:
    levels: ClassVar[range] = range(0)
    default_level: ClassVar[int | None] = None

    def encoder(self, level: int | None) -> Encoder:  # noqa: ARG002
        return _NoneEncoder()

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:  # noqa: ARG002
        for block in stored:
            yield bytes(block)


class _ZstdEncoder(_IndependentBlocks):
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


class _ZstdCodec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.ZSTD]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.ZSTD]

    def encoder(self, level: int | None) -> Encoder:
        return _ZstdEncoder(_chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return _decompress(stored, _ZstdFrame, name)


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


class _GzipEncoder:
    """Independent members by libdeflate; at level 9 zlib has a try where ``gzip -9`` would be smaller (``_Rival``).

    Size against ``gzip -9`` (libdeflate, members of 1 MiB, levels 6, 7, 8, 9): prose 0.972 0.972 0.968 0.968; SQL 0.996
    0.994 0.989 0.987; JSON 0.990 0.984 0.975 0.972; pgbench rows 1.038 0.856 0.856 0.856. So the user's 9 is
    libdeflate's 8: its 9 takes 40 % longer to win another 0.3 %. Every other level is libdeflate's own.
    """

    block_bytes = MEBIBYTE

    def __init__(self, level: int) -> None:
        self._level = min(level, 8)
        self._rival = _Rival() if level == 9 else None

    def compress(self, block: memoryview) -> Block:
        member: bytearray = deflate.gzip_compress(block, self._level)
        return member

    def join(self, block: memoryview, compressed: Block) -> Iterator[Block]:
        return iter((compressed,)) if self._rival is None else self._rival.join(block, compressed)

    def finish(self) -> Iterator[Block]:
        return iter(()) if self._rival is None else self._rival.close()


class _Rival:
    """zlib's try at a stretch of tiny members, as one long member; the smaller of the two is written.

    ``gzip -9`` beats independent members on highly repetitive data (by 7 % on zeros, 22 % on rows of padding, 2.4 times
    on a repeated 20 KiB blob), for it never forgets its window nor begins a new Huffman table. There the rival runs
    too, which is fast: such data compress at hundreds of MB/s. It keeps the stretch once it has won the first blocks;
    once it has lost them it rests for a while. The first block of a stream is always tried, so that a database of one
    block is never larger. What remains: up to 0.2 % on bare counters of 64 bits, 4 % on a repeated blob.
    """

    # A member that pays for a whole forgotten 32 KiB window is about this long.
    _WORTHWHILE_BYTES = 40 << 10
    _BLOCKS_COMPARED = 8
    _BLOCKS_RESTED = 24

    def __init__(self) -> None:
        self._is_first = True
        self._begin_stretch()

    def _begin_stretch(self, resting_blocks: int = 0) -> None:
        self._members: list[Block] = []
        self._output: list[bytes] = []
        # memLevel 9 gives as many symbols to a Huffman table as gzip does.
        self._stream = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WBITS, 9)
        self._ahead = False
        self._resting_blocks = resting_blocks

    def join(self, block: memoryview, member: Block) -> Iterator[Block]:
        """What to write for the next block."""
        if self._is_first or len(member) <= self._WORTHWHILE_BYTES:
            self._is_first = False
            yield from self._try(block, member)
        else:
            yield from self.close()
            yield member

    def close(self) -> Iterator[Block]:
        """The stretch has ended."""
        self._resting_blocks = 0
        if self._ahead or self._members:
            last = self._stream.flush()
            yield from (*self._output, last) if self._ahead or self._is_smaller(last) else self._members
            self._begin_stretch()

    def _try(self, block: memoryview, member: Block) -> Iterator[Block]:
        if self._resting_blocks:
            self._resting_blocks -= 1
            yield member
            return
        self._output.append(self._stream.compress(block))
        if not self._ahead:
            self._members.append(member)
            if len(self._members) < self._BLOCKS_COMPARED:
                return
            if not self._is_smaller(self._stream.copy().flush()):
                yield from self._members
                self._begin_stretch(self._BLOCKS_RESTED)
                return
            self._ahead = True
            self._members.clear()
        yield from self._output
        self._output.clear()

    def _is_smaller(self, last: bytes) -> bool:
        return sum(map(len, self._output)) + len(last) < sum(map(len, self._members))


class _GzipCodec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.GZIP]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.GZIP]

    def encoder(self, level: int | None) -> Encoder:
        return _GzipEncoder(_chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return _decompress(stored, _GzipMember, name)


class _GzipMember:
    kind: ClassVar[str] = "gzip member"
    damage: ClassVar[type[Exception]] = isal_zlib.error  # type: ignore[assignment]  # the stub names an instance

    def __init__(self) -> None:
        self._decompressor = isal_zlib.decompressobj(wbits=_GZIP_WBITS)

    @property
    def rest(self) -> bytes | None:
        return self._decompressor.unused_data if self._decompressor.eof else None

    def feed(self, stored: Block) -> Iterator[bytes]:
        while True:
            plain: bytes = self._decompressor.decompress(stored, _PLAIN_BLOCK_BYTES)
            yield plain
            stored = self._decompressor.unconsumed_tail
            # A full block may have more behind it inside the decompressor, although its input is used up.
            if self._decompressor.eof or (not stored and len(plain) < _PLAIN_BLOCK_BYTES):
                return


CODECS: Mapping[Compression, Codec] = {
    Compression.GZIP: _GzipCodec(),
    Compression.ZSTD: _ZstdCodec(),
    Compression.NONE: _NoneCodec(),
}


def codec_for(compression: Compression) -> Codec:
    """:raises FeatureNotAvailable: this program does not have that codec yet."""
    codec = CODECS.get(compression)
    if codec is None:
        known = ", ".join(CODECS)
        raise FeatureNotAvailable(
            f"Compression '{compression}' is not available in this version; a later one brings it.",
            hint=f"Use one of: {known}.",
        )
    return codec


def check_level(compression: Compression, level: int | None) -> int | None:
    """The level to use: the one asked for, or the codec's default.

    :raises UsageError: out of range, or a level for a codec that has none.
    :raises FeatureNotAvailable: this program does not have that codec yet.
    """
    codec = codec_for(compression)
    if level is None:
        return codec.default_level
    if not codec.levels:
        raise UsageError(
            f"Compression '{compression}' has no levels, but level {level} was asked for.", hint="Leave the level out."
        )
    if level not in codec.levels:
        first, last = codec.levels[0], codec.levels[-1]
        raise UsageError(
            f"Level {level} is not a level of compression '{compression}'.",
            hint=f"Choose {first} (fastest) to {last} (smallest); the default is {codec.default_level}.",
        )
    return level


def _chosen(codec: Codec, level: int | None) -> int:
    chosen = codec.default_level if level is None else level
    assert chosen is not None  # noqa: S101 - only codecs with levels ask
    return chosen


class _Unit(Protocol):
    """A member or frame being decompressed."""

    kind: ClassVar[str]
    damage: ClassVar[type[Exception]]

    @property
    def rest(self) -> bytes | None:
        """What was fed beyond its end; None before its end."""

    def feed(self, stored: Block) -> Iterator[bytes]: ...


def _decompress(stored: Iterable[Block], begin: Callable[[], _Unit], name: str) -> Iterator[bytes]:
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
