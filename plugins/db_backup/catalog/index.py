"""The index over manifests and states: written from summaries, read by filters and pages."""

from __future__ import annotations

import difflib
import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, Table, delete, insert, literal, select, tuple_

from db_backup import naming
from db_backup.catalog import cursor as cursors
from db_backup.catalog.database import Database
from db_backup.catalog.records import BackupPage, BackupQuery
from db_backup.catalog.tables import UtcDateTime, backups, copies
from db_backup.errors import CatalogError, UnknownBackup, UsageError
from db_backup.manifest import Manifest, State
from db_backup.model import BackupStatus, BackupType
from db_backup.summary import BackupSummary, summarise

LARGEST_PAGE = 1000
_FIRST_PAGE = 10  # most readers of backups from the newest on find theirs among these
_BATCH = 500
_RECENT = 100  # how many of the newest ids a mistyped one is compared with
_NEIGHBOURS = 5


def record(database: Database, manifest: Manifest, state: State) -> None:
    with database.write() as connection:
        _store(connection, [summarise(manifest, state)], database.now(connection))


def forget(database: Database, backup_id: str) -> None:
    with database.write() as connection:
        connection.execute(delete(backups).where(backups.c.id == backup_id))


def replace(database: Database, pairs: Iterable[tuple[Manifest, State]], kept: Iterable[BackupSummary] = ()) -> int:
    """Make the index hold these backups and no others, in one transaction; returns how many pairs there were.

    ``pairs`` is read to its end before the transaction begins, so that slow storage keeps no writer waiting. What
    others record meanwhile is newer than what was read, and stays.
    """
    count = 0
    with database.read() as connection:
        started = database.now(connection)
    with tempfile.TemporaryFile() as spool:
        for manifest, state in pairs:
            spool.write(summarise(manifest, state).model_dump_json().encode() + b"\n")
            count += 1
        for summary in kept:
            spool.write(summary.model_dump_json().encode() + b"\n")
        spool.seek(0)
        with database.write() as connection:
            connection.execute(delete(backups).where(backups.c.recorded_at < started))
            newer = set(connection.scalars(select(backups.c.id)))
            recorded_at = database.now(connection)
            while lines := list(itertools.islice(spool, _BATCH)):
                read = (BackupSummary.model_validate_json(line) for line in lines)
                _store(connection, [summary for summary in read if summary.id not in newer], recorded_at)
    return count


def knows(database: Database, backup_id: str) -> bool:
    with database.read() as connection:
        return connection.scalar(select(backups.c.id).where(backups.c.id == backup_id)) is not None


def get(database: Database, backup: str) -> BackupSummary:
    name = PurePosixPath(backup).name
    backup_id = naming.backup_id_of_file(name)
    with database.read() as connection:
        document = connection.scalar(select(backups.c.summary).where(backups.c.id == backup_id))
        if document is None:
            raise _unknown(connection, backup, backup_id)
    summary = _summary(document)
    files = {part.path for part in summary.parts}
    sidecars = {PurePosixPath(key).name for key in (naming.manifest_key(backup_id), naming.state_key(backup_id))}
    if name != backup_id and name not in files | sidecars:
        raise UnknownBackup(
            f"Backup {backup_id} has no file called '{name}'.",
            hint=f"Its files: {', '.join(sorted(files))}.",
            database=summary.database,
            backup_id=backup_id,
        )
    return summary


def page(database: Database, query: BackupQuery, limit: int, cursor: str | None) -> BackupPage:
    if not 1 <= limit <= LARGEST_PAGE:
        raise UsageError(
            f"A page cannot have {limit} backups.", hint=f"Ask for 1 to {LARGEST_PAGE}, then for the next page."
        )
    source = source_of(query)
    wanted = select(backups.c.summary, source.c.created_at, source.c.id).where(*conditions(query, source))
    if source is copies:
        wanted = wanted.join_from(copies, backups, backups.c.id == copies.c.id)
    if cursor is not None:
        created_at, backup_id = cursors.decode(cursor)
        ended = tuple_(literal(created_at, UtcDateTime()), literal(backup_id))
        wanted = wanted.where(tuple_(source.c.created_at, source.c.id) < ended)
    # One row more than the page has: it tells whether there is a next page.
    wanted = wanted.order_by(source.c.created_at.desc(), source.c.id.desc()).limit(limit + 1)
    with database.read() as connection:
        rows = connection.execute(wanted).all()
    next_cursor = cursors.encode(rows[limit - 1].created_at, rows[limit - 1].id) if len(rows) > limit else None
    return BackupPage(tuple(_summary(row.summary) for row in rows[:limit]), next_cursor)


