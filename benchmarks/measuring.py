"""One run of a command: how long it took, the CPU that it and its children used, the peak memory of each process."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLED_EVERY_SECONDS = 0.03
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Run:
    """``own_peak_mb``: of the command itself; ``children_peak_mb``: of all its descendants, added up."""

    wall_seconds: float
    cpu_seconds: float
    own_peak_mb: float
    children_peak_mb: float
    stdout: str


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Run:
    """Run it to its end. Database servers are not its children: their work counts in wall time only.

    :raises RuntimeError: its status is not 0; with what it said.
    """
    peaks: dict[int, float] = {}
    ended = threading.Event()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=out, stderr=err)
        watcher = threading.Thread(target=_watch, args=(process.pid, peaks, ended))
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        ended.set()
        watcher.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with status {process.returncode}: {err.read().decode()[-2000:]}")
        own = peaks.pop(process.pid, 0.0)
        return Run(wall, usage.ru_utime + usage.ru_stime, own, sum(peaks.values()), out.read().decode())


def _watch(root: int, peaks: dict[int, float], ended: threading.Event) -> None:
    while not ended.wait(_SAMPLED_EVERY_SECONDS):
        for member in _family(root):
            # The last word, not the highest: between fork and exec a child shows its parent's peak.
            if peak := _peak_mb(member):
                peaks[member] = peak


def _family(root: int) -> list[int]:
    """The process and its descendants; a child belongs to the thread that started it (proc(5), task/…/children)."""
    members = [root]
    for pid in members:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                members += map(int, children.read_text().split())
    return members


def _peak_mb(pid: int) -> float:
    """VmHWM, which begins anew with exec; 0 for a process that has just ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / _MEGABYTE
    return 0.0
