"""``pump_all``: several streams at once, counted together, stopped together."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from db_backup.errors import DumpFailed, Interrupted, SizeLimitExceeded, StorageFull
from db_backup.model import Compression
from db_backup.progress import Cancellation, Progress, Silent
from db_backup.stream.parallel import Route, Target, pump_all
from db_backup.stream.pipeline import Limits, StreamDigest
from support.streams import MemorySink, Source, piped

pytestmark = pytest.mark.unit

MEBIBYTE = 1 << 20
CONTENTS = (b"definitions", b"rows" * MEBIBYTE, b"other rows" * MEBIBYTE, b"")


def into(sink: MemorySink) -> Callable[[int], Target]:
    """Everything in one part."""
    return lambda _number: Target((sink,))


def run(
    routes: list[Route],
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    cancellation: Cancellation | None = None,
) -> tuple[tuple[StreamDigest, ...], ...]:
    unended = pump_all(
        routes,
        compression=Compression.NONE,
        level=None,
        limits=limits or Limits(),
        progress=progress or Silent(),
        cancellation=cancellation or Cancellation(),
        database="shop",
    )
    return tuple(stream.end() for stream in unended)


def test_every_stream_reaches_its_own_sink_whole_and_in_the_order_of_the_routes() -> None:
    sinks = [MemorySink() for _ in CONTENTS]
    with ExitStack() as stack:
        routes = [
            Route(Source(stack.enter_context(piped(content))), into(sink))
            for content, sink in zip(CONTENTS, sinks, strict=True)
        ]
        digests = run(routes)

    assert [bytes(sink.content) for sink in sinks] == list(CONTENTS)
    assert [digest.plain_sha256 for (digest,) in digests] == [hashlib.sha256(text).hexdigest() for text in CONTENTS]


def test_streams_are_read_at_the_same_time() -> None:
    """Each waits for the other in its observer: one after the other they would never end."""
    meeting = threading.Barrier(2, timeout=30)
    with piped(b"a") as one, piped(b"b") as other:
        run([Route(Source(end, observer=lambda _: _met(meeting)), into(MemorySink())) for end in (one, other)])
    assert not meeting.broken


def _met(meeting: threading.Barrier) -> None:
    meeting.wait()


def test_the_size_limit_holds_for_all_streams_together() -> None:
    content = b"x" * (2 * MEBIBYTE)
    with piped(content) as one, piped(content) as other, pytest.raises(SizeLimitExceeded, match="BACKUP_MAX_SIZE_MB"):
        run(
            [Route(Source(end), into(MemorySink())) for end in (one, other)],
            limits=Limits(max_stored_bytes=3 * MEBIBYTE),
        )
    with piped(content) as one, piped(content) as other:
        run(
            [Route(Source(end), into(MemorySink())) for end in (one, other)],
            limits=Limits(max_stored_bytes=4 * MEBIBYTE),
        )


def test_one_stream_that_fails_stops_the_others_and_its_error_is_told() -> None:
    def full(_sink: MemorySink) -> None:
        raise StorageFull("The disk is full.")

    with (
        piped(b"x", then_silent=True) as silent,
        piped(b"y") as failing,
        pytest.raises(StorageFull, match="The disk is full"),
    ):
        run([Route(Source(silent), into(MemorySink())), Route(Source(failing), into(MemorySink(full)))])
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("pump", "write"))]


def test_a_stream_whose_tool_ended_badly_stops_the_others() -> None:
    def failed() -> None:
        raise DumpFailed("The tool was killed.")

    with (
        piped(b"x", then_silent=True) as silent,
        piped(b"y") as ending,
        pytest.raises(DumpFailed, match="was killed"),
    ):
        run([Route(Source(silent), into(MemorySink())), Route(Source(ending), into(MemorySink()), failed)])


def test_a_stop_from_outside_ends_all_streams_with_its_reason() -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel, ["asked to stop"]).start()
    with (
        piped(b"x", then_silent=True) as one,
        piped(b"y", then_silent=True) as other,
        pytest.raises(Interrupted, match="asked to stop"),
    ):
        run([Route(Source(end), into(MemorySink())) for end in (one, other)], cancellation=cancellation)


def test_progress_is_told_by_one_thread_at_a_time() -> None:
    told: list[int] = []
    inside = threading.Lock()

    class Watching(Silent):
        def advance(self, plain_bytes: int) -> None:
            assert inside.acquire(blocking=False), "two threads at once"
            told.append(plain_bytes)
            inside.release()

    content = b"x" * (8 * MEBIBYTE)
    with piped(content) as one, piped(content) as other:
        run([Route(Source(end), into(MemorySink())) for end in (one, other)], progress=Watching())
    assert sum(told) == 2 * len(content)
