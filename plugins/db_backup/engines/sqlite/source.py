"""A live SQLite file, read at one moment and never changed.

The file is only ever opened through SQLite: closing any other descriptor of it would drop the locks that this process
may hold on it (sqlite.org, "How To Corrupt An SQLite Database File", section 2.2).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from db_backup.errors import AccessDenied, DumpFailed, ServerUnreachable, SourceError, SourceUnsupported
from db_backup.manifest import ServerInfo, ToolInfo
from db_backup.model import EngineName, utc_now
from db_backup.progress import Cancellation

SIDE_FILES = ("-wal", "-shm", "-journal")
BUSY_SECONDS = 30.0  # how long a writer may keep the file locked before the backup gives up
_BUSY_STEP_SECONDS = 1.0  # how often a wait for the lock looks for a cancellation


@contextmanager
def open_source(path: Path, cancellation: Cancellation) -> Iterator[sqlite3.Connection]:
    """A read-only connection inside one read transaction: everything read through it is of the same moment.

    A WAL database that nobody has open gets its ``-wal`` and ``-shm`` files by being read; they are removed again.

    :raises ServerUnreachable: no such file, or a writer keeps it locked.
    :raises AccessDenied, SourceUnsupported, DumpFailed, Interrupted:
    """
    check_file(path)
    had_wal = side_file(path, "-wal").exists()
    with explained(path):
        try:
            with closing(_connect(path, "ro")) as connection:
                _begin(connection, cancellation)
                yield connection
        finally:
            if not had_wal and side_file(path, "-wal").exists():
                _let_sqlite_remove_wal(path)


def describe(path: Path) -> ServerInfo:
    """The library that reads the file; a file has no server and no identity."""
    return ServerInfo(engine=EngineName.SQLITE, flavour="SQLite", version=sqlite3.sqlite_version, address=str(path))


def library() -> ToolInfo:
    """What reads and writes the files."""
    return ToolInfo(name="sqlite3 library", version=sqlite3.sqlite_version)


def seen_at(connection: sqlite3.Connection, cancellation: Cancellation) -> datetime:
    """The moment, UTC, as of which this connection's transaction sees the file: what was committed before is in it, and
    nothing that was committed after.

    In WAL mode, where readers hold no writer off, the transaction is begun again, so that this is true to within the
    microseconds that its beginning takes.
    """
    (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if journal_mode != "wal":
        return utc_now()
    connection.execute("ROLLBACK")
    moment = utc_now()
    _begin(connection, cancellation)
    return moment


def page_size(connection: sqlite3.Connection) -> int:
    """In bytes."""
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(page_bytes)


def size_in_transaction(connection: sqlite3.Connection) -> int:
    """The database's size in bytes, as this connection's transaction sees it."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages) * page_size(connection)


def compacted_size(connection: sqlite3.Connection) -> int:
    """``size_in_transaction`` without the pages that nothing uses, in bytes."""
    (unused,) = connection.execute("PRAGMA freelist_count").fetchone()
    return size_in_transaction(connection) - int(unused) * page_size(connection)


def open_unchanging(file: Path) -> sqlite3.Connection:
    """A connection to a file that nobody writes: no locks, no side files; it may be closed by another thread."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA cell_size_check = 1")
    return connection


def side_file(path: Path, suffix: str) -> Path:
    """A file that SQLite keeps beside the database; beside the real file, where ``path`` is a symbolic link."""
    real = path.resolve()
    return real.with_name(real.name + suffix)


def check_file(path: Path) -> None:
    """Refuse, in words, what SQLite would call "unable to open database file" or take for an empty database.

    :raises ServerUnreachable, AccessDenied, SourceUnsupported:
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ServerUnreachable(
            f"There is no file {path}.", hint="Check the path in the connection, and that its disk is mounted."
        ) from error
    except PermissionError as error:
        raise _not_readable(path) from error
    if not stat.S_ISREG(status.st_mode):
        raise SourceUnsupported(f"{path} is not a file.", hint="Give the connection the path of the database file.")
    if not os.access(path, os.R_OK):
        raise _not_readable(path)
    if status.st_size == 0:
        raise SourceUnsupported(
            f"{path} is empty (0 bytes): there is no database in it.",
            hint="Check the path in the connection; the application creates its tables when it first runs.",
        )


def damaged(path: Path, what: str) -> DumpFailed:
    """The file itself is damaged; a backup of it would be no backup."""
    return DumpFailed(
        f"{path} is damaged: {what}.",
        hint=f"Look at it with: sqlite3 {path} 'PRAGMA integrity_check'; restore the last good backup.",
    )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about ``path`` into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _explain(path, error) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY_STEP_SECONDS, isolation_level=None
    )


def _begin(connection: sqlite3.Connection, cancellation: Cancellation) -> None:
    """Start the read transaction; it holds from its first read on."""
    deadline = time.monotonic() + BUSY_SECONDS
    connection.execute("BEGIN")
    while True:
        cancellation.check()
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return


def _let_sqlite_remove_wal(path: Path) -> None:
    """The last connection that may write removes both files; ours only reads. Where it may not, they stay, harmless."""
    if not os.access(path, os.W_OK):
        return
    with suppress(sqlite3.OperationalError), closing(_connect(path, "rw")) as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension; 0 for errors of Python's module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _not_readable(path: Path) -> AccessDenied:
    return AccessDenied(
        f"{path} may not be read by this user.", hint="Give the user that runs backups the right to read the file."
    )


def _explain(path: Path, error: sqlite3.Error) -> SourceError:
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return SourceUnsupported(
            f"{path} is not an SQLite database, or it is encrypted.",
            hint="Check the path in the connection; databases encrypted with SQLCipher or SEE cannot be read.",
        )
    if code == sqlite3.SQLITE_BUSY:
        return ServerUnreachable(
            f"{path} was locked by another program for {BUSY_SECONDS:.0f} seconds.",
            hint="Wait until its transaction is over, or let the application use WAL mode, where writers block nobody.",
        )
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK:
        return SourceUnsupported(
            f"{path} holds half a transaction of a program that crashed; {path.name}-journal undoes it.",
            hint=f"Open it once to let SQLite repair it: sqlite3 {path} 'PRAGMA quick_check'.",
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return AccessDenied(
            f"{path} could not be opened: {error}.",
            hint=f"A database in WAL mode needs {path.name}-shm beside it: let this user write to {path.parent}, "
            "or keep the application running while the backup is taken.",
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return damaged(path, str(error))
    return DumpFailed(f"{path} could not be read: {error}.", hint="Check the disk and the file.")
