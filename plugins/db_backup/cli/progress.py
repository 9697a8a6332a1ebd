"""Progress at a terminal: a bar for a person, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from db_backup.progress import Progress
from db_backup.units import human_bytes, human_duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

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
    from rich import progress as bars
    from rich.console import Console

    with bars.Progress(
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Bars) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None)

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        self._bar.reset(self._task, total=total_bytes, description=description)

    def advance(self, plain_bytes: int) -> None:
        self._bar.advance(self._task, plain_bytes)
