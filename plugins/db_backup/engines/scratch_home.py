"""What private scratch servers share: whom they run as, and the folder that is theirs alone while a block runs.

A lock file that nobody holds says that a folder is nobody's: the next scratch server removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db_backup.errors import ScratchUnavailable

_MOST_SOCKET_BYTES = 107  # sun_path, unix(7)
_STALE_AFTER_SECONDS = 60  # a younger folder may not have its lock yet


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
def private_folder(
    folder: Path, user: pwd.struct_passwd | None, *, prefix: str, longest_socket_name: str
) -> Iterator[Path]:
    """A 0700 folder with ``socket`` in it, and a lock that is held while the block runs."""
    home = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    try:
        with (home / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sockets = home / "socket"
            if len(os.fsencode(sockets.resolve() / longest_socket_name)) > _MOST_SOCKET_BYTES:
                sockets.symlink_to(tempfile.mkdtemp(prefix=prefix))
            else:
                sockets.mkdir(mode=0o700)
            if user is not None:
                for place in (home, sockets):
                    os.chown(place, user.pw_uid, user.pw_gid)
            yield home
    finally:
        _remove(home)


def _remove(home: Path) -> None:
    """What cannot be removed now is swept by the next scratch server."""
    sockets = home / "socket"
    if sockets.is_symlink():
        shutil.rmtree(sockets.resolve(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def sweep(folder: Path, *, prefix: str) -> None:
    """Remove what killed processes left: folders whose lock nobody holds."""
    for home in folder.glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - home.stat().st_mtime > _STALE_AFTER_SECONDS and _is_abandoned(home):
                _remove(home)


def _is_abandoned(home: Path) -> bool:
    with (home / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
