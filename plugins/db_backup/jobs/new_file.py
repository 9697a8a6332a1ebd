"""A file that a person asked for: it appears under its name when it is whole and on the disk, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from db_backup.errors import BackupError, Refused

#: What link(2) says on a file system without hard links.
_WITHOUT_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


@contextmanager
def new_file(target: Path, *, replace: bool, taken: str, elsewhere: str) -> Iterator[BinaryIO]:
    """A file of mode 0600 that gets its name when the block ends well, and is gone when it does not.

    :param replace: an existing file may be replaced.
    :param taken: what to do where the name is taken; a sentence.
    :param elsewhere: how another place is chosen; completes "Choose another disk …": "with -o".
    :raises Refused: the name is taken, perhaps only since the block began, and may not be replaced.
    :raises BackupError: it cannot be written.
    """
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        temporary = Path(name)  # private to this user, as mkstemp makes it
        with os.fdopen(descriptor, "wb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        _publish(temporary, target, replace, taken)
    except OSError as error:
        raise _failed(target, error, elsewhere) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def refuse_taken(target: Path, *, replace: bool, taken: str) -> None:
    """:raises Refused: what :func:`new_file` would refuse, before any work is done for it."""
    if target.exists() and not target.is_file():
        raise Refused(f"{target} is no plain file.", hint="Name a file in a folder that exists.")
    if target.exists() and not replace:
        raise _taken(target, taken)


def _taken(target: Path, taken: str) -> Refused:
    return Refused(f"{target} exists already.", hint=taken)


def _publish(temporary: Path, target: Path, replace: bool, taken: str) -> None:
    if replace:
        temporary.replace(target)
    else:
        try:
            _link(temporary, target)
        except FileExistsError:
            raise _taken(target, taken) from None
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(temporary: Path, target: Path) -> None:
    """Give the file its name; unlike a rename, never over a file that came meanwhile.

    Where there are no hard links, as on a USB stick with FAT, the name is taken by an empty file for a moment.

    :raises FileExistsError: there is one.
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
    else:
        return
    target.touch(mode=0o600, exist_ok=False)
    try:
        temporary.replace(target)
    except BaseException:
        target.unlink()
        raise


def _failed(target: Path, error: OSError, elsewhere: str) -> BackupError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return BackupError(
            f"No room is left to write {target}.", hint=f"Free some space, or choose another disk {elsewhere}."
        )
    return BackupError(
        f"{target} cannot be written: {error.strerror or error}.",
        hint=f"Choose a folder that you may write to, {elsewhere}.",
    )
