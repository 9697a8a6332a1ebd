"""How long work tells how far it is, and how it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from db_backup.errors import Interrupted


class Progress(Protocol):
    """Told of each stage and of the plain bytes that went by. Implementations throttle themselves; calls are cheap."""

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        """A new stage begins ("dumping carwise"); ``total_bytes``: an estimate of its plain bytes, if any."""

    def advance(self, plain_bytes: int) -> None:
        """So many more plain bytes went by in this stage. Called from one thread at a time."""


class Silent:
    """Progress that nobody watches."""

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, plain_bytes: int) -> None:
        pass


class Cancellation:
    """A request to stop, made by a signal handler, ``on_kill`` or a deadline, from any thread.

    Whoever holds something that must be killed registers it with ``on_cancel``; callbacks run once, in the thread that
    cancels, and must not raise.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._reason: str | None = None

    @property
    def requested(self) -> bool:
        return self._reason is not None

    def cancel(self, reason: str) -> None:
        """Ask for the stop; the second and later calls do nothing."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, ``callback`` is called on cancellation; at once if it was asked for already."""
        with self._lock:
            self._callbacks.append(callback)
            already = self._reason is not None
        try:
            if already:
                callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def check(self) -> None:
        """:raises Interrupted: when a stop was asked for."""
        if self._reason is not None:
            raise Interrupted(f"Stopped: {self._reason}.", hint="Nothing was published; run it again.")
