"""Some of a full backup's tables, brought into a database that holds others, or into a new one; in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.base import Block
from db_backup.engines.sqlite.contents import interruptible, quoted
from db_backup.engines.sqlite.landing import FILE_MODE, beside, receive_image
from db_backup.engines.sqlite.replacing import connect_to_write, give_name, in_use, refuse_existing
from db_backup.engines.sqlite.source import open_unchanging, primary_code
from db_backup.engines.sqlite.tables import SEQUENCES, TableRows, read_tables
from db_backup.errors import BackupError, FeatureNotAvailable, LoadFailed, StorageFull, TargetNotEmpty, UsageError
from db_backup.manifest import Manifest
from db_backup.model import BackupType
from db_backup.progress import Cancellation
from db_backup.settings.problems import did_you_mean, nearest

_STATISTICS = "sqlite_stat1"


@dataclass(frozen=True)
class _Table:
    """One table of the image. ``dependants`` are the statements that make its indexes and triggers, in this order.

    ``names``: of the table and of these.
    """

    rows: TableRows
    definition: str
    dependants: tuple[str, ...]
    names: tuple[str, ...]


def refuse_selection(manifest: Manifest, tables: Sequence[str]) -> None:
    """:raises UsageError: the backup holds no such table.
    :raises FeatureNotAvailable: it is of another type than full, or the table is virtual.
    """
    if not tables:
        return
    if manifest.type is not BackupType.FULL:
        raise FeatureNotAvailable(
            f"Single tables are restored from full backups, and {manifest.id} is a {manifest.type} backup.",
            hint="Name a full backup, or restore all of this one.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    virtual = {item.name for item in manifest.inventory.objects if item.kind == "virtual table"}
    known = {table.name for table in manifest.inventory.tables if not table.name.startswith("sqlite_")}
    for name in tables:
        if name in virtual:
            raise _not_alone(name, "a virtual table", manifest)
        if name not in known:
            raise UsageError(
                f"{manifest.id} holds no table '{name}'.",
                hint=did_you_mean(nearest(name, known)) or "Name tables as the backup's inventory does.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


def refuse_taken(connection: sqlite3.Connection, names: Iterable[str], target: Path) -> None:
    """:raises TargetNotEmpty: something in the database is called so already, in whatever case."""
    for name in names:
        found = connection.execute(
            "SELECT type, name FROM main.sqlite_master WHERE name = ? COLLATE NOCASE", (name,)
        ).fetchone()
        if found:
            raise TargetNotEmpty(
                f"{target} has a {found[0]} '{found[1]}' already; nothing was changed.",
                hint="Rename or drop it first, or restore the tables into a new file.",
            )


def load_tables(
    content: Iterable[Block], target: Path, manifest: Manifest, tables: Sequence[str], cancellation: Cancellation
) -> None:
    """Make these tables with rows, indexes, triggers and AUTOINCREMENT's stand in ``target``, which may be a new file.

    The image lies beside it meanwhile.

    :raises UsageError, FeatureNotAvailable: as ``refuse_selection``; the latter also for a virtual table's own tables.
    :raises TargetNotEmpty: something there is called like one of these.
    :raises Refused: another program has the database locked.
    :raises LoadFailed, StorageFull, Interrupted: nothing was changed.
    """
    refuse_selection(manifest, tables)
    real = target.resolve()
    exists = real.exists()
    if not exists:
        refuse_existing(real)
    with beside(real) as folder:
        image = folder / "image.sqlite"
        receive_image(content, image, real, cancellation)
        file = real if exists else folder / "restored.sqlite"
        if not exists:
            file.touch(FILE_MODE)
            file.chmod(FILE_MODE)
        try:
            with closing(connect_to_write(file)) as connection:
                _bring(connection, image, manifest, tables, target, cancellation)
        except sqlite3.Error as error:
            cancellation.check()
            raise _explain(error, real, manifest, tables) from error
        if not exists:
            give_name(file, real)


def _bring(
    connection: sqlite3.Connection,
    image: Path,
    manifest: Manifest,
    names: Sequence[str],
    target: Path,
    cancellation: Cancellation,
) -> None:
    with closing(open_unchanging(image)) as source:
        tables = _read(source, names, manifest)
        (encoding,) = source.execute("PRAGMA encoding").fetchone()
    connection.execute(f"PRAGMA encoding = '{encoding}'")  # which a file that holds nothing yet takes
    _refuse_other_encoding(connection, encoding, target, manifest)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("ATTACH ? AS backup", (f"{image.absolute().as_uri()}?mode=ro&immutable=1",))
    connection.execute("BEGIN IMMEDIATE")  # ends with the connection, undone, unless it comes to COMMIT
    refuse_taken(connection, [name for table in tables for name in table.names], target)
    with interruptible(connection, cancellation):
        for table in tables:
            connection.execute(table.definition)
            _copy_rows(connection, table.rows)
        for table in tables:
            for statement in table.dependants:
                connection.execute(statement)
        if _has(connection, "main", _STATISTICS):  # what the database keeps of its tables it keeps of these, too
            for table in tables:
                connection.execute(f"ANALYZE main.{quoted(table.rows.name)}")
    cancellation.check()
    connection.execute("COMMIT")


def _copy_rows(connection: sqlite3.Connection, rows: TableRows) -> None:
    columns, name = ", ".join(rows.columns), quoted(rows.name)
    # Without an index, rows come in the order in which they are stored.
    connection.execute(f"INSERT INTO main.{name} ({columns}) SELECT {columns} FROM backup.{name} NOT INDEXED")  # noqa: S608 - quoted
    if _has(connection, "backup", SEQUENCES) and _has(connection, "main", SEQUENCES):
        connection.execute(f"DELETE FROM main.{SEQUENCES} WHERE name = ?", (rows.name,))  # noqa: S608 - our own word
        connection.execute(
            f"INSERT INTO main.{SEQUENCES} SELECT name, seq FROM backup.{SEQUENCES} WHERE name = ?",  # noqa: S608
            (rows.name,),
        )


def _read(source: sqlite3.Connection, names: Sequence[str], manifest: Manifest) -> list[_Table]:
    found = read_tables(source)
    rows = {table.name: table for table in found.with_rows}
    tables = []
    for name in dict.fromkeys(names):
        if name in found.shadow:
            raise _not_alone(name, "part of a virtual table", manifest)
        (definition,) = source.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
        ).fetchone()
        dependants = source.execute(
            "SELECT name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL "
            "AND tbl_name = ? COLLATE NOCASE ORDER BY type, rowid",
            (name,),
        ).fetchall()
        tables.append(
            _Table(
                rows[name],
                definition,
                dependants=tuple(sql for _, sql in dependants),
                names=(name, *(dependant for dependant, _ in dependants)),
            )
        )
    return tables


def _has(connection: sqlite3.Connection, schema: str, table: str) -> bool:
    query = f"SELECT 1 FROM {schema}.sqlite_master WHERE name = ?"  # noqa: S608 - our own words
    return connection.execute(query, (table,)).fetchone() is not None


def _refuse_other_encoding(connection: sqlite3.Connection, encoding: str, target: Path, manifest: Manifest) -> None:
    (found,) = connection.execute("PRAGMA encoding").fetchone()
    if found != encoding:
        raise LoadFailed(
            f"{target} is in {found} and the tables of {manifest.id} are in {encoding}; nothing was changed.",
            hint="Restore the tables into a new file.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _not_alone(name: str, what: str, manifest: Manifest) -> FeatureNotAvailable:
    return FeatureNotAvailable(
        f"'{name}' is {what}, and cannot be restored alone.",
        hint="Restore the whole backup under a new path, and copy from there.",
        database=manifest.entry,
        backup_id=manifest.id,
    )


def _explain(error: sqlite3.Error, target: Path, manifest: Manifest, tables: Sequence[str]) -> BackupError:
    match primary_code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return in_use(target)
        case sqlite3.SQLITE_FULL:
            return StorageFull(f"{target.parent} is full; nothing was kept.", hint="Make room, or restore elsewhere.")
    return LoadFailed(
        f"The tables {', '.join(tables)} of {manifest.id} could not be loaded into {target}: {error}.",
        hint="Nothing was changed. Restore the whole backup under a new path, and copy from there.",
        database=manifest.entry,
        backup_id=manifest.id,
    )
