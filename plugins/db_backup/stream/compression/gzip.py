"""Independent gzip members of 1 MiB by libdeflate, for ``gunzip``."""

from __future__ import annotations

import math
import threading
import zlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import deflate
from isal import isal_zlib

from db_backup.model import COMPRESSION_LEVELS, DEFAULT_COMPRESSION_LEVEL, Compression
from db_backup.storage.base import Block
from db_backup.stream.compression.contract import MAX_THREADS, MEBIBYTE, Encoder, chosen
from db_backup.stream.compression.decoding import PLAIN_BLOCK_BYTES, decompress_units

_GZIP_WBITS, _BARE_WBITS = 16 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_WINDOW_BYTES = 32 << 10
_ZLIB_MEM_LEVEL = 9  # gives as many symbols to a Huffman table as gzip does
_FASTEST_LEVEL, _SAFEST_LEVEL = 6, 8  # of libdeflate's: smaller than gzip -9 on most data, and on almost all


class _GzipEncoder:
    """Independent members by libdeflate, whose levels 1 to 6 are the user's 1 to 8; 9 promises more.

    The user's 9 is never larger than ``gzip -9``: of the levels that are, the fastest (``_Choice``). Where that cannot
    win, zlib itself has a try (``_Rival``).
    """

    block_bytes = MEBIBYTE
    max_threads = MAX_THREADS

    def __init__(self, level: int) -> None:
        self._level = min(level, _FASTEST_LEVEL)
        self._choice = _Choice() if level == 9 else None
        self._rival = _Rival() if level == 9 else None

    def compress(self, block: memoryview) -> Block:
        return _member(block, self._level) if self._choice is None else self._choice.compress(block)

    def join(self, block: memoryview, compressed: Block) -> Iterator[Block]:
        return iter((compressed,)) if self._rival is None else self._rival.join(block, compressed)

    def finish(self) -> Iterator[Block]:
        return iter(()) if self._rival is None else self._rival.close()


class _Choice:
    """The fastest of libdeflate's levels that is smaller than ``gzip -9`` on the kind of data that passes.

    Which one that is depends on the data (size against ``gzip -9`` at levels 6, 7, 8, and CPU-milliseconds a MiB, for
    which zlib takes 30 to 140): prose 0.973 0.973 0.968 (14 13 14), rows of numbers 0.972 0.967 0.961 (19 24 35), JSON
    0.988 0.981 0.973 (11 16 34), SQLite's pages of JSON 1.004 0.998 0.987 (12 17 34), pgbench's rows 1.038 0.855 0.855
    (2 4 5). So one block is given to zlib as well, then one in 64, and one where blocks begin to compress otherwise
    than the last one that was judged: another table. Until the first is judged, level 8 is the safe one. Which thread
    is faster may decide about the level of a few blocks; nothing about what they decompress to.
    """

    #: Level → how much of zlib's size it may need to be trusted. Blocks of one kind differ, by a percent among SQLite's
    #: pages, and level 6 has been seen to lose.
    _LEVELS: ClassVar = {_FASTEST_LEVEL: 0.99, 7: 0.998, _SAFEST_LEVEL: math.inf}
    _BLOCKS_TRUSTED = 64
    # Judging takes as long as compressing eight blocks: data that change all the time shall not double the work.
    _BLOCKS_TRUSTED_AT_LEAST = 8
    _SAME_KIND = 0.05

    def __init__(self) -> None:
        self._level = _SAFEST_LEVEL
        self._judged_share = 1.0  # of its plain bytes that the judged block took
        self._blocks_since = self._BLOCKS_TRUSTED
        self._lock = threading.Lock()

    def compress(self, block: memoryview) -> Block:
        member = _member(block, self._level)
        return self._judge(block) if self._is_due(_share(block, member)) else member

    def _is_due(self, share: float) -> bool:
        with self._lock:
            changed = abs(share - self._judged_share) > self._SAME_KIND * self._judged_share
            trusted = self._BLOCKS_TRUSTED_AT_LEAST if changed else self._BLOCKS_TRUSTED
            is_due = self._blocks_since >= trusted
            self._blocks_since = 0 if is_due else self._blocks_since + 1
            return is_due

    def _judge(self, block: memoryview) -> Block:
        # gzip comes to a block with its window full of what went before; the block's own end stands in for that.
        rival_bytes = len(_by_zlib(block, _BARE_WBITS, bytes(block[-_WINDOW_BYTES:])))
        for level, trusted in self._LEVELS.items():
            member = _member(block, level)
            if len(member) <= rival_bytes * trusted:
                break
        with self._lock:
            self._level, self._judged_share = level, _share(block, member)
        if level == _SAFEST_LEVEL and len(stored := _by_zlib(block, _GZIP_WBITS)) < len(member):
            return stored  # so that a database of one block is never larger
        return member


def _member(block: memoryview, level: int) -> bytearray:
    member: bytearray = deflate.gzip_compress(block, level)
    return member


def _by_zlib(block: memoryview, wbits: int, window: bytes | None = None) -> bytes:
    known = {} if window is None else {"zdict": window}
    stream = zlib.compressobj(9, zlib.DEFLATED, wbits, _ZLIB_MEM_LEVEL, zlib.Z_DEFAULT_STRATEGY, **known)
    return stream.compress(block) + stream.flush()


def _share(block: memoryview, member: Block) -> float:
    return len(member) / max(len(block), 1)


class _Rival:
    """zlib's try at a stretch of tiny members, as one long member; the smaller of the two is written.

    ``gzip -9`` beats independent members on highly repetitive data (by 7 % on zeros, 22 % on rows of padding, 2.4 times
    on a repeated 20 KiB blob), for it never forgets its window nor begins a new Huffman table. There the rival runs
    too, which is fast: such data compress at hundreds of MB/s. It keeps the stretch once it has won the first blocks;
    once it has lost them it rests for a while. What remains: up to 0.2 % on bare counters of 64 bits, 4 % on a repeated
    blob.
    """

    # A member that pays for a whole forgotten 32 KiB window is about this long.
    _WORTHWHILE_BYTES = 40 << 10
    _BLOCKS_COMPARED = 8
    _BLOCKS_RESTED = 24

    def __init__(self) -> None:
        self._begin_stretch()

    def _begin_stretch(self, resting_blocks: int = 0) -> None:
        self._members: list[Block] = []
        self._output: list[bytes] = []
        self._stream = zlib.compressobj(9, zlib.DEFLATED, _GZIP_WBITS, _ZLIB_MEM_LEVEL)
        self._ahead = False
        self._resting_blocks = resting_blocks

    def join(self, block: memoryview, member: Block) -> Iterator[Block]:
        """What to write for the next block."""
        if len(member) <= self._WORTHWHILE_BYTES:
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


class GzipCodec:
    levels: ClassVar[range] = COMPRESSION_LEVELS[Compression.GZIP]
    default_level: ClassVar[int | None] = DEFAULT_COMPRESSION_LEVEL[Compression.GZIP]

    def encoder(self, level: int | None) -> Encoder:
        return _GzipEncoder(chosen(self, level))

    def decompress(self, stored: Iterable[Block], *, name: str) -> Iterator[bytes]:
        return decompress_units(stored, _GzipMember, name)


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
            plain: bytes = self._decompressor.decompress(stored, PLAIN_BLOCK_BYTES)
            yield plain
            stored = self._decompressor.unconsumed_tail
            # A full block may have more behind it inside the decompressor, although its input is used up.
            if self._decompressor.eof or (not stored and len(plain) < PLAIN_BLOCK_BYTES):
                return
