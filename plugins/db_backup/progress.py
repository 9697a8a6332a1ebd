"""How long work tells how far it is, and how it is told to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, TypeVar

from db_backup.errors import Interrupted

T = TypeVar("T")


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
    cancels, and must not raise. No lock is held anywhere: a signal handler runs in the middle of the main thread's own
    calls, and would wait for itself. Each callback runs once because taking it off the list is atomic.
    """

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []
        self._reason: str | None = None

    @property
    def requested(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> str:
        """Why it was asked for; empty until then."""
        return self._reason or ""

    def cancel(self, reason: str) -> None:
        """Ask for the stop; the second and later calls do nothing."""
        if self._reason is None:
            self._reason = reason
            self._run_waiting()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """While the block runs, ``callback`` is called on cancellation; at once if it was asked for already."""
        registration = partial(callback)  # equal to nothing but itself, however often one callback is registered
        self._waiting.append(registration)
        try:
            if self._reason is not None:
                self._run_waiting()
            yield
        finally:
            with suppress(ValueError):  # it has run
                self._waiting.remove(registration)

    def check(self) -> None:
        """:raises Interrupted: when a stop was asked for."""
        if self._reason is not None:
            raise Interrupted(f"Stopped: {self._reason}.", hint="Nothing was published; run it again.")

    def watch(self, blocks: Iterable[T]) -> Iterator[T]:
        """The same blocks, until a stop is asked for.

        :raises Interrupted: it was.
        """
        for block in blocks:
            self.check()
            yield block

    def _run_waiting(self) -> None:
        while self._waiting:
            try:
                callback = self._waiting.pop()
            except IndexError:
                return  # another thread has just taken the last one
            callback()
