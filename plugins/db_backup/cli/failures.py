"""Errors as a person and a program read them; also those that nobody foresaw."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path

import click

from db_backup.cli.output import say
from db_backup.errors import BackupError

DEBUG_VARIABLE = "DB_BACKUP_DEBUG"
"""An environment variable: set, the traceback of an unexpected error is printed too."""


def as_backup_error(error: Exception) -> BackupError:
    """The error itself, or an unexpected one in a sentence."""
    if isinstance(error, BackupError):
        return error
    if os.environ.get(DEBUG_VARIABLE):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    return BackupError(
        f"Unexpected error: {words}{place}",
        hint=f"Please report it, with what the same command prints with {DEBUG_VARIABLE}=1 in its environment.",
    )


def print_error(error: BackupError, *, about: str = "") -> None:
    """On stderr. ``about``: the database or backup, said in front unless the message names it."""
    print_failure(error.message, error.hint, *getattr(error, "__notes__", ()), about=about)


def print_failure(message: str, *more: str, about: str = "") -> None:
    """A message and the lines below it, on stderr."""
    named = not about or re.search(rf"(?<![a-z0-9-]){re.escape(about)}(?![a-z0-9-])", message)
    say(f"Error: {message}" if named else f"Error: {about}: {message}", err=True)
    for line in filter(None, more):
        say(f"  {line}", err=True)
