"""Every codec keeps the contract, and the tool that people have reads what it wrote."""

from __future__ import annotations

from typing import ClassVar

import pytest

from conformance.codec_contract import CodecContract, CompressingCodecContract
from db_backup.model import Compression

pytestmark = pytest.mark.unit


class TestGzip(CompressingCodecContract):
    compression = Compression.GZIP
    stock_tool: ClassVar[list[str]] = ["gzip", "--decompress", "--stdout"]


class TestZstd(CompressingCodecContract):
    compression = Compression.ZSTD
    stock_tool: ClassVar[list[str]] = ["zstd", "--decompress", "--stdout", "--quiet"]


class TestBzip2(CompressingCodecContract):
    compression = Compression.BZIP2
    stock_tool: ClassVar[list[str]] = ["bunzip2", "--stdout"]


class TestLz4(CompressingCodecContract):
    compression = Compression.LZ4
    stock_tool: ClassVar[list[str]] = ["lz4", "--decompress", "--stdout", "--quiet"]


class TestXz(CompressingCodecContract):
    compression = Compression.XZ
    stock_tool: ClassVar[list[str]] = ["xz", "--decompress", "--stdout"]


class TestNone(CodecContract):
    compression = Compression.NONE
    stock_tool: ClassVar[list[str]] = ["cat"]
