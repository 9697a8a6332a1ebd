"""Bytes that pass through our hands, as the stream of a dump: a thread feeds a pipe."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from db_backup.stream.process import widen_pipe

_BLOCK_BYTES = 1 << 18


class PipedStream:
    """A ``DumpStream`` of bytes that we make; see ``piped``."""

    def __init__(self, descriptor: int, written: Future[int], name: str, suffix: str) -> None:
        self.name = name
        self.suffix = suffix
        self._descriptor = descriptor
        self._written = written
        self._observed_bytes = 0

    def fileno(self) -> int:
        return self._descriptor

    def observe(self, block: memoryview) -> None:
        self._observed_bytes += block.nbytes

    def is_whole(self) -> bool:
        """Whether all that was written went by. To be asked at the stream's end; raises what its writer raised."""
        return self._written.result() == self._observed_bytes


@contextmanager
def piped(pieces: Iterable[bytes], *, name: str = "main", suffix: str = "sql") -> Iterator[PipedStream]:
    """Write the pieces, in constant memory, while the block runs. What is not read by its end is never written."""
    with ThreadPoolExecutor(1, thread_name_prefix="dump-pipe") as thread, ExitStack() as stack:
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        widen_pipe(reading)
        yield PipedStream(reading, thread.submit(_write, pieces, writing), name, suffix)


def _write(pieces: Iterable[bytes], descriptor: int) -> int:
    """How many bytes there were. A reader that has gone away ends it."""
    size = 0
    pending = bytearray()
    with os.fdopen(descriptor, "wb", buffering=0) as pipe, suppress(BrokenPipeError):
        for piece in pieces:
            pending += piece
            if len(pending) >= _BLOCK_BYTES:
                size += _write_all(pipe.fileno(), pending)
                pending.clear()
        size += _write_all(pipe.fileno(), pending)
    return size


def _write_all(descriptor: int, data: bytearray) -> int:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])
    return written
