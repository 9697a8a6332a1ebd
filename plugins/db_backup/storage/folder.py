"""Files that appear whole or not at all, in folders that are held open.

Everything goes through the descriptor of the folder: a symbolic link, a remount or a rename in between cannot redirect
it. Modes and group are set after the file is made, whatever the umask says. Errors are ``OSError``, as they come.

A temporary file is locked (``flock``) by its writer for as long as the writer lives, and its name holds the host. The
lock, not the process id, tells whether the writer lives: the kernel drops it however the process ends, process ids are
used again, and two containers on one folder may well share a host name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Self

FILE_MODE = 0o640
FOLDER_MODE = 0o750

_TEMPORARY = re.compile(r"^\.tmp-(?P<host>.+)-\d+-[0-9a-f]{16}$")
_RESERVATION_PREFIX = ".reserved-"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what file systems without flock answer
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)


class Folder:
    """An open folder. ``group``: the numeric group that what is made here belongs to, or None for the user's own."""

    def __init__(self, descriptor: int, group: int | None) -> None:
        self.descriptor = descriptor
        self.group = group

    @classmethod
    @contextmanager
    def opened(cls, path: str, group: int | None, *, parent: int | None = None) -> Iterator[Self]:
        """Below ``parent``, a symbolic link is refused (ELOOP or ENOTDIR)."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if parent is None else os.O_NOFOLLOW)
        descriptor = os.open(path, flags, dir_fd=parent)
        try:
            yield cls(descriptor, group)
        finally:
            os.close(descriptor)

    @contextmanager
    def child(self, name: str, *, create: bool) -> Iterator[Folder]:
        """A folder in this one."""
        if create and make_folder(name, self.group, parent=self.descriptor):
            self.sync()
        with Folder.opened(name, self.group, parent=self.descriptor) as folder:
            yield folder

    @contextmanager
    def open_file(self, name: str, flags: int) -> Iterator[int]:
        """The descriptor of a regular file of this folder.

        :raises OSError: also ELOOP for a symbolic link, EINVAL for anything else that is not a regular file.
        """
        descriptor = os.open(
            name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE, dir_fd=self.descriptor
        )
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """A small file, whole."""
        with self.open_file(name, os.O_RDONLY) as descriptor, open(descriptor, "rb", closefd=False) as file:
            return file.read()

    def write(self, name: str, content: bytes, *, replace: bool = False) -> None:
        """A small file, whole and durable.

        :raises FileExistsError: the name is taken, and ``replace`` was not said.
        """
        file = TemporaryFile(self)
        try:
            file.write(content)
            if replace:
                file.publish_over(name)
            else:
                file.publish(name)
        finally:
            file.discard()

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def names(self) -> list[str]:
        """What lies here under final names, in order."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))

    def holds(self, name: str) -> bool:
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Durably; a missing one is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)
            self.sync()

    def sync(self) -> None:
        """Make names durable."""
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Exclusive over processes, by a lock file of this name that stays."""
        with self.open_file(name, os.O_RDWR | os.O_CREAT) as descriptor:
            claim(descriptor, FILE_MODE, self.group)
            lock(descriptor)
            yield

    def remove_abandoned(
        self, name: str, *, older_than: timedelta, now: datetime, first: Callable[[], None] | None = None
    ) -> bool:
        """Remove a temporary file or reservation if its writer is gone; whether it was removed.

        ``first`` is called before it is, under its lock.

        A writer on this host is gone when its lock is. Another host's lock may not reach us, so there age decides,
        unless the lock does show that the writer lives.
        """
        try:
            with self.open_file(name, os.O_RDWR) as descriptor:
                told = try_lock(descriptor)
                if told is False or not os.path.samestat(os.fstat(descriptor), self.stat(name)):
                    return False  # it is being written; or another sweep was faster, and the name is somebody else's
                host = _writer_host(name, descriptor)
                age = now.timestamp() - os.fstat(descriptor).st_mtime
                if not (told and host == this_host()) and age < older_than.total_seconds():
                    return False
                if first is not None:
                    first()
                os.unlink(name, dir_fd=self.descriptor)
                return True
        except (FileNotFoundError, PermissionError):
            return False  # gone meanwhile, or another user's


class TemporaryFile:
    """A file being written under a hidden name, locked. ``discard`` is right at any time, and belongs in a finally."""

    def __init__(self, folder: Folder) -> None:
        self._folder = os.dup(folder.descriptor)
        self._file: int | None = None
        try:
            self.name, self._file = _create_locked(self._folder)
            claim(self._file, FILE_MODE, folder.group)
        except BaseException:
            self.discard()
            raise

    def write(self, block: bytes | bytearray | memoryview) -> None:
        assert self._file is not None  # noqa: S101 - never after discard
        view = memoryview(block)
        while view:
            view = view[os.write(self._file, view) :]

    def publish(self, name: str) -> None:
        """Make it durable and visible under a free name.

        :raises FileExistsError: the name is taken.
        :raises OSError: EOPNOTSUPP where the file system has no hard links.
        """
        self._sync_file()
        try:
            os.link(self.name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
        except PermissionError as error:  # link(2): EPERM; the folder takes new names, for it took the temporary one
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)) from error
        os.unlink(self.name, dir_fd=self._folder)
        self._sync_folder()

    def publish_over(self, name: str) -> None:
        """Make it durable and visible instead of what has this name."""
        self._sync_file()
        os.replace(self.name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._sync_folder()

    def discard(self) -> None:
        """Let go of it; nothing is left of what was not published. Never raises."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.name, dir_fd=self._folder)
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _sync_file(self) -> None:
        assert self._file is not None  # noqa: S101
        os.fsync(self._file)

    def _sync_folder(self) -> None:
        Folder(self._folder, None).sync()