def newest_first(database: Database, query: BackupQuery) -> Iterator[BackupSummary]:
    limit, cursor = _FIRST_PAGE, None
    while True:
        found = page(database, query, limit, cursor)
        yield from found.items
        if found.next_cursor is None:
            return
        limit, cursor = LARGEST_PAGE, found.next_cursor


def newest(
    database: Database, entry: str, backup_type: BackupType | None, *, verified_only: bool
) -> BackupSummary | None:
    query = BackupQuery(database=entry, type=backup_type, status=BackupStatus.GOOD if verified_only else None)
    ordinary = (backup for backup in newest_first(database, query) if not backup.safety)
    return next((backup for backup in ordinary if backup.status is not BackupStatus.DELETING), None)


def newest_ids(database: Database, beginning: str, limit: int) -> list[str]:
    wanted = (
        select(backups.c.id)
        .where(backups.c.id.startswith(beginning, autoescape=True))
        .order_by(backups.c.created_at.desc(), backups.c.id.desc())
        .limit(limit)
    )
    with database.read() as connection:
        return list(connection.scalars(wanted))


def ids(database: Database) -> Iterator[str]:
    last = ""
    while True:
        with database.read() as connection:
            some = connection.scalars(
                select(backups.c.id).where(backups.c.id > last).order_by(backups.c.id).limit(LARGEST_PAGE)
            ).all()
        if not some:
            return
        yield from some
        last = some[-1]


def source_of(query: BackupQuery) -> Table:
    """The table whose rows the query counts and orders: it has all the columns that ``conditions`` needs."""
    return backups if query.storage is None else copies


def conditions(query: BackupQuery, source: Table) -> list[ColumnElement[bool]]:
    """The query's filters over ``backups`` or ``copies``."""
    wanted = {"entry": query.database, "type": query.type, "status": query.status}
    if source is copies:
        wanted["storage"] = query.storage
    filters = [source.c[name] == str(value) for name, value in wanted.items() if value is not None]
    return filters if query.since is None else [*filters, source.c.created_at >= query.since]


def _store(connection: Connection, summaries: Sequence[BackupSummary], recorded_at: datetime) -> None:
    """Insert, or replace what was known of these backups."""
    latest = {summary.id: summary for summary in summaries}
    if not latest:
        return
    connection.execute(delete(backups).where(backups.c.id.in_(latest)))
    rows = [
        {**_common(summary), "recorded_at": recorded_at, "summary": summary.model_dump_json()}
        for summary in latest.values()
    ]
    connection.execute(insert(backups), rows)
    placed = [
        {**_common(summary), "storage": storage}
        for summary in latest.values()
        for storage in dict.fromkeys(summary.storages)
    ]
    if placed:
        connection.execute(insert(copies), placed)


def _common(summary: BackupSummary) -> dict[str, Any]:
    return {
        "id": summary.id,
        "entry": summary.database,
        "type": str(summary.type),
        "status": str(summary.status),
        "created_at": summary.created_at,
        "created_day": summary.created_at.date(),
        "size_bytes": summary.size_bytes,
        "plain_bytes": summary.plain_bytes,
    }


def _summary(document: str) -> BackupSummary:
    try:
        return BackupSummary.model_validate_json(document)
    except ValidationError as error:
        raise CatalogError(
            "The catalogue holds the summary of a backup as another release of db-backup wrote it.",
            hint="Run `db-backup catalog reindex`.",
        ) from error


def _unknown(connection: Connection, backup: str, backup_id: str) -> UnknownBackup:
    nearest = difflib.get_close_matches(backup_id, _candidates(connection, backup_id), n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else "See `db-backup list`."
    return UnknownBackup(f"There is no backup '{backup}' in the catalogue.", hint=hint)


def _candidates(connection: Connection, backup_id: str) -> list[str]:
    """Ids that the one meant may be: those around it in order of name, and the newest of all."""
    column = backups.c.id
    before = select(column).where(column < backup_id).order_by(column.desc()).limit(_NEIGHBOURS)
    after = select(column).where(column > backup_id).order_by(column).limit(_NEIGHBOURS)
    recent = select(column).order_by(backups.c.created_at.desc(), column.desc()).limit(_RECENT)
    found = (connection.scalars(statement).all() for statement in (before, after, recent))
    return list(dict.fromkeys(itertools.chain.from_iterable(found)))
