"""A command at a real pseudo-terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence


def at_terminal(arguments: Sequence[str], environment: Mapping[str, str], *, columns: int) -> str:
    """What `db-backup ARGUMENTS` writes to a terminal of so many columns: stdout and stderr, less the colours."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "db_backup", *arguments],
        env={**kept, "TERM": "xterm-256color"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    written = b""
    with os.fdopen(outside, "rb", buffering=0) as terminal:
        while True:
            try:
                piece = terminal.read(65_536)
            except OSError:  # how Linux tells that the last writer has closed the terminal
                break
            if not piece:
                break
            written += piece
    process.wait(timeout=60)
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode().replace("\r\n", "\n"))
