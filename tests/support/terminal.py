"""A command at a real pseudo-terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from typing import Self


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


class TerminalSession:
    """A program at a pseudo-terminal that somebody types at. Use it as a context manager.

    ``written``: what the program has written to the terminal, control sequences and all, since what was last waited
    for; ``screen``: before that.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, columns: int = 100, lines: int = 30
    ) -> None:
        self._outside, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        kept = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
        self.written = self.screen = ""
        self.process = subprocess.Popen(
            list(command),
            env={**kept, "TERM": "xterm-256color"},
            stdin=inside,
            stdout=subprocess.PIPE,
            stderr=inside,
            start_new_session=True,  # without our own terminal, which passphrases would be asked for at
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._outside)

    def wait_for(self, text: str) -> None:
        """Until the program has written it; what is before it is ``screen`` then."""
        while text not in self.written:
            assert self._read(), f"The program ended without writing {text!r}: {self.written!r}"
        self.screen, _, self.written = self.written.partition(text)

    def answer(self, answers: Mapping[str, str]) -> str:
        """Until the program ends, whenever it asks one of these: type what belongs to it; returns what was written."""
        shown = ""
        while True:
            for question, reply in answers.items():
                before, asked, after = self.written.partition(question)
                if asked:
                    shown, self.written = shown + before + asked, after
                    self.type(f"{reply}\n")
            if not self._read():
                return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown + self.written).replace("\r\n", "\n")

    def type(self, keys: str) -> None:
        os.write(self._outside, keys.encode())

    def finish(self) -> tuple[int, str]:
        """Exit code and stdout, which is no terminal here."""
        while self._read():
            pass
        out, _ = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode()

    def _read(self) -> bool:
        readable, _, _ = select.select([self._outside], [], [], 60)
        assert readable, f"The program writes nothing more: {self.written!r}"
        try:
            piece = os.read(self._outside, 65_536)
        except OSError:  # how Linux tells that the last writer has closed the terminal
            return False
        self.written += piece.decode(errors="replace")
        return bool(piece)