@contextmanager
def reserved(folder: Folder, name: str) -> Iterator[None]:
    """Hold a hidden name exclusively while the block runs.

    :raises FileExistsError: somebody holds it.
    """
    reservation = _RESERVATION_PREFIX + name
    file = TemporaryFile(folder)
    try:
        file.write(this_host().encode())
        file.publish(reservation)
        try:
            yield
        finally:
            folder.remove(reservation)
    finally:
        file.discard()


def reserved_name(file_name: str) -> str | None:
    """What a reservation holds; None for any other file."""
    return file_name.removeprefix(_RESERVATION_PREFIX) if file_name.startswith(_RESERVATION_PREFIX) else None


def is_leftover(name: str) -> bool:
    """Whether a name is that of a temporary file or of a reservation."""
    return _TEMPORARY.match(name) is not None or reserved_name(name) is not None


def make_folder(path: str, group: int | None, *, parent: int | None = None) -> bool:
    """Make a folder with our mode; whether there was none yet."""
    try:
        os.mkdir(path, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    os.chmod(path, FOLDER_MODE, dir_fd=parent)  # before it is opened: the umask may have left no permission at all
    with Folder.opened(path, group, parent=parent) as folder:
        claim(folder.descriptor, FOLDER_MODE, group)
    return True


def claim(descriptor: int, mode: int, group: int | None) -> None:
    """Give an open file or folder its mode and group, unless another user owns it."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        return
    if stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(descriptor, mode)
    if group is not None and status.st_gid != group:
        os.fchown(descriptor, -1, group)


def lock(descriptor: int) -> None:
    """Wait for the exclusive lock. On a file system without locks there is nothing to wait for."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def try_lock(descriptor: int) -> bool | None:
    """Whether the lock was free, and is ours now; None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def this_host() -> str:
    """This machine's name, as temporary names hold it."""
    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64]


def _create_locked(folder: int) -> tuple[str, int]:
    while True:
        name = f".tmp-{this_host()}-{os.getpid()}-{secrets.token_hex(8)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a sweep took it for abandoned before it was locked


def _writer_host(name: str, descriptor: int) -> str:
    match = _TEMPORARY.match(name)
    return match["host"] if match else os.pread(descriptor, 64, 0).decode(errors="replace")
