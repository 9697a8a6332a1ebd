"""The pipeline alone, in a process of its own: a dump, hashed, compressed, hashed again, thrown away.

python -m benchmarks.pipeline gzip COMMAND…     the standard output of a dump tool
python -m benchmarks.pipeline gzip FILE.sqlite  an image of a SQLite database
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.storage.base import Block
from db_backup.stream.pipeline import Limits, StreamDigest, pump
from db_backup.stream.process import widen_pipe


class FileSource:
    """An open file or pipe for the pipeline, whose bytes nobody counts."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file.fileno()

    def observe(self, block: memoryview) -> None:
        pass


class _Nowhere:
    def write(self, block: Block) -> None:
        pass

    def commit(self) -> None:
        pass

    def abort(self) -> None:
        pass


def _carry(source: IO[bytes], compression: Compression) -> StreamDigest:
    return pump(
        FileSource(source),
        compression=compression,
        level=None,
        sinks=[_Nowhere()],
        limits=Limits(),
        progress=Silent(),
        cancellation=Cancellation(),
    ).end()


def of_tool(command: Sequence[str], compression: Compression) -> StreamDigest:
    """:raises subprocess.CalledProcessError: the tool failed."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tool:
        assert tool.stdout is not None  # noqa: S101
        widen_pipe(tool.stdout.fileno())
        digest = _carry(tool.stdout, compression)
    if tool.returncode:
        raise subprocess.CalledProcessError(tool.returncode, command)
    return digest


def of_image(database: Path, compression: Compression) -> StreamDigest:
    """SQLite's own online copy into a temporary file, and that file."""
    with tempfile.NamedTemporaryFile(dir=database.parent) as image:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(image.name)) as target:
            source.backup(target)
        return _carry(image.file, compression)


if __name__ == "__main__":
    codec, arguments = Compression(sys.argv[1]), sys.argv[2:]
    done = of_image(Path(arguments[0]), codec) if len(arguments) == 1 else of_tool(arguments, codec)
    print(done.stored_bytes)
