"""A fresh process that carries a given number of bytes into a local storage and reads them back; prints its peak.

python -m support.big_run COMPRESSION LEVEL BYTES encrypted|plain FOLDER
→ {"plain_bytes", "stored_bytes", "read_bytes", "peak_bytes"}
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from db_backup.encryption import CIPHER, DataKey
from db_backup.manifest import Cipher, Part
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


def main(compression: Compression, level: int | None, size: int, encrypted: bool, root: Path) -> dict[str, int]:
    storage = LocalStorage("local", root)
    storage.initialise()
    sink = storage.open_sink("database/big.gz")
    key = DataKey.generate() if encrypted else None
    with subprocess.Popen([sys.executable, "-c", _TOOL, str(size)], stdout=subprocess.PIPE) as tool:
        digest = pump(
            _Stdout(tool),
            compression=compression,
            level=level,
            sinks=[sink],
            limits=Limits(),
            progress=Silent(),
            cancellation=Cancellation(),
            encryption=partial(key.encryptor, backup_id="big", part="big.gz") if key else None,
        ).end()
    sink.commit()
    part = Part(
        path="big.gz",
        stored_bytes=digest.stored_bytes,
        stored_sha256=digest.stored_sha256,
        plain_bytes=digest.plain_bytes,
        plain_sha256=digest.plain_sha256,
        compression=compression,
        cipher=Cipher(name=CIPHER, key_id=key.fingerprint) if key else None,
    )
    read = sum(map(len, read_plain(storage.read("database/big.gz"), part, progress=Silent(), key=key)))
    return {
        "plain_bytes": digest.plain_bytes,
        "stored_bytes": digest.stored_bytes,
        "read_bytes": read,
        "peak_bytes": _peak_bytes(),
    }


if __name__ == "__main__":
    _, name, level_text, size_text, closed, folder = sys.argv
    level = int(level_text) if level_text else None
    print(json.dumps(main(Compression(name), level, int(size_text), closed == "encrypted", Path(folder))))
