"""Memory does not grow with the database: 2 GB go into a local storage, encrypted, and back in under 150 MB.

With the other codecs fewer do: were a fifth of their bytes kept, it would show. At high levels, which are slow, as many
as fill the queue of blocks (threads and three more), for it is these that take the memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from db_backup.model import Compression

pytestmark = pytest.mark.unit

_GIGABYTE = 10**9
_MEGABYTE = 10**6


@pytest.mark.parametrize(
    ("compression", "level", "size", "closed"),
    [
        pytest.param(Compression.GZIP, 1, 2 * _GIGABYTE, "encrypted", id="gzip, 2 GB, encrypted"),
        pytest.param(Compression.ZSTD, 3, 800 * _MEGABYTE, "plain", id="zstd, 800 MB"),
        pytest.param(Compression.NONE, None, 400 * _MEGABYTE, "plain", id="none, 400 MB"),
        pytest.param(Compression.GZIP, 9, 20 * _MEGABYTE, "plain", id="gzip 9, 20 MB"),
        pytest.param(Compression.BZIP2, 9, 10 * _MEGABYTE, "plain", id="bzip2 9, 10 MB"),
        pytest.param(Compression.LZ4, 1, 800 * _MEGABYTE, "plain", id="lz4, 800 MB"),
        pytest.param(Compression.XZ, 6, 12 * _MEGABYTE, "plain", id="xz 6, 12 MB"),
        pytest.param(Compression.XZ, 9, 17 * _MEGABYTE, "plain", id="xz 9, 17 MB"),
        pytest.param(Compression.ZSTD, 19, 10 * _MEGABYTE, "plain", id="zstd 19, 10 MB"),
    ],
)
def test_peak_memory_stays_under_150_megabytes(
    compression: Compression, level: int | None, size: int, closed: str, tmp_path: Path
) -> None:
    tests = Path(__file__).parents[1]
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "support.big_run",
            compression,
            "" if level is None else str(level),
            str(size),
            closed,
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent / 'plugins'}"},
        stdout=subprocess.PIPE,
        check=True,
    )
    (tmp_path / "database" / "big.gz").unlink()

    figures = json.loads(run.stdout)
    assert (figures["plain_bytes"], figures["read_bytes"]) == (size, size)
    assert figures["peak_bytes"] < 150 * _MEGABYTE
