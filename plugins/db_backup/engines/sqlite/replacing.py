"""A whole, new file that takes its place: under a name that nobody has, or in the stead of the database there.

A file is renamed over the old one only while the kernel vouches that nobody else has that open (a write lease,
fcntl(2)). Otherwise a program that keeps it open without a lock would go on in a file without a name, and take the new
one's journal for its own. Where others have it open, or where the new file cannot be made alike (another owner), SQLite
writes the new contents into the old file in one transaction, which these programs see as any other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from db_backup.engines.sqlite.source import SIDE_FILES, open_unchanging, primary_code, side_file
from db_backup.errors import LoadFailed, Refused, StorageFull, TargetNotEmpty
from db_backup.progress import Cancellation
from db_backup.units import human_bytes

BUSY_SECONDS = 3.0  # how long another program may keep the old database locked
_PAGES_PER_STEP = 4096
_HEADER_BYTES = 100
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")  # sqlite.org, "Database File Format", 3


def refuse_existing(target: Path) -> None:
    """:raises TargetNotEmpty: the file, or one that SQLite would take for its journal, is there."""
    for path in (target, *(side_file(target, suffix) for suffix in SIDE_FILES)):
        if os.path.lexists(path):
            raise TargetNotEmpty(
                f"{path} exists already; nothing was changed.", hint="Restore under a path that does not exist yet."
            )


def give_name(file: Path, target: Path) -> None:
    """Give the file a second name, durably; nobody's file is ever overwritten.

    :raises TargetNotEmpty: somebody has made the file meanwhile.
    :raises LoadFailed:
    """
    try:
        os.link(file, target)
    except FileExistsError as error:
        raise TargetNotEmpty(
            f"{target} exists already; nothing was changed.", hint="Restore under a path that does not exist yet."
        ) from error
    except OSError as error:
        raise LoadFailed(
            f"{target} could not be given its name: {error.strerror}.",
            hint="The folder's file system must allow hard links; restore to another folder and copy the file.",
        ) from error
    _sync(target.parent)


def replace(target: Path, new: Path, cancellation: Cancellation) -> tuple[str, ...]:
    """Put the database ``new`` in the place of ``target``, both real files of one folder; ``new`` is gone afterwards.
    Returns warnings.

    A process that is killed in here leaves the old database or the new one under the name, whole. One that is killed
    while SQLite writes leaves a journal too, with which whoever opens the file next gets the old one.

    :raises Refused: another program has the old database locked; nothing was changed.
    :raises LoadFailed, StorageFull, Interrupted: nothing was changed.
    """
    try:
        _settle(new)
        if not os.path.lexists(target):
            refuse_existing(target)
            give_name(new, target)
            new.unlink()
            return ()
        _settle(target)
        cancellation.check()
        if _rename_over(new, target):
            return ()
        _write_over(new, target, cancellation)
        new.unlink()
    except sqlite3.Error as error:
        raise _explain(target, error) from error
    except OSError as error:
        raise LoadFailed(
            f"{target} could not be replaced: {error.strerror}.", hint="Nothing was changed; check the disk and rights."
        ) from error
    return (
        f"{target} was not renamed over, but written anew: a program that has it open goes on in the restored "
        "database. Restart one that keeps in memory what it has read.",
    )


def in_use(target: Path) -> Refused:
    """Another program has the database locked."""
    return Refused(
        f"{target} is in use: another program has it locked; nothing was changed.",
        hint="Stop the program that uses it, or wait until its transaction is over, and run this again.",
    )


def connect_to_write(path: Path) -> sqlite3.Connection:
    """To a file that is there."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None, cached_statements=0
    )


def _settle(path: Path) -> None:
    """Let SQLite undo what a crashed program has left half done, and bring what is in the ``-wal`` into the file.

    Whoever closes last removes the side files; those of a program that is still there stay.
    """
    if any(side_file(path, suffix).exists() for suffix in SIDE_FILES):
        with closing(connect_to_write(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _rename_over(new: Path, target: Path) -> bool:
    """Rename the file where that harms nobody; False: it would, and nothing was changed."""
    with _alone_with(target) as descriptor:
        if (
            descriptor is None
            or os.fstat(descriptor).st_nlink != 1  # the other name would keep the old database
            or not _without_side_files(target)
            or not _made_alike(new, descriptor)
        ):
            return False
        _sync(new)
        try:
            new.replace(target)
        except OSError:  # a file that is mounted into a container, for one
            return False
        _sync(target.parent)
        # Who has waited for the lease gets the old file, which has no name any more: it shall be no database to them.
        if not os.fstat(descriptor).st_nlink:  # nor one that it was given meanwhile
            os.pwrite(descriptor, bytes(_HEADER_BYTES), 0)
        return True


@contextmanager
def _alone_with(path: Path) -> Iterator[int | None]:
    """A descriptor of a file that nobody else has open, while the block runs; whoever opens it waits for the end.

    None where that cannot be had: somebody has it open, it is another user's, or the file system knows no leases.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # somebody waits: unlike SIGIO, nobody dies of it
        yield descriptor if _leased(descriptor) else None
    finally:
        os.close(descriptor)


def _leased(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return False
    return True


def _without_side_files(target: Path) -> bool:
    """Remove the side files in which nothing is left; False: there is one that SQLite would still use."""
    wal, journal = side_file(target, "-wal"), side_file(target, "-journal")
    if wal.exists() and wal.stat().st_size:
        return False
    if journal.exists():
        with journal.open("rb") as file:
            if file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC:  # one that is done with is cut off or zeroed
                return False
    for suffix in SIDE_FILES:
        side_file(target, suffix).unlink(missing_ok=True)
    return True


def _made_alike(new: Path, descriptor: int) -> bool:
    """Give the new file the owner, mode and access list of the old one; False: this user may not."""
    status = os.fstat(descriptor)
    try:
        os.chown(new, status.st_uid, status.st_gid)
        new.chmod(stat.S_IMODE(status.st_mode))
        for name in os.listxattr(descriptor):
            os.setxattr(new, name, os.getxattr(descriptor, name))
    except OSError:
        return False
    return True


def _write_over(new: Path, target: Path, cancellation: Cancellation) -> None:
    with closing(open_unchanging(new)) as source, closing(connect_to_write(target)) as old:
        (mode,) = old.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal" and _page_bytes(source) != _page_bytes(old):
            old.execute("PRAGMA journal_mode = DELETE")  # only then SQLite changes the size of pages
        source.backup(old, pages=_PAGES_PER_STEP, progress=partial(_go_on, target, cancellation))


def _go_on(target: Path, cancellation: Cancellation, status: int, *_: int) -> None:
    if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:  # with which Python would try for ever
        raise in_use(target)
    cancellation.check()


def _page_bytes(connection: sqlite3.Connection) -> int:
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(page_bytes)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(target: Path, error: sqlite3.Error) -> Refused | StorageFull | LoadFailed:
    match primary_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return in_use(target)
        case sqlite3.SQLITE_FULL:
            free = shutil.disk_usage(target.parent).free
            return StorageFull(
                f"{target.parent} has {human_bytes(free)} left, too little for this; nothing was changed.",
                hint="Make room, or stop the programs that have the database open: then a rename will do.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return LoadFailed(
                f"{target} is damaged ({error}), and SQLite cannot tell what of its journal belongs into it.",
                hint="Move it away, with its -wal and -journal files, and restore to that path as to a new one.",
            )
    return LoadFailed(
        f"{target} could not be replaced: {error}; nothing was changed.",
        hint="Stop the programs that have the database open, and run this again.",
    )
