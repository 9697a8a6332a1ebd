"""The progress bar for a person at a terminal; the ids in a stage's words are cut, never its figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console
from rich.table import Column
from rich.text import Text

from db_backup.progress import Progress
from db_backup.units import human_bytes

_BAR_WIDTH = 12


@contextmanager
def terminal_bar() -> Iterator[Progress]:
    """One line on stderr, gone at the end; nothing before the first stage."""
    with bars.Progress(
        bars.SpinnerColumn(table_column=Column(no_wrap=True)),
        _Stage(),
        bars.BarColumn(_BAR_WIDTH, table_column=Column(no_wrap=True)),
        _Figures(table_column=Column(no_wrap=True)),
        bars.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        transient=True,
    ) as shown:
        yield _Bar(shown)


class _Stage(bars.ProgressColumn):
    def render(self, task: bars.Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class _Figures(bars.ProgressColumn):
    """So many bytes of so many, and how fast; nothing in a stage that counts none."""

    def render(self, task: bars.Task) -> Text:
        if not task.completed and task.total is None:
            return Text()
        of_total = f" of {human_bytes(task.total)}" if task.total is not None else ""
        speed = task.finished_speed or task.speed
        return Text(f"{human_bytes(task.completed)}{of_total}" + (f", {human_bytes(speed)}/s" if speed else ""))


class _Bar:
    def __init__(self, shown: bars.Progress) -> None:
        self._shown = shown
        self._task: bars.TaskID | None = None

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        if self._task is not None:
            self._shown.remove_task(self._task)
        self._task = self._shown.add_task(description, total=total_bytes)

    def advance(self, plain_bytes: int) -> None:
        if self._task is not None:
            self._shown.advance(self._task, plain_bytes)
