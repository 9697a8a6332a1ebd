"""Shows a run as it goes: a table that changes in place on a terminal, a line per change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

_COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "up_for_retry": "yellow"}


@dataclass(frozen=True)
class TaskLine:
    """One task of the run, as it stands. ``named``: a mapped task has its database's name only once it has begun."""

    task: str
    entry: str
    state: str
    seconds: float | None
    doing: str = ""
    named: bool = True

    @classmethod
    def of(cls, task: dict[str, Any], progress: dict[str, Any]) -> TaskLine:
        mapped = task["map_index"] >= 0
        entry = str(task["rendered_map_index"] or task["map_index"]) if mapped else ""
        return cls(
            task=task["task_id"].rpartition(".")[2],
            entry=entry,
            state=task["state"] or "waiting",
            seconds=task["duration"],
            doing=str(progress.get("stage", "")),
            named=not mapped or task["rendered_map_index"] not in {None, str(task["map_index"])},
        )

    @property
    def key(self) -> tuple[str, str]:
        return self.task, self.entry

    @property
    def took(self) -> str:
        return "" if self.seconds is None else f"{self.seconds:.1f} s"


class RunView:
    """Use it in a `with`; call `show` as often as there is something new."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._shown: dict[tuple[str, str], tuple[str, str]] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, lines: Iterable[TaskLine]) -> None:
        if self._live:
            self._live.update(_table(lines))
            return
        for line in lines:
            news = (line.state, line.doing)
            if line.state in {"waiting", "scheduled", "queued"} or not line.named or self._shown.get(line.key) == news:
                continue
            self._shown[line.key] = news
            label = f"{line.task} [{line.entry}]" if line.entry else line.task
            rest = line.doing if line.state == "running" else line.took
            print(f"  {label}: {line.state}{f' ({rest})' if rest else ''}")
            sys.stdout.flush()


def _table(lines: Iterable[TaskLine]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 2), show_edge=False)
    for title in ("Task", "Database", "State", "Time", ""):
        table.add_column(title, justify="right" if title == "Time" else "left", header_style="dim")
    for line in lines:
        colour = _COLOURS.get(line.state, "dim")
        doing = line.doing if line.state == "running" else ""
        table.add_row(line.task, line.entry, f"[{colour}]{line.state}[/]", line.took, f"[dim]{doing}[/]")
    return table
