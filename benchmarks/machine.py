"""What the figures were taken on, in words that name neither the machine nor its folders."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

_BUSY_LOAD = 1.5


def describe() -> list[str]:
    """Lines of text."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return [
        f"{len(os.sched_getaffinity(0))} cores ({_processor()}), {memory:.0f} GB of memory",
        f"{_system()}, Python {platform.python_version()}",
        ", ".join(filter(None, (_version(tool) for tool in ("gzip", "pigz", "zstd", "mydumper")))),
    ]


def load_warning(load: float) -> str:
    """Empty on an idle machine. ``load``: the one-minute load average before the first run."""
    if load <= _BUSY_LOAD:
        return ""
    return (
        f"**The machine was busy with other work** (load average {load:.1f} before the first run): trust ratios only."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    release = platform.freedesktop_os_release()
    return release.get("PRETTY_NAME", release["NAME"])


def _version(tool: str) -> str:
    if shutil.which(tool) is None:
        return ""
    said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    words = (said.stdout or said.stderr).splitlines()[0].replace(",", " ").split()
    number = next(word for word in words if word.lstrip("v")[0].isdigit())
    return f"{tool} {number.lstrip('v')}"
