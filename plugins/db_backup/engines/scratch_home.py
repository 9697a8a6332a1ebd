"""What private scratch servers share: whom they run as, and the folder that is theirs alone while a block runs."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from db_backup.errors import ScratchUnavailable
from db_backup.stream.private_folder import make_last_folder, private_folder, sweep

_MOST_SOCKET_BYTES = 107  # sun_path, unix(7)


def unprivileged_user(*names: str) -> pwd.struct_passwd | None:
    """Whom a server that must not run as root runs as: the first of these; None when we are somebody else already."""
    if os.geteuid() != 0:
        return None
    for name in names:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ScratchUnavailable(
        f"There is no user {' or '.join(repr(name) for name in names)} for a scratch server to run as.",
        hint="Create one of them, or run db-backup as an ordinary user.",
    )


def ids(user: pwd.struct_passwd | None) -> tuple[int, int] | None:
    """The user as ``ChildProcess`` takes it."""
    return (user.pw_uid, user.pw_gid) if user else None


def check_folder(folder: Path, user: pwd.struct_passwd | None, *, needed_bytes: int) -> None:
    """:raises ScratchUnavailable: there is no room, or the user cannot pass through."""
    if (free := shutil.disk_usage(folder).free) < needed_bytes:
        raise ScratchUnavailable(
            f"A scratch server needs {needed_bytes >> 20} MB in {folder}, and {free >> 20} MB are free.",
            hint="Make room there, or set BACKUP_SCRATCH_PATH to a larger place.",
        )
    for place in (folder, *folder.resolve().parents):
        if user is not None and not _may_enter(place.stat(), user):
            raise ScratchUnavailable(
                f"The user '{user.pw_name}', as whom a scratch server runs, may not enter {place}.",
                hint=f"Allow it (chmod o+x {place}), or set BACKUP_SCRATCH_PATH to another place.",
            )


def _may_enter(place: os.stat_result, user: pwd.struct_passwd) -> bool:
    if place.st_uid == user.pw_uid:
        return bool(place.st_mode & stat.S_IXUSR)
    return bool(place.st_mode & (stat.S_IXGRP if place.st_gid == user.pw_gid else stat.S_IXOTH))


@contextmanager
def scratch_home(
    folder: Path, user: pwd.struct_passwd | None, *, purpose: str, longest_socket_name: str, needed_bytes: int
) -> Iterator[Path]:
    """A 0700 folder of the user's with ``socket`` in it, while the block runs.

    :raises ScratchUnavailable: it cannot be made, there is no room, or the user cannot pass through.
    :raises ConfigurationError: BACKUP_SCRATCH_PATH leads nowhere.
    """
    make_last_folder(folder, "BACKUP_SCRATCH_PATH")
    sweep(folder)  # before the room is measured
    check_folder(folder, user, needed_bytes=needed_bytes)
    with ExitStack() as stack:
        try:
            home = stack.enter_context(private_folder(folder, purpose))
            sockets = home / "socket"
            if len(os.fsencode(sockets.resolve() / longest_socket_name)) > _MOST_SOCKET_BYTES:
                sockets.symlink_to(stack.enter_context(private_folder(Path(tempfile.gettempdir()), purpose)))
            else:
                sockets.mkdir(mode=0o700)
            if user is not None:
                for place in (home, sockets):
                    os.chown(place, user.pw_uid, user.pw_gid)
        except OSError as error:
            raise no_scratch_folder(folder, error) from error
        yield home


def no_scratch_folder(folder: Path, error: OSError) -> ScratchUnavailable:
    return ScratchUnavailable(
        f"No scratch folder could be made in {folder}: {error.strerror}.",
        hint="Make room there, or point BACKUP_SCRATCH_PATH to a folder that this user can write to.",
    )
