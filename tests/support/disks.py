"""Small disks of memory, which can be full, shrink, or be mounted read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def mounted(cls, folder: Path, *, size_kilobytes: int) -> Iterator[Disk]:
        """At a new folder. Skips the test where this user may not mount."""
        folder.mkdir()
        options = f"size={size_kilobytes}k,mode=755"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    def remount(self, *options: str) -> None:
        """``ro``, ``rw``, ``size=…k``."""
        subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(self.folder)], check=True)

    def fill(self) -> Path:
        """With one file, to the last byte; returns it."""
        ballast = self.folder / "ballast"
        with ballast.open("wb") as file:
            while free := shutil.disk_usage(self.folder).free:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free)
        return ballast

    def shrink(self, *, free_kilobytes: int) -> None:
        """Leave so much room and no more."""
        self.remount(f"size={(shutil.disk_usage(self.folder).used >> 10) + free_kilobytes}k")
