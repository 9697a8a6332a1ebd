"""Sources and sinks for the pipeline's tests."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.storage.base import Block, Sink
from db_backup.stream.intake import PlainSource
from db_backup.stream.pipeline import Limits, StreamDigest, pump


class Source:
    """A descriptor to read; remembers what it was shown, and in which threads."""

    def __init__(self, descriptor: int, *, observer: Callable[[memoryview], None] | None = None) -> None:
        self._descriptor = descriptor
        self._observer = observer
        self.observed = bytearray()
        self.observers: set[threading.Thread] = set()

    def fileno(self) -> int:
        return self._descriptor

    def observe(self, block: memoryview) -> None:
        self.observed += block
        self.observers.add(threading.current_thread())
        if self._observer is not None:
            self._observer(block)


class MemorySink:
    """Keeps what is written and the names of the methods that were called; runs ``before`` each write."""

    def __init__(self, before: Callable[[MemorySink], None] | None = None) -> None:
        self._before = before
        self.content = bytearray()
        self.calls: list[str] = []

    def write(self, block: Block) -> None:
        if self._before is not None:
            self._before(self)
        self.content += block
        self.calls.append("write")

    def commit(self) -> None:
        self.calls.append("commit")

    def abort(self) -> None:
        self.calls.append("abort")


@contextmanager
def piped(content: bytes, *, then_silent: bool = False) -> Iterator[int]:
    """The reading end of a pipe that a thread fills; ``then_silent``: it stays open after that, and says nothing."""
    reading, writing = os.pipe()
    release = threading.Event()

    def feed() -> None:
        view = memoryview(content)
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(writing, view[:65_536]) :]
            if then_silent:
                release.wait()
        os.close(writing)

    feeder = threading.Thread(target=feed, name="feed")
    feeder.start()
    try:
        yield reading
    finally:
        release.set()
        os.close(reading)
        feeder.join()


def run_pump(
    source: PlainSource,
    *sinks: Sink,
    compression: Compression = Compression.GZIP,
    level: int | None = 1,
    limits: Limits | None = None,
    cancellation: Cancellation | None = None,
) -> StreamDigest:
    """``pump`` for the database ``shop``, with what a test does not care about filled in."""
    return pump(
        source,
        compression=compression,
        level=None if compression is Compression.NONE else level,
        sinks=sinks,
        limits=limits or Limits(),
        progress=Silent(),
        cancellation=cancellation or Cancellation(),
        database="shop",
    ).end()
