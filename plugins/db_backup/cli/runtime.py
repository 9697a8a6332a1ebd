"""What every command shares: who runs it, how it is stopped, and options of features that are still to come."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import click

from db_backup.errors import Interrupted
from db_backup.manifest import RunInfo
from db_backup.model import MOST_DAYS
from db_backup.progress import Cancellation

F = TypeVar("F", bound=Callable[..., Any])

DAYS = click.IntRange(1, MOST_DAYS)
"""A number of days that a date can be counted back by."""

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, progress on stderr.")


def cli_run() -> RunInfo:
    """The person at this terminal."""
    try:
        actor = getpass.getuser()
    except (KeyError, OSError):  # nobody gave this user id a name, as containers do; Python 3.13 raises the second
        actor = f"user id {os.getuid()}"
    return RunInfo(origin="cli", actor=actor, host=socket.gethostname())


@contextmanager
def stoppable() -> Iterator[Cancellation]:
    """Ctrl-C and SIGTERM ask for a clean stop; a second Ctrl-C does not wait for it."""
    cancellation = Cancellation()

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cancellation.cancel(f"by {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancellation
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def answering() -> Iterator[None]:
    """While a person is asked something within :func:`stoppable`: Ctrl-C ends the question, and with it the command.

    :raises Interrupted: it was pressed.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as stop:
        click.echo(err=True)
        raise Interrupted("Stopped at the question.", hint="Nothing was changed.") from stop
    finally:
        signal.signal(signal.SIGINT, before)


def at_terminal() -> bool:
    """Whether somebody can read a question and type the answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()
