"""The shell command that unpacks a backup's parts, run by a shell with the system's own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conformance.codec_contract import encoded
from db_backup.engines.stock import unpack_command
from db_backup.model import Compression
from db_backup.naming import CODEC_SUFFIX
from db_backup.stream.compression import CODECS
from support.factories import make_part

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("compression", Compression, ids=str)
def test_the_parts_come_out_one_after_the_other_and_stay_as_they_are(
    tmp_path: Path, compression: Compression, count: int
) -> None:
    names = [f"it's part {number}.sql{CODEC_SUFFIX[compression]}" for number in range(count)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(CODECS[compression], f"-- part {number}\n".encode() * 1000))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    done = subprocess.run(
        ["sh", "-c", unpack_command([make_part(name, compression=compression) for name in names])],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )

    assert done.stdout == b"".join(f"-- part {number}\n".encode() * 1000 for number in range(count))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
