"""Progress at a terminal: a bar for a person, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from db_backup.progress import Progress
from db_backup.units import human_bytes, human_duration

_SECONDS_BETWEEN_LINES = 5.0


class PlainLines:
    """A line as each stage begins, and one every few seconds while it lasts."""

    def __init__(self) -> None:
        self._description = ""
        self._total: int | None = None
        self._done = 0
        self._began = self._told = time.monotonic()

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        self._description, self._total, self._done = description, total_bytes, 0
        self._began = self._told = time.monotonic()
        click.echo(description, err=True)

    def advance(self, plain_bytes: int) -> None:
        self._done += plain_bytes
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            of_total = f" of about {human_bytes(self._total)}" if self._total else ""
            rate = self._done / (now - self._began)
            click.echo(
                f"{self._description}: {human_bytes(self._done)}{of_total}, {human_bytes(rate)}/s, "
                f"{human_duration(now - self._began)}",
                err=True,
            )


@contextmanager
def terminal_progress() -> Iterator[Progress]:
    """A rich bar on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    from db_backup.cli.bar import terminal_bar

    with terminal_bar() as bar:
        yield bar
