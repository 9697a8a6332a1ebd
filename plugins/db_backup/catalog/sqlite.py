"""The embedded catalogue's file: SQLite, opened for several processes of one host. All that is SQLite's own is here."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from db_backup.catalog.place import BUSY_TIMEOUT_SECONDS, WRITES, Place
from db_backup.errors import CatalogError, ConfigurationError
from db_backup.model import utc_now

_FILE_MODE = 0o640
_FOLDER_MODE = 0o750
_MOUNTS = Path("/proc/self/mountinfo")
_NETWORK_FILESYSTEMS = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gfs2", "ocfs2", "beegfs"),
        *("fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs"),
    }
)
_REINDEX = "Delete it and run `db-backup catalog reindex`."


def sqlite_place(path: Path) -> Place:
    """The embedded catalogue; ``open_sqlite`` says what may be raised."""
    return Place(
        engine=open_sqlite(path),
        name=str(path),
        explain=lambda error: explain_sqlite(error, str(path)),
        now=lambda _connection: utc_now(),  # all of one host
        remedy_when_taken="Set BACKUP_CATALOG_PATH to a file of its own.",
    )


def open_sqlite(path: Path) -> Engine:
    """Make folder and file if there are none, and return an engine over the file.

    No connection is kept: each transaction opens its own, so that a forked child never shares one with its parent.

    :raises ConfigurationError: the path leads through a file.
    :raises CatalogError: the folder cannot be written, or lies on a network filesystem.
    """
    try:
        _make_folder(path.parent)
        refuse_network_folder(path, _MOUNTS.read_text(encoding="utf-8", errors="replace"), path.parent.stat().st_dev)
        _make_file(path)
    except OSError as error:
        raise CatalogError(
            f"The catalogue {path} cannot be opened: {error.strerror}.",
            hint="Let this user write to the folder, or set BACKUP_CATALOG_PATH to another place.",
        ) from error
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def explain_sqlite(error: DBAPIError, path: str) -> CatalogError:
    """What a failure of SQLite means to a person."""
    reason = str(error.orig)
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return CatalogError(f"The catalogue {path} is damaged: {reason}.", hint=_REINDEX)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return CatalogError(
            f"The catalogue {path} was busy for {BUSY_TIMEOUT_SECONDS} seconds.",
            hint="Another process writes to it for very long; run it again when that has ended.",
        )
    if code == sqlite3.SQLITE_FULL:
        return CatalogError(f"No room is left for the catalogue {path}.", hint="Free some space, then run it again.")
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return CatalogError(
            f"The catalogue {path} cannot be written: {reason}.",
            hint="Let this user write to the file and its folder, or set BACKUP_CATALOG_PATH to another place.",
        )
    return CatalogError(f"The catalogue {path} failed: {reason}.", hint=f"If it happens again: {_REINDEX}")


def refuse_network_folder(path: Path, mounts: str, device: int) -> None:
    """Refuse a catalogue whose locks other hosts would not see.

    :param mounts: the text of /proc/self/mountinfo.
    :param device: ``st_dev`` of the folder.
    :raises CatalogError: the folder's filesystem is reached over a network.
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted and after.split()[0] in _NETWORK_FILESYSTEMS:
            raise CatalogError(
                f"The catalogue {path} lies on a network filesystem ({after.split()[0]}), where SQLite loses data.",
                hint="Set BACKUP_CATALOG_PATH to a folder on a disk of this machine.",
            )


def _make_folder(folder: Path) -> None:
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise ConfigurationError(
            f"BACKUP_CATALOG_PATH leads through {nearest}, which is not a folder.",
            hint="Set it to a file in a folder of this machine.",
        )
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(_FOLDER_MODE)  # whatever the umask is


def _make_file(path: Path) -> None:
    """SQLite's own files beside it (-wal, -shm) take over its permissions."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _FILE_MODE)
        try:
            os.fchmod(descriptor, _FILE_MODE)  # whatever the umask is
        finally:
            os.close(descriptor)


def _set_up(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode = WAL")  # kept in the file: nothing happens from the second time on
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    # A deferred transaction that turns into a writing one fails at once, without waiting (SQLite, "BEGIN IMMEDIATE").
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
