"""The streams of one dump at the same time: each has a thread of its own, and one that fails stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from db_backup.errors import Interrupted
from db_backup.model import Compression
from db_backup.progress import Cancellation, Progress
from db_backup.storage.base import Sink
from db_backup.stream.intake import Intake, PlainSource
from db_backup.stream.pipeline import Encryption, Limits, StoredBytes, StreamDigest, UnendedPart, pump, usable_cores


@dataclass(frozen=True)
class Target:
    """Where one part of a stream goes; what does not fit into it goes into a next one.

    :param at_most_bytes: how many plain bytes it holds; None: all there are.
    """

    sinks: Sequence[Sink]
    encryption: Encryption | None = None
    at_most_bytes: int | None = None


@dataclass(frozen=True)
class Route:
    """Where one stream goes.

    :param open_part: gives the first, second … part of it, one after the other, in the stream's own thread.
    :param ended: called when it was read to its end; what it raises stops the other streams.
    """

    source: PlainSource
    open_part: Callable[[int], Target]
    ended: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class UnendedStream:
    """A stream that was read to its end, whose last part is still to be ended. ``full``: the parts before it."""

    full: tuple[StreamDigest, ...]
    last: UnendedPart

    def end(self) -> tuple[StreamDigest, ...]:
        """All of its parts. Raises what ``UnendedPart.end`` raises."""
        return (*self.full, self.last.end())


def pump_all(
    routes: Sequence[Route],
    *,
    compression: Compression,
    level: int | None,
    limits: Limits,
    progress: Progress,
    cancellation: Cancellation,
    database: str = "",
) -> tuple[UnendedStream, ...]:
    """``pump`` for every route at once; ``limits`` hold for all of them together.

    In the order of the routes, for the caller to end once the dump is known to be whole. A source that ends where a
    part is full leaves no empty part behind.

    When an error is raised here, every thread has ended. It is the first that was met, of those that
    ``pump`` and ``ended`` raise.
    """
    stored = StoredBytes()
    together = Cancellation()
    watched = _Serialised(progress)

    def carry(route: Route) -> UnendedStream:
        intake = Intake(route.source)
        full: list[StreamDigest] = []
        while True:
            target = route.open_part(len(full) + 1)
            part = pump(
                intake,
                compression=compression,
                level=level,
                sinks=target.sinks,
                limits=limits,
                progress=watched,
                cancellation=together,
                database=database,
                threads=max(1, usable_cores() // len(routes)),
                stored=stored,
                encryption=target.encryption,
                at_most_bytes=target.at_most_bytes,
            )
            if intake.ended:
                route.ended()
                return UnendedStream(tuple(full), part)
            full.append(part.end())

    with cancellation.on_cancel(lambda: together.cancel(cancellation.reason)):
        if len(routes) == 1:
            return (carry(routes[0]),)
        with ThreadPoolExecutor(len(routes), thread_name_prefix="pump") as pool:
            running = [pool.submit(carry, route) for route in routes]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
            finally:  # where all went well nobody listens any more
                together.cancel("another stream of this dump failed")
        return _results(running)


def _results(ended: Sequence[Future[UnendedStream]]) -> tuple[UnendedStream, ...]:
    """:raises BackupError: what went wrong; the stop of the others that followed from it is not told."""
    failures = [failure for future in ended if (failure := future.exception()) is not None]
    for failure in failures:
        if not isinstance(failure, Interrupted):
            raise failure
    return tuple(future.result() for future in ended)


class _Serialised:
    """Progress that several threads report to: it is told by one at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        with self._lock:
            self._progress.stage(description, total_bytes)

    def advance(self, plain_bytes: int) -> None:
        with self._lock:
            self._progress.advance(plain_bytes)
