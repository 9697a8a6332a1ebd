"""What the operating system says of a local storage, in words that a person can act on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.errors import (
    ObjectMissing,
    StorageAccessDenied,
    StorageConflict,
    StorageError,
    StorageFull,
    StorageNotMounted,
)

_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_HARD_LINKS = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True)
class Place:
    """Whom errors name, and what they say to do."""

    storage: str
    root: Path

    @contextmanager
    def explained(self, key: str, done: str) -> Iterator[None]:
        """Turn what the operating system says into what a person can act on."""
        try:
            yield
        except OSError as error:
            raise self._explanation(error, key, done) from error

    def conflict(self, key: str) -> StorageConflict:
        return StorageConflict(
            f"'{key}' in storage '{self.storage}' ({self.root}) belongs to somebody else, or was changed meanwhile.",
            hint="Nothing was overwritten; run it again.",
        )

    def not_mounted(self, reason: str) -> StorageNotMounted:
        return StorageNotMounted(
            f"Storage '{self.storage}' is not mounted at {self.root}, or it is another one: {reason}.",
            hint=f"Mount the disk that holds the backups at {self.root}, or correct the path of storage"
            f" '{self.storage}'. If that disk is lost for good, see docs/runbooks/lost-storage.md.",
        )

    def _explanation(self, error: OSError, key: str, done: str) -> StorageError:
        what = f"'{key}'" if key else "The folder"
        message = f"{what} could not be {done} in storage '{self.storage}' ({self.root}): {error.strerror or error}."
        if isinstance(error, FileExistsError):
            return self.conflict(key)
        if isinstance(error, FileNotFoundError):
            return ObjectMissing(message, hint="See `db-backup catalog check`; another storage may hold a copy.")
        if error.errno in _DENIED:
            hint = f"Let user id {os.geteuid()} read and write {self.root} (chown, chmod), on a disk mounted writable."
            return StorageAccessDenied(message, hint=hint)
        if error.errno in _FULL:
            hint = (
                f"Free space on the disk of {self.root}, or raise its quota; `db-backup cleanup` removes old backups, "
                "for which 64 kB must be free."  # tombstone and audit line
            )
            return StorageFull(message, hint=hint)
        if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.EINVAL}:
            hint = f"Below {self.root} there may be only plain files and folders, no symbolic links."
        elif error.errno in _NO_HARD_LINKS:
            hint = "This file system has no hard links, which backups are published with; use another, such as ext4."
        else:
            hint = f"Check the disk of {self.root} and the system's log."
        return StorageError(message, hint=hint)
