"""A request to stop reaches everybody who waits for it, once."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import pytest

from db_backup.errors import Interrupted
from db_backup.progress import Cancellation

pytestmark = pytest.mark.unit


def test_nothing_happens_before_it_is_asked_for() -> None:
    cancellation, calls = Cancellation(), []

    with cancellation.on_cancel(lambda: calls.append(1)):
        cancellation.check()

    assert (cancellation.requested, calls) == (False, [])


def test_a_callback_runs_once_however_often_a_stop_is_asked_for() -> None:
    cancellation, calls = Cancellation(), []

    with cancellation.on_cancel(lambda: calls.append(1)):
        cancellation.cancel("by ada")
        cancellation.cancel("by bob")

    assert calls == [1]
    with pytest.raises(Interrupted, match="by ada"):
        cancellation.check()


def test_a_callback_that_comes_too_late_runs_at_once() -> None:
    cancellation, calls = Cancellation(), []
    cancellation.cancel("by ada")

    with cancellation.on_cancel(lambda: calls.append(1)):
        assert calls == [1]


def test_a_callback_is_forgotten_when_its_block_ends() -> None:
    cancellation, calls = Cancellation(), []

    with cancellation.on_cancel(lambda: calls.append(1)):
        pass
    cancellation.cancel("by ada")

    assert calls == []


def test_one_callback_registered_twice_runs_for_each_block_that_is_open() -> None:
    cancellation, calls = Cancellation(), []

    def note() -> None:
        calls.append(1)

    with cancellation.on_cancel(note):
        with cancellation.on_cancel(note):
            pass
        cancellation.cancel("by ada")

    assert calls == [1]


def test_an_error_of_a_callback_is_not_swallowed() -> None:
    cancellation = Cancellation()

    with cancellation.on_cancel([].pop), pytest.raises(IndexError):
        cancellation.cancel("by ada")


def test_many_threads_and_one_stop_make_one_call_for_each() -> None:
    cancellation, calls = Cancellation(), []
    release = threading.Event()

    def work(number: int) -> None:
        with cancellation.on_cancel(lambda: calls.append(number)):
            release.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    stops = [threading.Thread(target=cancellation.cancel, args=("by all",)) for _ in range(4)]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join()
    release.set()
    for thread in threads:
        thread.join()

    assert sorted(calls) == list(range(40))


@pytest.mark.timeout(30)
def test_a_signal_at_any_line_of_a_registration_neither_hangs_nor_calls_twice() -> None:
    """A signal handler runs in the thread that registers, between two of its lines: a lock would wait for itself."""
    outcomes = [_registration_interrupted_at(line) for line in range(1, 40)]

    assert max(outcomes) == 1, "no stop ever came while the block was open"
    assert min(outcomes) == 0, "every stop came while the block was open"


def _registration_interrupted_at(wanted: int) -> int:
    """How often the callback ran when the stop came at the ``wanted``-th line of our module that is run."""
    cancellation = Cancellation()
    calls: list[int] = []
    lines = 0

    def at_each_line(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if frame.f_globals["__name__"] != "db_backup.progress":
            return None
        if event == "line":
            lines += 1
            if lines == wanted:
                sys.settrace(None)
                cancellation.cancel("by signal")
        return at_each_line

    before = sys.gettrace()
    sys.settrace(at_each_line)
    try:
        with cancellation.on_cancel(lambda: calls.append(1)):
            pass
    finally:
        sys.settrace(before)
    return len(calls)
