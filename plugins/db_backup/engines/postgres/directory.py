"""A directory archive on its way into a tar: pg_dump writes all of it to a private folder before a byte passes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from db_backup.engines.postgres.tar_archive import as_tar
from db_backup.stream.process import ChildProcess


def written_directory(tool: ChildProcess, folder: Path) -> Iterator[bytes]:
    """Waits for the tool, which writes the directory; then its files as a tar. Nothing, when the tool has failed.

    :raises StreamDamaged, OSError: it has not failed, and the directory is not whole.
    """
    if _ended_well(tool):
        yield from as_tar(folder)


def _ended_well(tool: ChildProcess) -> bool:
    """Waits without taking its status from whoever reaps it."""
    try:
        end = os.waitid(os.P_PID, tool.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:  # it was killed, and is reaped already
        return False
    return end is not None and end.si_code == os.CLD_EXITED and end.si_status == 0
