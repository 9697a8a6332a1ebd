"""`--kit FILE`: the commands that read work by a break-glass kit, for one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from db_backup.cli.output import say
from db_backup.cli.passphrase import passphrase_from

if TYPE_CHECKING:  # `list` without a kit loads none of it
    from db_backup.jobs.workspace import Workspace

COMMANDS = frozenset({"databases", "download", "list", "restore", "verify"})
"""Those that take a kit: they only read the storage, or, as `verify` does, write proofs where they may."""


@dataclass(frozen=True)
class KitChoice:
    """The options ``--kit`` and ``--passphrase-file`` before the command."""

    path: Path
    passphrase_file: str | None


def chosen_kit() -> KitChoice | None:
    """What this command line says before the command; None: no kit."""
    choice = click.get_current_context().find_root().obj
    return choice if isinstance(choice, KitChoice) else None


@contextmanager
def opened_workspace(*, indexed: bool = True, needs_catalogue: bool = True) -> Iterator[Workspace]:
    """The workspace of this command line: of the settings as they stand, or of a kit.

    :param indexed: the catalogue is asked for backups; with a kit it reads the storages first.
    :param needs_catalogue: without a kit: False where an empty catalogue may stand for one that cannot be used.
    :raises BackupError: as ``Workspace.open``; of a kit also that it cannot be opened.
    """
    from db_backup.jobs.workspace import Workspace

    choice = chosen_kit()
    if choice is not None:
        opened = _by_kit(choice, indexed)
    elif needs_catalogue:
        opened = Workspace.open()
    else:
        opened = Workspace.open_without_need_of_catalogue()
    with opened as workspace:
        yield workspace
    for warning in workspace.warnings:
        say(f"Warning: {warning}", err=True)


def _by_kit(choice: KitChoice, indexed: bool) -> Workspace:
    from db_backup.jobs.kit import Kit, open_by_kit, read_sealed

    sealed = read_sealed(choice.path)
    kit = Kit.unseal(sealed, passphrase_from(choice.passphrase_file), source=str(choice.path))
    return open_by_kit(kit, indexed=indexed)
