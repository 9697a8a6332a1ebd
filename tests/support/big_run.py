"""A fresh process that carries a given number of bytes into a local storage and reads them back; prints its peak.

python -m support.big_run COMPRESSION LEVEL BYTES FOLDER → {"plain_bytes", "stored_bytes", "read_bytes", "peak_bytes"}
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from db_backup.manifest import Part
from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.storage import LocalStorage
from db_backup.stream.pipeline import Limits, pump
from db_backup.stream.process import widen_pipe
from db_backup.stream.reader import read_plain

# A dump tool that never tires: 8 MiB of SQL, again and again, as fast as the pipe takes it.
_TOOL = """
import sys
from support.sample_data import sql_dump
block, left = sql_dump(8 << 20), int(sys.argv[1])
while left:
    left -= sys.stdout.buffer.write(block[:left])
"""


class _Stdout:
    def __init__(self, tool: subprocess.Popen[bytes]) -> None:
        assert tool.stdout is not None
        self._stdout = tool.stdout
        widen_pipe(self.fileno())

    def fileno(self) -> int:
        return self._stdout.fileno()

    def observe(self, block: memoryview) -> None:
        pass


def _peak_bytes() -> int:
    """VmHWM begins anew with exec; ``ru_maxrss`` would tell the parent's peak if that was higher (proc(5))."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def main(compression: Compression, level: int | None, size: int, root: Path) -> dict[str, int]:
    storage = LocalStorage("local", root)
    storage.initialise()
    sink = storage.open_sink("database/big.gz")
    with subprocess.Popen([sys.executable, "-c", _TOOL, str(size)], stdout=subprocess.PIPE) as tool:
        digest = pump(
            _Stdout(tool),
            compression=compression,
            level=level,
            sinks=[sink],
            limits=Limits(),
            progress=Silent(),
            cancellation=Cancellation(),
        )
    sink.commit()
    part = Part(
        path="big.gz",
        stored_bytes=digest.stored_bytes,
        stored_sha256=digest.stored_sha256,
        plain_bytes=digest.plain_bytes,
        plain_sha256=digest.plain_sha256,
        compression=compression,
    )
    read = sum(map(len, read_plain(storage.read("database/big.gz"), part, progress=Silent())))
    return {
        "plain_bytes": digest.plain_bytes,
        "stored_bytes": digest.stored_bytes,
        "read_bytes": read,
        "peak_bytes": _peak_bytes(),
    }


if __name__ == "__main__":
    _, name, level_text, size_text, folder = sys.argv
    print(json.dumps(main(Compression(name), int(level_text) if level_text else None, int(size_text), Path(folder))))
