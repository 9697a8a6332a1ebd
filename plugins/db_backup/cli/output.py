"""Tables for people, JSON for programs, human units for sizes and times."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from db_backup.model import utc_now
from db_backup.units import human_duration

_GAP = 2
#: The control characters of ISO 6429, C0 and C1, but for line ends and tabs.
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text without what would steer a terminal: what a storage or a server says may be somebody else's words."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text)


def say(line: str, *, err: bool = False) -> None:
    """A line on stdout or stderr, :func:`plain`."""
    click.echo(plain(line), err=err)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Collection[str] = (), blocks: bool = False
) -> None:
    """A table on stdout; as wide as it needs to be where nobody watches.

    On a terminal that is too narrow, text goes on below at a word's end; ids, figures and paths are never broken, for
    they are copied: rather is the table wider than the terminal.

    :param right: the columns of figures.
    :param blocks: on a terminal that is too narrow, write a block of lines for each row, under its first cell.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    cells = [[plain(cell) for cell in row] for row in rows]
    by_column = list(zip(columns, *cells, strict=True))
    widths = [max(map(cell_len, column)) for column in by_column]
    if sys.stdout.isatty():
        terminal = shutil.get_terminal_size().columns
        if blocks and _total(widths) > terminal:
            _print_blocks(columns, cells)
            return
        least = [
            width if column[0] in right else max(cell_len(word) for cell in column for word in cell.split() or [""])
            for column, width in zip(by_column, widths, strict=True)
        ]
        widths = _narrowed(widths, least, terminal)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", width=width)
    for row in cells:
        table.add_row(*(_escape(cell) for cell in row))
    # rich takes a width for itself alone from nobody where TERM=dumb.
    Console(width=_total(widths), height=len(cells) + 1).print(table, soft_wrap=False)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _narrowed(widths: Sequence[int], least: Sequence[int], available: int) -> list[int]:
    """The widest columns give way first, none below its least."""
    narrowed = list(widths)
    while _total(narrowed) > available:
        willing = [place for place, width in enumerate(narrowed) if width > least[place]]
        if not willing:
            break
        narrowed[max(willing, key=narrowed.__getitem__)] -= 1
    return narrowed


def _print_blocks(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    names = max(map(len, columns[1:]))
    for title, *cells in rows:
        click.secho(title, bold=True)
        for column, cell in zip(columns[1:], cells, strict=True):
            click.echo(f"  {column.ljust(names)}  {cell}")


def _escape(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def age(value: datetime) -> str:
    """How long since, in the largest sensible unit alone."""
    seconds = (utc_now() - value).total_seconds()
    return f"{seconds:.0f}s" if seconds < 60 else human_duration(seconds).split()[0]
