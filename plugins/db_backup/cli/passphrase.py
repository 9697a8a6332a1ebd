"""The passphrase of a kit: typed at the terminal, or read from a file or stdin; never an argument."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from db_backup.errors import UsageError

_STDIN = "-"

passphrase_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--passphrase-file",
    metavar="FILE",
    help="For scripts: its first line is the passphrase; - reads stdin. Otherwise it is asked for.",
)


def passphrase_from(file: str | None, *, new: bool = False) -> str:
    """The passphrase; at a terminal nobody sees what is typed.

    :param new: it is typed twice.
    :raises UsageError: there is no terminal and no file, or the file cannot be read or is empty.
    """
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        raise UsageError(
            "The kit's passphrase can be asked for at a terminal only.",
            hint="Name a file that holds it with --passphrase-file FILE; with - it is read from stdin.",
        )
    typed: str = click.prompt("Passphrase of the kit", hide_input=True, confirmation_prompt=new, err=True)
    return typed


def _first_line(file: str) -> str:
    try:
        content = sys.stdin.buffer.readline() if file == _STDIN else Path(file).read_bytes()
        line = content.decode().partition("\n")[0].removesuffix("\r")  # no other character ends a line for an editor
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"The passphrase file {file} cannot be read: {reason}.", hint="Name a text file whose first line it is."
        ) from None  # what cannot be decoded is a piece of the passphrase
    if not line:
        source = "stdin" if file == _STDIN else f"the file {file}"
        raise UsageError(f"There is no passphrase in {source}.", hint="Write it into the first line.")
    return line
