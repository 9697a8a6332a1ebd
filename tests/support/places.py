"""Where the tests put what is temporary: in memory where there is room.

Servers that tests start, and we ourselves, wait for the disk at every commit. That is a quarter of the suite's time,
and nothing is proved by it: a power cut is no part of any test.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

CHOSEN = "DB_BACKUP_TESTS_FOLDER"  # an existing folder, which is left as the tests leave it
_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 6 << 30


def choose_temporary_folder() -> Path:
    """The ``TMPDIR`` of this process and its children; unprivileged servers can pass through it."""
    if CHOSEN not in os.environ:
        in_memory = _free_memory_bytes() >= _NEEDED_BYTES
        folder = tempfile.mkdtemp(prefix="dbb-", dir=_MEMORY if in_memory else "/tmp")  # short: sockets lie in it
        os.environ[CHOSEN] = folder
        atexit.register(_remove, folder, os.getpid())
        Path(folder).chmod(0o1777)
    os.environ["TMPDIR"] = tempfile.tempdir = os.environ[CHOSEN]
    return Path(tempfile.tempdir)


def _free_memory_bytes() -> int:
    """What can be written into the folder of memory; 0 where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
        return min(available, shutil.disk_usage(_MEMORY).free)
    except (OSError, StopIteration):
        return 0


def _remove(folder: str, owner: int) -> None:
    """Not when a process ends that was forked from the one that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
