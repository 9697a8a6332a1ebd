"""Codecs by name: blocks are compressed on several threads and joined into one file that stock tools read.

Independent members, frames or streams of 1 to 3 MiB each: gzip by libdeflate, bzip2, zstd, lz4, xz; none is the bytes
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

from db_backup.errors import UsageError
from db_backup.model import Compression
from db_backup.stream.compression.bzip2 import Bzip2Codec
from db_backup.stream.compression.contract import MEBIBYTE, Codec, Encoder
from db_backup.stream.compression.gzip import GzipCodec
from db_backup.stream.compression.lz4 import Lz4Codec
from db_backup.stream.compression.uncompressed import NoneCodec
from db_backup.stream.compression.xz import XzCodec
from db_backup.stream.compression.zstd import ZstdCodec

__all__ = ["CODECS", "Codec", "Encoder", "MEBIBYTE", "check_level"]

CODECS: Mapping[Compression, Codec] = {
    Compression.GZIP: GzipCodec(),
    Compression.BZIP2: Bzip2Codec(),
    Compression.ZSTD: ZstdCodec(),
    Compression.LZ4: Lz4Codec(),
    Compression.XZ: XzCodec(),
    Compression.NONE: NoneCodec(),
}


def check_level(compression: Compression, level: int | None) -> int | None:
    """The level to use: the one asked for, or the codec's default.

    :raises UsageError: out of range, or a level for a codec that has none.
    """
    codec = CODECS[compression]
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
