"""What a restore finds where it shall go, and an application's own questions about a database; nothing is changed."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from db_backup.engines.base import LoadOptions, Occupancy, TargetExamination
from db_backup.engines.sqlite.contents import interruptible, read_schema, tolerant_text
from db_backup.engines.sqlite.replacing import refuse_existing
from db_backup.engines.sqlite.rows import refuse_missing_tables
from db_backup.engines.sqlite.selection import refuse_selection, refuse_taken
from db_backup.engines.sqlite.source import check_file, describe, open_source, primary_code
from db_backup.engines.sqlite.structure import stay_inside
from db_backup.engines.sqlite.tables import read_tables
from db_backup.engines.staging import check_room
from db_backup.errors import LoadFailed, PrivilegeMissing, SourceError, SourceUnsupported, TargetNotEmpty, UsageError
from db_backup.manifest import Manifest
from db_backup.model import BackupType, EngineName
from db_backup.progress import Cancellation

_EXAMPLES = 5
_COUNTED = ("table", "virtual table", "view", "trigger")


def real_path(database: str) -> Path:
    """The file itself, where the path leads to it through symbolic links; it need not exist.

    :raises UsageError: it is no path of a file.
    """
    path = Path(database)
    try:
        if database and not path.is_dir():
            return path.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
        pass
    raise UsageError(f"{database!r} is not the path of a file.", hint="Name a database file, or one that shall be.")


def replacement_of(target: Path) -> Path:
    """Beside the real file: a rename reaches no other file system."""
    return target.with_name(f".{target.name}.db-backup-restoring")


def examine(database: str, manifest: Manifest, options: LoadOptions, *, replace: bool) -> TargetExamination:
    """``Engine.examine_target``, of this path."""
    if manifest.engine is not EngineName.SQLITE:
        raise SourceUnsupported(
            f"{manifest.id} is a {manifest.engine} backup, and {database} is an SQLite file.",
            hint="Name a target of the backup's engine.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    refuse_selection(manifest, options.tables)
    target = real_path(database)
    _check_folder(target.parent)
    warnings = list(_warnings(database, target, manifest))
    occupancy = None
    if target.exists():
        _check_writable(target)
        occupancy, damage = _occupancy(target, replace=replace)
        warnings += damage
        if not replace:
            _check_fit(target, manifest, options)
    elif manifest.type is BackupType.DATA:
        raise LoadFailed(
            f"There is no database {target} whose tables the rows of {manifest.id} could go into.",
            hint="Restore a structure backup there first.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    else:
        refuse_existing(target)  # a journal that another file has left would be taken for the new one's
    _check_space(target, manifest, options)
    return TargetExamination(describe(target), occupancy, tuple(warnings))


def ask(path: Path, query: str, cancellation: Cancellation) -> object:
    """``Engine.ask``: through a connection that only reads."""
    with open_source(path, cancellation) as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.set_authorizer(stay_inside)
        connection.text_factory = tolerant_text
        try:
            with interruptible(connection, cancellation):
                row = connection.execute(query).fetchone()
        except (sqlite3.Error, sqlite3.Warning) as error:  # the latter: it is more than one statement
            raise SourceError(
                f"{path} did not answer the query '{query}': {error}.",
                hint="Correct the query: one statement that only reads.",
            ) from error
    return row[0] if row else None


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", hint="Create it, or name a path in another one.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PrivilegeMissing(
            f"This user may not write to {folder}, where the new database is made before it takes its place.",
            hint="Give the user that restores the right to write there, or name a path in another folder.",
        )


def _check_writable(target: Path) -> None:
    if target.stat().st_size or not stat.S_ISREG(target.stat().st_mode):  # one of 0 bytes is a database without tables
        check_file(target)
    if not os.access(target, os.W_OK):
        raise PrivilegeMissing(
            f"This user may not write to {target}.",
            hint="Give the user that restores the right to write to it, or restore under another path.",
        )


def _check_fit(target: Path, manifest: Manifest, options: LoadOptions) -> None:
    """Tables that rows need must be there, and those that are brought must not."""
    if target.stat().st_size == 0 and manifest.type is not BackupType.DATA:
        return
    if manifest.type is BackupType.DATA or options.tables:
        with open_source(target, Cancellation()) as connection:
            if manifest.type is BackupType.DATA:
                refuse_missing_tables(connection, target, manifest)
            refuse_taken(connection, options.tables, target)


def _check_space(target: Path, manifest: Manifest, options: LoadOptions) -> None:
    """The image lies beside the target before it takes its place, and tables are copied out of it."""
    if manifest.type is not BackupType.STRUCTURE:
        needed = manifest.plain_bytes * (2 if options.tables else 1)
        check_room(
            target.parent,
            needed,
            f"Restoring {manifest.id}",
            hint="Make room there, or restore to another disk.",
            database=manifest.entry,
        )


def _occupancy(target: Path, *, replace: bool) -> tuple[Occupancy, list[str]]:
    """What is in the file; with a warning where nobody can tell, and it is to be replaced anyway.

    Who has a file open without a lock cannot be known.
    """
    size_bytes = target.stat().st_size
    if size_bytes == 0:
        return Occupancy(sessions=None, size_bytes=0), []
    try:
        with open_source(target, Cancellation()) as connection:
            objects = [item for item in read_schema(connection).objects if item.kind in _COUNTED]
            shadow = read_tables(connection).shadow
            names = [item.name for item in objects if item.name not in shadow]
            rows = _has_rows(connection)
    except SourceError as error:
        if isinstance(error, SourceUnsupported) and replace:
            error.hint = f"If it was one and is damaged, move it away: then restore to {target} as to a new one."
        if isinstance(error, SourceUnsupported) and not replace:
            raise TargetNotEmpty(
                f"{error.message} It was not touched.", hint="Restore under a path that does not exist yet."
            ) from error
        if not replace or not _is_broken(error):
            raise
        return Occupancy(rows=True, sessions=None, size_bytes=size_bytes), [
            f"What the target holds cannot be told, and counts as something: {error.message}"
        ]
    return Occupancy(len(names), rows, tuple(names[:_EXAMPLES]), sessions=None, size_bytes=size_bytes), []


def _has_rows(connection: sqlite3.Connection) -> bool:
    for table in read_tables(connection).with_rows:
        if connection.execute(f"SELECT 1 FROM ({table.query} LIMIT 1)").fetchone() is not None:  # noqa: S608 - quoted
            return True
    return False


def _is_broken(error: SourceError) -> bool:
    """A damaged database, or one that a crashed program has left in the middle of a transaction."""
    cause = error.__cause__
    if not isinstance(cause, sqlite3.Error):
        return False
    half_done = getattr(cause, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_ROLLBACK
    return half_done or primary_code(cause) == sqlite3.SQLITE_CORRUPT


def _warnings(database: str, target: Path, manifest: Manifest) -> Iterator[str]:
    if Path(database).is_symlink():
        yield f"{database} is a symbolic link: the database is {target}, and the link stays."
    if _release(manifest.server.version) > sqlite3.sqlite_version_info:
        yield (
            f"The backup was taken with SQLite {manifest.server.version}, and this machine has "
            f"{sqlite3.sqlite_version}: what only the newer one knows cannot be used here."
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(piece) for piece in version.split(".") if piece.isdigit())
