"""What every codec does (``stream/compression``). A new codec adds a subclass in ``test_codecs.py``."""

from __future__ import annotations

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import ClassVar

import pytest

from db_backup.errors import ArtefactCorrupt, ArtefactError, ArtefactTruncated, UsageError
from db_backup.model import Compression
from db_backup.stream.compression import CODECS, MEBIBYTE, Codec, check_level
from support.sample_data import json_lines, rows_of_padding, sql_dump

_SEVERAL_BLOCKS = 4 * MEBIBYTE + 12_345


class CodecContract:
    """Codecs that only pass bytes on detect nothing: they derive from this class, the others from the one below."""

    compression: ClassVar[Compression]
    stock_tool: ClassVar[list[str]]  # decompresses standard input to standard output

    @pytest.fixture
    def codec(self) -> Codec:
        return CODECS[self.compression]

    @pytest.mark.parametrize(
        "plain",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"x", id="one byte"),
            pytest.param(bytes(MEBIBYTE), id="exactly one block"),
            pytest.param(bytes(40 * MEBIBYTE), id="zeros"),
            pytest.param(random.Random(1).randbytes(_SEVERAL_BLOCKS), id="noise"),
            pytest.param(sql_dump(_SEVERAL_BLOCKS), id="sql"),
            pytest.param(rows_of_padding(_SEVERAL_BLOCKS) + sql_dump(_SEVERAL_BLOCKS), id="padding, then sql"),
            pytest.param(json_lines(_SEVERAL_BLOCKS) + bytes(_SEVERAL_BLOCKS), id="json, then zeros"),
        ],
    )
    def test_every_byte_comes_back_from_us_and_from_the_stock_tool(self, codec: Codec, plain: bytes) -> None:
        stored = _encoded_once(self.compression, plain)

        assert b"".join(codec.decompress([stored], name="it")) == plain
        assert self.by_the_stock_tool(stored) == plain

    def test_every_level_comes_back(self, codec: Codec) -> None:
        plain = sql_dump(MEBIBYTE + 12_345)
        for level in codec.levels:
            assert b"".join(codec.decompress([encoded(codec, plain, level)], name="it")) == plain, level

    @pytest.mark.parametrize("size", [1, 7, 1000, 65_536, 65_537])
    def test_the_stored_bytes_may_arrive_in_pieces_of_any_size(self, codec: Codec, size: int) -> None:
        plain = sql_dump(100_000) + bytes(2 * codec.encoder(codec.default_level).block_bytes)
        stored = encoded(codec, plain)

        pieces = (stored[start : start + size] for start in range(0, len(stored), size))

        assert b"".join(codec.decompress(pieces, name="it")) == plain

    def test_what_is_yielded_is_bounded_however_well_it_compressed(self, codec: Codec) -> None:
        stored = encoded(codec, bytes(64 * MEBIBYTE))

        assert max(map(len, codec.decompress(_in_blocks(stored, MEBIBYTE), name="it"))) <= 4 * MEBIBYTE

    def test_blocks_may_be_compressed_on_many_threads(self, codec: Codec) -> None:
        plain = sql_dump(_SEVERAL_BLOCKS) + rows_of_padding(_SEVERAL_BLOCKS)
        encoder = codec.encoder(codec.default_level)
        blocks = _in_blocks(plain, 400_000)

        with ThreadPoolExecutor(4) as pool:
            joined = [encoder.join(*pair) for pair in zip(blocks, pool.map(encoder.compress, blocks), strict=True)]

        stored = [piece for pieces in (*joined, encoder.finish()) for piece in pieces]
        assert b"".join(codec.decompress(stored, name="it")) == plain

    def test_the_same_bytes_are_stored_the_same(self, codec: Codec) -> None:
        plain = sql_dump(_SEVERAL_BLOCKS)
        assert encoded(codec, plain) == _encoded_once(self.compression, plain)

    def test_a_level_out_of_range_is_refused_with_the_range(self, codec: Codec) -> None:
        for level in (-1, 0, codec.levels.stop):
            with pytest.raises(UsageError) as refusal:
                check_level(self.compression, level)
            assert str(self.compression) in str(refusal.value)
            if codec.levels:
                assert f"{codec.levels[0]} (fastest) to {codec.levels[-1]} (smallest)" in refusal.value.hint

    def test_no_level_means_the_default(self, codec: Codec) -> None:
        assert check_level(self.compression, None) == codec.default_level

    def by_the_stock_tool(self, stored: bytes) -> bytes:
        return subprocess.run(self.stock_tool, input=stored, stdout=subprocess.PIPE, check=True).stdout


class CompressingCodecContract(CodecContract):
    """Codecs whose format says where it ends and whether it is whole."""

    @pytest.fixture
    def plain(self) -> bytes:
        return sql_dump(_SEVERAL_BLOCKS)

    @pytest.fixture
    def stored(self, plain: bytes) -> bytes:
        return _encoded_once(self.compression, plain)

    def test_no_bytes_at_all_are_a_truncated_file(self, codec: Codec) -> None:
        with pytest.raises(ArtefactTruncated, match="it"):
            list(codec.decompress([], name="it"))

    @pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 8, 100, MEBIBYTE])
    def test_a_file_that_ends_early_is_truncated(self, codec: Codec, stored: bytes, missing: int) -> None:
        with pytest.raises(ArtefactTruncated, match=r"backup\.gz"):
            list(codec.decompress([stored[:-missing]], name="backup.gz"))

    @pytest.mark.parametrize("garbage", [b"x", b"\0", b"\x1f", b"\0" * 512, b"-- Dump completed\n", b"\x28\xb5"])
    def test_whatever_follows_the_end_is_noticed(self, codec: Codec, stored: bytes, garbage: bytes) -> None:
        with pytest.raises(ArtefactError, match=r"backup\.gz"):
            list(codec.decompress([stored + garbage], name="backup.gz"))

    def test_a_flipped_bit_in_the_content_is_noticed_anywhere(self, codec: Codec, stored: bytes, plain: bytes) -> None:
        chance = random.Random(2)
        for place in sorted(chance.sample(range(20, len(stored)), 20)):
            damaged = bytearray(stored)
            damaged[place] ^= 1 << chance.randrange(8)
            try:
                found = b"".join(codec.decompress([damaged], name="backup.gz"))
            except (ArtefactCorrupt, ArtefactTruncated):
                continue
            assert found == plain, f"byte {place} was flipped, and other bytes came out without an error"


def encoded(codec: Codec, plain: bytes, level: int | None = None) -> bytes:
    """A whole file, made the way the pipeline does."""
    encoder = codec.encoder(codec.default_level if level is None else level)
    stored = bytearray()
    for block in _in_blocks(plain, encoder.block_bytes) or [memoryview(b"")]:
        for piece in encoder.join(block, encoder.compress(block)):
            stored += piece
    for piece in encoder.finish():
        stored += piece
    return bytes(stored)


@cache
def _encoded_once(compression: Compression, plain: bytes) -> bytes:
    return encoded(CODECS[compression], plain)


def _in_blocks(content: bytes, size: int) -> list[memoryview]:
    return [memoryview(content)[start : start + size] for start in range(0, len(content), size)]
