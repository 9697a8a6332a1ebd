"""Folders for what a dump must write to a disk before it is stored, and whether it has room there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from db_backup.errors import SourceError, StorageFull
from db_backup.stream.private_folder import make_last_folder, private_folder, sweep
from db_backup.units import human_bytes

SPACE_HINT = "Make room, or point BACKUP_STAGING_PATH to a disk that has it."


@contextmanager
def staging_folder(staging_path: Path) -> Iterator[Path]:
    """A private folder in ``BACKUP_STAGING_PATH``, removed when the block ends.

    :raises SourceError, ConfigurationError: the place cannot be used.
    """
    make_last_folder(staging_path, "BACKUP_STAGING_PATH")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(staging_path, "staging"))
        except OSError as error:
            raise SourceError(
                f"The staging folder {staging_path} cannot be used: {error.strerror}.",
                hint="Make room there, or point BACKUP_STAGING_PATH to a folder that this user can write to.",
            ) from error
        yield folder


def check_staging_room(staging_path: Path, needed_bytes: int, what: str, *, database: str | None = None) -> None:
    """Whether ``what`` fits into ``BACKUP_STAGING_PATH``, of which killed processes have nothing any more.

    :raises StorageFull: it does not.
    :raises ConfigurationError: the place cannot be used.
    """
    make_last_folder(staging_path, "BACKUP_STAGING_PATH")
    sweep(staging_path)
    check_room(staging_path, needed_bytes, what, hint=SPACE_HINT, database=database)


def check_room(folder: Path, needed_bytes: int, what: str, *, hint: str, database: str | None = None) -> None:
    """:raises StorageFull: there is less room."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise StorageFull(
            f"{what} takes {human_bytes(needed_bytes)}, and {folder} has {human_bytes(free)} left.",
            hint=hint,
            database=database,
        )
