"""One pass over a dump: read, hash, compress on several threads, encrypt, hash again, write to every sink.

The memory is a ring of reusable blocks: a slow sink holds the ring, an empty ring holds the reader, and a reader that
does not read holds the dump tool. Nothing grows with the size of the database.

The sinks are fed one after the other, by one thread. One for each sink would gain little: an object storage's sink
sends in the background, and a local file's bytes are the kernel's to write; and it would cost a copy of every block, or
a ring that the slowest of them holds.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from db_backup.encryption import Encryptor
from db_backup.errors import DumpFailed, SizeLimitExceeded, TimeLimitExceeded
from db_backup.model import Compression
from db_backup.progress import Cancellation, Progress
from db_backup.storage.base import Block, Sink
from db_backup.stream.compression import CODECS, check_level
from db_backup.stream.intake import LOOK_UP_SECONDS, Intake, PlainSource

# In flight beside the blocks being compressed: one being read, one being written, one waiting.
_EXTRA_BLOCKS = 3
# Observers copy what they are shown, some several times: whole blocks of zstd took 15 MB more.
_OBSERVED_BYTES = 256 << 10
_MEBIBYTE = 1 << 20
_LEAST_OBJECT_BYTES = 4096  # frames of the first block and of the cipher, generously


@dataclass(frozen=True)
class Limits:
    """Where a backup stops.

    :param max_stored_bytes: BACKUP_MAX_SIZE_MB in bytes; None: no limit.
    :param deadline: when to give up, as ``time.monotonic()`` counts; None: never.
    :param timeout_seconds: BACKUP_TIMEOUT_SECONDS, which led to ``deadline``; for the message only.
    """

    max_stored_bytes: int | None = None
    deadline: float | None = None
    timeout_seconds: float | None = None


class StoredBytes:
    """How much a backup has stored so far; one for all of its streams, which may be pumped at the same time."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def add(self, size_bytes: int) -> int:
        """Count so many more; returns how many it is by now."""
        with self._lock:
            self._count += size_bytes
            return self._count


@dataclass(frozen=True)
class StreamDigest:
    """What went in and what came out."""

    plain_bytes: int
    plain_sha256: str
    stored_bytes: int
    stored_sha256: str


@dataclass(frozen=True)
class UnendedPart:
    """A part that is whole in its sinks, but for what ends its encryption: it does not decrypt as complete yet.

    One that is never ended is no part, and needs nothing else.

    :param end: writes that, once it is known that what was read is whole. To be called once, from any thread; raises
        what a sink raises, and SizeLimitExceeded.
    """

    end: Callable[[], StreamDigest]


#: Makes what encrypts one part, given where its encrypted bytes go.
Encryption = Callable[[Callable[[Block], object]], Encryptor]


def pump(
    source: PlainSource | Intake,
    *,
    compression: Compression,
    level: int | None,
    sinks: Sequence[Sink],
    limits: Limits,
    progress: Progress,
    cancellation: Cancellation,
    database: str = "",
    threads: int | None = None,
    stored: StoredBytes | None = None,
    encryption: Encryption | None = None,
    at_most_bytes: int | None = None,
) -> UnendedPart:
    """Carry all of ``source`` into every sink, compressed, as one part, which the caller ends.

    Committing or aborting the sinks is left to the caller as well: what is in them is whole only when the part was
    ended. An encrypted part that was not never decrypts as complete: a source that ends may do so because what feeds it
    has failed, which is known only later.

    Whatever goes wrong in any thread, all threads have ended when the error is raised here. Cancellation and deadline
    are noticed while the source is silent; a sink that hangs in ``write`` is waited for.

    :param database: whom errors name.
    :param threads: how many may compress; None: as many as there are cores.
    :param stored: what ``limits`` count, where this is one of several streams or parts.
    :param encryption: None: not encrypted. ``limits`` count encrypted bytes.
    :param at_most_bytes: how many plain bytes the part may hold; ``Intake.ended`` then tells whether there are more.
    :raises Interrupted: cancelled.
    :raises TimeLimitExceeded, SizeLimitExceeded: beyond ``limits``.
    :raises DumpFailed: the source cannot be read.
    :raises UsageError: no such level.
    """
    run = _Run(
        source if isinstance(source, Intake) else Intake(source),
        compression,
        level,
        sinks,
        limits,
        progress,
        cancellation,
        database,
        threads=threads or usable_cores(),
        stored=stored or StoredBytes(),
        encryption=encryption,
        at_most_bytes=at_most_bytes,
    )
    run.carry()
    return UnendedPart(run.end)


