"""The one pass: everything arrives, and whatever goes wrong ends it, once, with the first error."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from db_backup.errors import DumpFailed, Interrupted, SizeLimitExceeded, StorageFull, TimeLimitExceeded, UsageError
from db_backup.model import Compression
from db_backup.progress import Cancellation, Silent
from db_backup.stream.compression import CODECS, MEBIBYTE
from db_backup.stream.pipeline import Limits, pump
from support.sample_data import sql_dump
from support.streams import MemorySink, Source, piped, run_pump

pytestmark = pytest.mark.unit

_NOISE = random.Random(9).randbytes(3 * MEBIBYTE)
_PLAIN = sql_dump(6 * MEBIBYTE + 4321) + bytes(3 * MEBIBYTE) + _NOISE


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _fails(error: BaseException, *, after_writes: int = 0) -> MemorySink:
    def before(sink: MemorySink) -> None:
        if len(sink.calls) == after_writes:
            raise error

    return MemorySink(before)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD, Compression.NONE])
def test_every_sink_gets_every_byte_in_order_and_the_digest_tells_both_sides(compression: Compression) -> None:
    sinks = MemorySink(), MemorySink()
    with piped(_PLAIN) as reading:
        digest = run_pump(Source(reading), *sinks, compression=compression)

    stored = bytes(sinks[0].content)
    assert sinks[1].content == stored
    assert b"".join(CODECS[compression].decompress([stored], name="it")) == _PLAIN
    assert (digest.plain_bytes, digest.stored_bytes) == (len(_PLAIN), len(stored))
    assert digest.plain_sha256 == hashlib.sha256(_PLAIN).hexdigest()
    assert digest.stored_sha256 == hashlib.sha256(stored).hexdigest()


def test_a_regular_file_is_a_source_as_well(tmp_path: Path) -> None:
    path, sink = tmp_path / "image.sqlite", MemorySink()
    path.write_bytes(_PLAIN)

    with path.open("rb") as file:
        run_pump(Source(file.fileno()), sink)

    assert gzip.decompress(sink.content) == _PLAIN


@pytest.mark.parametrize(
    ("compression", "tool"), [(Compression.GZIP, "gunzip"), (Compression.ZSTD, "unzstd"), (Compression.NONE, "cat")]
)
def test_a_source_with_nothing_in_it_becomes_a_valid_empty_file(compression: Compression, tool: str) -> None:
    sink = MemorySink()
    with piped(b"") as reading:
        digest = run_pump(Source(reading), sink, compression=compression)

    assert digest.plain_bytes == 0
    assert subprocess.run([tool], input=bytes(sink.content), stdout=subprocess.PIPE, check=True).stdout == b""


def test_the_source_is_shown_every_byte_in_the_calling_thread() -> None:
    with piped(_PLAIN) as reading:
        source = Source(reading)
        run_pump(source, MemorySink())

    assert source.observed == _PLAIN
    assert source.observers == {threading.current_thread()}


def test_the_source_is_shown_small_blocks_which_its_observer_may_copy() -> None:
    sizes: list[int] = []
    with piped(_PLAIN) as reading:
        run_pump(Source(reading, observer=lambda block: sizes.append(len(block))), MemorySink())

    assert sum(sizes) == len(_PLAIN)
    assert max(sizes) == 256 << 10


def test_progress_counts_the_plain_bytes() -> None:
    class Counting(Silent):
        counted = 0

        def advance(self, plain_bytes: int) -> None:
            self.counted += plain_bytes

    progress = Counting()
    with piped(_PLAIN) as reading:
        pump(
            Source(reading),
            compression=Compression.ZSTD,
            level=None,
            sinks=[MemorySink()],
            limits=Limits(),
            progress=progress,
            cancellation=Cancellation(),
        ).end()

    assert progress.counted == len(_PLAIN)


def test_sinks_are_left_for_the_caller_to_commit_or_abort() -> None:
    whole, broken = MemorySink(), _fails(StorageFull("The disk is full."), after_writes=1)
    with piped(_PLAIN) as reading, pytest.raises(StorageFull):
        run_pump(Source(reading), whole, broken)

    assert set(whole.calls) | set(broken.calls) == {"write"}


def test_a_level_out_of_range_is_refused_before_anything_is_read() -> None:
    sink = MemorySink()
    with piped(_PLAIN) as reading, pytest.raises(UsageError):
        run_pump(Source(reading), sink, level=11)

    assert sink.calls == []


@pytest.mark.parametrize("after_writes", [0, 1, 5])
def test_a_failing_sink_ends_it_with_its_own_error(after_writes: int) -> None:
    error = StorageFull("The disk is full.")
    with piped(_PLAIN) as reading, pytest.raises(StorageFull) as raised:
        run_pump(Source(reading), MemorySink(), _fails(error, after_writes=after_writes))

    assert raised.value is error


def test_a_failing_sink_ends_it_while_the_source_is_silent() -> None:
    error = StorageFull("The disk is full.")
    with piped(_NOISE, then_silent=True) as reading, pytest.raises(StorageFull) as raised:
        run_pump(Source(reading), _fails(error))

    assert raised.value is error


def test_a_sink_that_fails_at_the_very_end_is_noticed() -> None:
    """Level 9 holds back what it has not decided on; all of this comes out after the source has ended."""
    with piped(bytes(2 * MEBIBYTE)) as reading, pytest.raises(StorageFull):
        run_pump(Source(reading), _fails(StorageFull("The disk is full.")), level=9)


@pytest.mark.parametrize("error", [ValueError("a row that makes no sense"), KeyboardInterrupt()])
def test_an_observer_that_raises_ends_it_with_its_own_error(error: BaseException) -> None:
    seen = 0

    def observer(block: memoryview) -> None:
        nonlocal seen
        seen += len(block)
        if seen > 3 * MEBIBYTE:
            raise error

    with piped(_PLAIN) as reading, pytest.raises(type(error)) as raised:
        run_pump(Source(reading, observer=observer), MemorySink())

    assert raised.value is error


def test_of_two_failures_the_first_is_told() -> None:
    error = StorageFull("The disk is full.")

    def fail_too_once_the_writer_has(_: memoryview) -> None:
        while any(thread.name == "write" for thread in threading.enumerate()):
            time.sleep(0.01)
        raise ValueError("this comes second")

    with piped(_PLAIN) as reading, pytest.raises(StorageFull) as raised:
        run_pump(Source(reading, observer=fail_too_once_the_writer_has), _fails(error))

    assert raised.value is error


def test_cancellation_is_noticed_while_the_source_is_silent() -> None:
    cancellation = Cancellation()
    with piped(b"the first words", then_silent=True) as reading:
        timer = threading.Timer(0.2, cancellation.cancel, ["asked to by ada"])
        timer.start()
        with pytest.raises(Interrupted, match="asked to by ada"):
            run_pump(Source(reading), MemorySink(), cancellation=cancellation)
        timer.join()


def test_cancellation_is_noticed_while_a_sink_is_slow() -> None:
    cancellation, released = Cancellation(), threading.Event()
    cancelling = threading.Timer(0.2, lambda: (cancellation.cancel("asked to by ada"), released.set()))
    sink = MemorySink(lambda _: released.wait() and None)
    cancelling.start()
    with piped(_PLAIN * 3) as reading, pytest.raises(Interrupted):
        run_pump(Source(reading), sink, compression=Compression.NONE, cancellation=cancellation)
    cancelling.join()

    assert len(sink.content) < len(_PLAIN)


def test_the_deadline_is_noticed_while_the_source_is_silent() -> None:
    limits = Limits(deadline=time.monotonic() + 0.3, timeout_seconds=3600)
    with piped(b"the first words", then_silent=True) as reading, pytest.raises(TimeLimitExceeded) as stopped:
        run_pump(Source(reading), MemorySink(), limits=limits)

    assert "'shop'" in stopped.value.message
    assert "run for 3,600." in stopped.value.message
    assert "BACKUP_TIMEOUT_SECONDS allows 3,600 seconds" in stopped.value.message
    assert stopped.value.database == "shop"


def test_over_the_size_limit_nothing_more_is_written_and_the_message_has_figure_limit_and_setting() -> None:
    sink = MemorySink()
    with piped(_NOISE) as reading, pytest.raises(SizeLimitExceeded) as stopped:
        run_pump(Source(reading), sink, compression=Compression.NONE, limits=Limits(max_stored_bytes=2 * MEBIBYTE))

    assert sink.content == _NOISE[: 2 * MEBIBYTE]
    assert "'shop' has reached 3.0 MB" in stopped.value.message
    assert "BACKUP_MAX_SIZE_MB allows 2.0 MB" in stopped.value.message
    assert stopped.value.database == "shop"


def test_exactly_the_size_limit_is_allowed() -> None:
    sink = MemorySink()
    with piped(_NOISE) as reading:
        run_pump(Source(reading), sink, compression=Compression.NONE, limits=Limits(max_stored_bytes=len(_NOISE)))

    assert sink.content == _NOISE


def test_a_sink_that_does_not_take_anything_holds_the_source() -> None:
    released, plain = threading.Event(), bytes(40 * MEBIBYTE)
    sink = MemorySink(lambda _: released.wait() and None)
    with piped(plain) as reading:
        source = Source(reading)
        held_at: list[int] = []

        def watch() -> None:
            # Until something has come, and then nothing for a while.
            while not held_at or held_at[-1] == 0 or held_at[-1] != len(source.observed):
                held_at.append(len(source.observed))
                time.sleep(0.5)
            released.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        run_pump(source, sink, compression=Compression.NONE)
        watcher.join()

    assert 0 < held_at[-1] <= (4 + 3) * MEBIBYTE
    assert source.observed == plain


def test_a_source_that_cannot_be_read_is_a_failed_dump(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(DumpFailed, match="The dump of 'shop' cannot be read"):
            run_pump(Source(descriptor), MemorySink())
    finally:
        os.close(descriptor)
