"""Which codecs there are, and the promise about gzip 9."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.codec_contract import encoded
from db_backup.errors import FeatureNotAvailable
from db_backup.model import Compression
from db_backup.stream.compression import MEBIBYTE, check_level, codec_for
from support import sample_data

pytestmark = pytest.mark.unit

_SIZE = 5 * MEBIBYTE + 12_345
_NOISE = random.Random(8).randbytes(4 * MEBIBYTE)
_SAMPLES = Path(__file__).parents[3] / "shared" / "data"


def _gzip(plain: bytes, level: int = 9) -> int:
    command = ["gzip", f"-{level}", "--no-name", "--stdout"]
    return len(subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout)


def _ours(plain: bytes, level: int = 9) -> int:
    return len(encoded(codec_for(Compression.GZIP), plain, level))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: sample_data.prose(_SIZE), id="prose"),
        pytest.param(lambda: sample_data.sql_dump(_SIZE), id="sql"),
        pytest.param(lambda: sample_data.json_lines(_SIZE), id="json"),
        pytest.param(lambda: sample_data.numbers(_SIZE), id="numbers"),
        pytest.param(lambda: sample_data.rows_of_padding(_SIZE), id="rows of padding"),
        pytest.param(lambda: sample_data.rows_of_padding(30 * MEBIBYTE), id="many rows of padding"),
        pytest.param(lambda: sample_data.rows_of_flags(30 * MEBIBYTE), id="rows of flags"),
        pytest.param(lambda: sample_data.accounts(_SIZE), id="pgbench"),
        pytest.param(lambda: b"INSERT INTO t VALUES (1,'hello world');\n" * 400_000, id="one line again and again"),
        pytest.param(lambda: bytes(40 * MEBIBYTE), id="zeros"),
        pytest.param(lambda: b" " * _SIZE, id="spaces"),
        pytest.param(lambda: b"ab" * _SIZE, id="two letters"),
        pytest.param(lambda: _NOISE, id="noise"),
        pytest.param(lambda: _NOISE[:32_000] * 300, id="a repeated blob of 32 kB"),
        pytest.param(lambda: _NOISE[:2_000] * 4000, id="a repeated blob of 2 kB"),
        pytest.param(lambda: _NOISE + bytes(_SIZE) + _NOISE, id="zeros amid noise"),
        pytest.param(
            lambda: b"".join(
                sample_data.sql_dump(_SIZE)[start : start + MEBIBYTE] + bytes(MEBIBYTE)
                for start in range(0, _SIZE, MEBIBYTE)
            ),
            id="sql and zeros by turns",
        ),
        pytest.param(
            lambda: sample_data.rows_of_flags(20 * MEBIBYTE) + sample_data.rows_of_padding(20 * MEBIBYTE),
            id="flags, then padding",
        ),
    ],
)
def test_level_9_is_never_larger_than_gzip_9(make: Callable[[], bytes]) -> None:
    plain = make()

    assert _ours(plain) <= _gzip(plain)


@pytest.mark.parametrize("name", ["chinook_mysql.sql", "chinook_postgres.sql", "chinook.sqlite"])
def test_level_9_is_never_larger_than_gzip_9_on_real_databases(name: str) -> None:
    path = _SAMPLES / name
    if not path.exists():
        pytest.skip(f"the sample database {name} is not on this machine")
    plain = path.read_bytes()

    assert _ours(plain) <= _gzip(plain)


@pytest.mark.parametrize("size", [0, 1, 5, 20, 100, 1000, 10_000, 100_000, MEBIBYTE])
def test_level_9_is_never_larger_than_gzip_9_on_databases_of_one_block(size: int) -> None:
    for kind in (sample_data.prose, sample_data.sql_dump, sample_data.numbers, sample_data.counters):
        assert _ours(kind(size)) <= _gzip(kind(size)), kind.__name__


def test_a_20_kilobyte_blob_repeated_costs_little_more_than_with_gzip_9() -> None:
    """Independent members alone would take 2.4 times as much; where gzip cuts its first block, zlib cannot."""
    plain = _NOISE[:20_000] * 2000

    assert _ours(plain) <= _gzip(plain) * 1.04


def test_bare_counters_cost_little_more_than_with_gzip_9() -> None:
    plain = sample_data.counters(2 * MEBIBYTE)

    assert _ours(plain) <= _gzip(plain) * 1.002


def test_higher_levels_are_smaller_over_all() -> None:
    plain = sample_data.sql_dump(_SIZE) + sample_data.json_lines(_SIZE)

    assert _ours(plain, 9) < _ours(plain, 6) < _ours(plain, 3) < _ours(plain, 1)


@pytest.mark.parametrize("compression", [Compression.BZIP2, Compression.LZ4, Compression.XZ])
def test_codecs_that_come_later_are_refused_by_name(compression: Compression) -> None:
    with pytest.raises(FeatureNotAvailable, match=f"'{compression}' is not available") as refusal:
        codec_for(compression)

    assert "gzip, zstd, none" in refusal.value.hint
    with pytest.raises(FeatureNotAvailable):
        check_level(compression, 5)


def test_the_levels_are_those_of_the_specification() -> None:
    levels = {compression: codec_for(compression).levels for compression in (Compression.GZIP, Compression.ZSTD)}

    assert levels == {Compression.GZIP: range(1, 10), Compression.ZSTD: range(1, 20)}
    assert (check_level(Compression.GZIP, None), check_level(Compression.ZSTD, None)) == (9, 3)


def test_output_that_fills_a_block_just_as_its_input_ends_is_not_lost() -> None:
    """About 1 kB of zlib's zeros make 1 MiB: one of these cuts falls where the decompressor holds some back."""
    plain = bytes(3 * MEBIBYTE)
    stored = encoded(codec_for(Compression.GZIP), plain, 9)

    for cut in range(980, 1080):
        assert b"".join(codec_for(Compression.GZIP).decompress([stored[:cut], stored[cut:]], name="it")) == plain
    assert b"".join(codec_for(Compression.GZIP).decompress([stored], name="it")) == plain
