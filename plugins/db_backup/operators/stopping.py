"""How a task that works is told to stop: by ``on_kill``, or by an exception that nobody expected."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from db_backup.progress import Cancellation


class Stopping:
    """A cancellation that a signal handler may ask for; use it as a context manager around the work.

    Airflow calls ``on_kill`` from its SIGTERM handler, in the very thread that works, at any instruction: taking a lock
    there could wait for ever for a lock which that thread holds. ``SimpleQueue.put`` is made for signal handlers; a
    thread of its own then cancels. Leaving the block by an exception cancels as well: ``AirflowTaskTimeout`` is raised
    in the middle of anything.
    """

    def __init__(self) -> None:
        self.cancellation = Cancellation()
        self._reasons: SimpleQueue[str | None] = SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, name="stop-requests", daemon=True)

    def ask(self, reason: str) -> None:
        """Ask for the stop; returns at once. Safe in a signal handler."""
        self._reasons.put(reason)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.cancellation.cancel(f"the task ended with {type(error).__name__}")
        self._reasons.put(None)
        self._watcher.join()

    def _watch(self) -> None:
        reason = self._reasons.get()
        if reason is not None:
            self.cancellation.cancel(reason)
