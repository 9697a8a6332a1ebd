"""Reading what a dump tool writes, as it comes, into one part after another."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Protocol

LOOK_UP_SECONDS = 0.1  # how often a wait looks up for cancellation, deadline and failure


class PlainSource(Protocol):
    """Where the plain bytes come from: a pipe or a regular file. ``DumpStream`` is one."""

    def fileno(self) -> int: ...

    def observe(self, block: memoryview) -> None:
        """Shown each plain byte, in order, once, in the thread that called ``pump``, up to 256 KiB a time.

        The memory is reused after.
        """


class Intake:
    """A source that is read into one part after another, and whether there is more of it."""

    def __init__(self, source: PlainSource) -> None:
        self.source = source
        self.ended = False
        self._ahead = b""
        self._poll = select.poll()
        self._poll.register(source.fileno(), select.POLLIN)

    def fill(self, view: memoryview, may_go_on: Callable[[], bool]) -> int | None:
        """As much as there is room for, less only at the source's end; None when it may not go on.

        :raises OSError: it cannot be read.
        """
        filled = len(self._ahead)
        view[:filled] = self._ahead
        self._ahead = b""
        while filled < len(view) and not self.ended:
            if not may_go_on():
                return None
            if not self._poll.poll(LOOK_UP_SECONDS * 1000):
                continue
            count = os.readv(self.source.fileno(), [view[filled:]])
            self.ended = count == 0
            filled += count
        return filled

    def look_ahead(self, may_go_on: Callable[[], bool]) -> None:
        """Wait until it is known whether there is more. :raises OSError: it cannot be read."""
        byte = bytearray(1)
        if self.fill(memoryview(byte), may_go_on):
            self._ahead = bytes(byte)
