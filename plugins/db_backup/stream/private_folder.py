"""Folders that are one process's alone, and nobody's once it is dead, however it died.

Each holds a file that its maker keeps locked (``flock``); the kernel drops the lock with the process. Whoever makes
another one in the same place first removes those that nobody has locked, whatever they were made for.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db_backup.errors import ConfigurationError
from db_backup.storage.folder import Folder, lock, try_lock

_NAME = re.compile(r"\.?db-backup-[a-z-]+-[0-9a-f]{16}")
_LOCK = "lock"


@contextmanager
def private_folder(parent: Path, purpose: str, *, hidden: bool = False) -> Iterator[Path]:
    """A new 0700 folder, removed when the block ends; when the process is killed, by the next one made in ``parent``.

    :param purpose: a word of its name, for people who look around: "options", "staging".
    :raises OSError: it cannot be made; as it comes.
    """
    sweep(parent)
    name, descriptor = _create_locked(parent, f"{'.' if hidden else ''}db-backup-{purpose}-")
    try:
        yield parent / name
    finally:
        shutil.rmtree(parent / name, ignore_errors=True)  # what is left then is swept
        os.close(descriptor)


def sweep(parent: Path) -> None:
    """Remove what killed processes left in ``parent``. What is another user's, or no folder of ours, stays."""
    with contextlib.suppress(OSError), Folder.opened(str(parent), None) as place:
        with os.scandir(place.descriptor) as entries:
            names = [entry.name for entry in entries if _NAME.fullmatch(entry.name)]
        for name in names:
            with contextlib.suppress(OSError):
                _remove_abandoned(place, name)


def make_last_folder(path: Path, setting: str) -> None:
    """See that the folder is there; at most its last part is made, for in the place of a mistyped name or of a disk
    that is not mounted there must be none.

    :param setting: the variable that names it.
    :raises ConfigurationError: the folder that it should lie in is not there, or it cannot be made.
    """
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{setting} is {path}, and there is no folder {path.parent}.",
            hint=f"Correct {setting}, or mount the disk that it means.",
        ) from error
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise ConfigurationError(
            f"{setting} is {path}, which cannot be used: {reason}.",
            hint=f"Set {setting} to a folder that this user can write to.",
        ) from error


def _create_locked(parent: Path, prefix: str) -> tuple[str, int]:
    while True:
        name = prefix + secrets.token_hex(8)
        (parent / name).mkdir(mode=0o700)
        try:
            descriptor = _lock(parent / name)
        except FileNotFoundError:
            descriptor = None
        except BaseException:
            with contextlib.suppress(OSError):  # without rmtree, which would open it: descriptors may have run out
                (parent / name / _LOCK).unlink(missing_ok=True)
                (parent / name).rmdir()
            raise
        if descriptor is not None:
            return name, descriptor
        # a sweep took it for abandoned before it was locked


def _lock(folder: Path) -> int | None:
    """The lock's descriptor; None when the file was removed while we waited."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder / _LOCK, flags, 0o600)
    try:
        lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_abandoned(place: Folder, name: str) -> None:
    """Through descriptors, and never through a symbolic link: others may write to a temp folder, too."""
    with place.child(name, create=False) as folder, folder.open_file(_LOCK, os.O_RDWR | os.O_CREAT) as descriptor:
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            shutil.rmtree(name, ignore_errors=True, dir_fd=place.descriptor)
