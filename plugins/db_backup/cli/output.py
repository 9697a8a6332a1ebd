"""Tables for people, JSON for programs, human units for sizes and times."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from db_backup.model import utc_now
from db_backup.units import human_duration


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table on stdout, as wide as it needs to be where nobody watches."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 240, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_escape(cell) for cell in row))
    console.print(table)


def _escape(cell: str) -> str:
    from rich.markup import escape

    return escape(cell)


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def age(value: datetime) -> str:
    """How long ago, in the largest sensible unit."""
    return f"{human_duration((utc_now() - value).total_seconds())} ago"