@dataclass(frozen=True)
class _InFlight:
    """A block on its way from the reader to the writer."""

    buffer: bytearray
    plain: memoryview
    compressed: Future[Block]


class _Run:
    """The reader is the calling thread; a pool compresses; one thread writes, in order."""

    def __init__(
        self,
        intake: Intake,
        compression: Compression,
        level: int | None,
        sinks: Sequence[Sink],
        limits: Limits,
        progress: Progress,
        cancellation: Cancellation,
        database: str,
        *,
        threads: int,
        stored: StoredBytes,
        encryption: Encryption | None,
        at_most_bytes: int | None,
    ) -> None:
        self._intake = intake
        self._at_most_bytes = at_most_bytes
        self._encoder = CODECS[compression].encoder(check_level(compression, level))
        self._encryptor = encryption(self._store) if encryption else None
        self._sinks = sinks
        self._limits = limits
        self._stored_together = stored
        self._progress = progress
        self._cancellation = cancellation
        self._of_database = f" of '{database}'" if database else ""
        self._database = database or None
        self._started = time.monotonic()

        threads = min(threads, self._encoder.max_threads)
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        for _ in range(threads + _EXTRA_BLOCKS):
            self._free.put(bytearray(self._encoder.block_bytes))
        self._in_flight: queue.SimpleQueue[_InFlight | None] = queue.SimpleQueue()  # bounded by the ring
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compress")
        self._writer = threading.Thread(target=self._write_all, name="write", daemon=True)

        self._failing = threading.Event()
        self._failure: BaseException | None = None
        self._failure_lock = threading.Lock()
        self._plain_bytes = self._stored_bytes = 0
        self._plain_hash, self._stored_hash = hashlib.sha256(), hashlib.sha256()

    def carry(self) -> None:
        """All but the end of the encryption."""
        self._writer.start()
        try:
            self._read_all()
            self._in_flight.put(None)
            self._await_writer()
        except BaseException as error:  # noqa: BLE001 - raised again below, once every thread has ended
            self._fail(error)
        finally:
            self._in_flight.put(None)
            self._writer.join()
            self._pool.shutdown(cancel_futures=True)
        if self._failure is not None:
            if self._encryptor is not None:
                self._encryptor.abandon()
            raise self._failure

    def end(self) -> StreamDigest:
        if self._encryptor is not None:
            self._encryptor.finish()
        return StreamDigest(
            self._plain_bytes, self._plain_hash.hexdigest(), self._stored_bytes, self._stored_hash.hexdigest()
        )

    # The reader: the calling thread

    def _read_all(self) -> None:
        left = self._at_most_bytes
        first = True
        while (first or not self._intake.ended) and (buffer := self._next_free()) is not None:
            plain = self._fill(memoryview(buffer)[:left])
            if plain is None or not (plain or first):
                return
            first = False
            # Handed out first: it is compressed while it is hashed and observed here.
            self._in_flight.put(_InFlight(buffer, plain, self._pool.submit(self._encoder.compress, plain)))
            self._plain_hash.update(plain)
            self._plain_bytes += len(plain)
            for start in range(0, len(plain), _OBSERVED_BYTES):
                self._intake.source.observe(plain[start : start + _OBSERVED_BYTES])
            self._progress.advance(len(plain))
            if left is not None and (left := left - len(plain)) == 0:
                with self._explained():
                    self._intake.look_ahead(self._may_go_on)
                return

    def _next_free(self) -> bytearray | None:
        """A block of the ring; None when another thread has failed."""
        while self._may_go_on():
            try:
                return self._free.get(timeout=LOOK_UP_SECONDS)
            except queue.Empty:
                continue
        return None

    def _fill(self, view: memoryview) -> memoryview | None:
        """A block as full as the source makes it, shorter only at its end; None when another thread has failed."""
        with self._explained():
            filled = self._intake.fill(view, self._may_go_on)
        return None if filled is None else view[:filled]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DumpFailed(
                f"The dump{self._of_database} cannot be read: {error.strerror}.",
                hint="See the log of the machine that runs the backup for failing disks.",
                database=self._database,
            ) from error

    def _await_writer(self) -> None:
        while self._writer.is_alive():
            self._may_go_on()
            self._writer.join(LOOK_UP_SECONDS)

    def _may_go_on(self) -> bool:
        """Whether no other thread has failed.

        :raises Interrupted, TimeLimitExceeded: it is this run that must stop.
        """
        self._cancellation.check()
        if self._limits.deadline is not None and (late := time.monotonic() - self._limits.deadline) > 0:
            raise self._out_of_time(late)
        return not self._failing.is_set()

    # The writer: a thread of its own

    def _write_all(self) -> None:
        write = self._store if self._encryptor is None else self._encryptor.write
        try:
            while (block := self._in_flight.get()) is not None:
                if self._failing.is_set():
                    return
                for piece in self._encoder.join(block.plain, block.compressed.result()):
                    write(piece)
                self._free.put(block.buffer)
            if not self._failing.is_set():
                for piece in self._encoder.finish():
                    write(piece)
        except BaseException as error:  # noqa: BLE001 - raised again by carry
            self._fail(error)

    def _store(self, piece: Block) -> None:
        size = self._stored_together.add(len(piece))
        if self._limits.max_stored_bytes is not None and size > self._limits.max_stored_bytes:
            raise self._too_large(size, self._limits.max_stored_bytes)
        self._stored_hash.update(piece)
        for sink in self._sinks:
            sink.write(piece)
        self._stored_bytes += len(piece)

    # Failing

    def _fail(self, error: BaseException) -> None:
        """The first failure is the one that is told; what follows from it is not."""
        with self._failure_lock:
            if self._failure is None:
                self._failure = error
        self._failing.set()

    def _too_large(self, size_bytes: int, limit_bytes: int) -> SizeLimitExceeded:
        return SizeLimitExceeded(
            f"The backup{self._of_database} has reached {size_bytes / _MEBIBYTE:,.1f} MB stored, and BACKUP_MAX_SIZE_MB"
            f" allows {limit_bytes / _MEBIBYTE:,.1f} MB.",
            hint="Raise BACKUP_MAX_SIZE_MB (0 = no limit), or compress more.",
            database=self._database,
        )

    def _out_of_time(self, late_seconds: float) -> TimeLimitExceeded:
        limit = self._limits.timeout_seconds
        spent = time.monotonic() - self._started if limit is None else limit + late_seconds
        allowed = "no more" if limit is None else f"{limit:,.0f} seconds"
        return TimeLimitExceeded(
            f"The backup{self._of_database} has run for {spent:,.1f} seconds, and BACKUP_TIMEOUT_SECONDS allows"
            f" {allowed}.",
            hint="Raise BACKUP_TIMEOUT_SECONDS, or find out what slows the dump.",
            database=self._database,
        )


def most_plain_bytes(stored_bytes: int) -> int:
    """How many plain bytes surely fit into an object of so many stored ones, whatever the codec and the cipher make of
    them: what cannot be compressed grows, in bzip2 by 1 %, and each block and segment has a frame.
    """
    return max(1, (stored_bytes - _LEAST_OBJECT_BYTES) * 32 // 33)


def usable_cores() -> int:
    """How many cores this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
