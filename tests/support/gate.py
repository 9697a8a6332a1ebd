"""A dump tool that stands still in the middle: the real one, whose output waits at a gate until a test opens it."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from support.lab import EngineLab

_REACHED_SECONDS = 60
_BYTES_BEFORE = 1_500_000  # more than pipes hold: the tool is then in the middle of a large table


class Gate:
    """Put ``path`` in place of PATH, and a database in place that dumps to several megabytes.

    The tool itself is what our process starts; only what it prints goes through the gate.
    """

    def __init__(self, folder: Path, lab: EngineLab) -> None:
        assert lab.dump_tool is not None
        self._folder = folder
        folder.mkdir()
        self.path = f"{folder}:{os.environ['PATH']}"
        self._closed = folder / "closed"
        self._closed.touch()
        here, real = shlex.quote(str(folder)), shlex.quote(str(lab.real_dump_tool()))
        script = folder / lab.dump_tool
        script.write_text(
            "#!/bin/bash\n"
            f'for argument; do case "$argument" in --version|-V) exec {real} "$@";; esac; done\n'
            f"echo $$ > {here}/pid\n"
            f'exec {real} "$@" > >(head -c {_BYTES_BEFORE}; touch {here}/reached\n'
            f"    while [ -e {here}/closed ]; do sleep 0.02; done; exec cat)\n"
        )
        script.chmod(0o755)

    def wait_until_reached(self) -> int:
        """Until the dump is in its middle; returns the tool's process id."""
        deadline = time.monotonic() + _REACHED_SECONDS
        while not (self._folder / "reached").exists():
            assert time.monotonic() < deadline, "the dump tool has not come to the gate"
            time.sleep(0.01)
        return int((self._folder / "pid").read_text())

    def open(self) -> None:
        """Let the rest through."""
        self._closed.unlink(missing_ok=True)
