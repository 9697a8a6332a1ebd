"""Statistics over the index and the attempts: a few grouped sums, each served by an index that covers it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Select, Table, func, select

from db_backup.catalog.database import Database
from db_backup.catalog.index import conditions, source_of
from db_backup.catalog.records import AttemptFigures, AttemptOutcome, BackupQuery, Statistics, Tally
from db_backup.catalog.tables import attempts, copies
from db_backup.model import BackupStatus, BackupType

K = TypeVar("K", bound=Hashable)


def statistics(database: Database, query: BackupQuery) -> Statistics:
    source = source_of(query)
    kind = (source.c.entry, source.c.type, source.c.status)
    with database.read() as connection:
        kinds = connection.execute(_grouped(query, source, *kind)).all()
        days = connection.execute(_grouped(query, source, source.c.created_day)).all()
        places = connection.execute(_grouped(query, copies, copies.c.storage)).all()
        figures = _attempts(connection, query)
    return Statistics(
        total=sum((_tally(row) for row in kinds), Tally()),
        by_database=_sums((row.entry, _tally(row)) for row in kinds),
        by_type=_sums((BackupType(row.type), _tally(row)) for row in kinds),
        by_status=_sums((BackupStatus(row.status), _tally(row)) for row in kinds),
        by_storage=_sums((row.storage, _tally(row)) for row in places),
        by_day=_sums((row.created_day, _tally(row)) for row in days),
        attempts=figures,
    )


def _grouped(query: BackupQuery, source: Table, *groups: Column[Any]) -> Select[Any]:
    return (
        select(
            *groups,
            func.count().label("backups"),
            func.sum(source.c.size_bytes).label("size_bytes"),
            func.sum(source.c.plain_bytes).label("plain_bytes"),
        )
        .where(*conditions(query, source))
        .group_by(*groups)
        .order_by(*groups)
    )


def _tally(row: Row[Any]) -> Tally:
    # Sums of big integers are decimals in PostgreSQL.
    return Tally(backups=row.backups, size_bytes=int(row.size_bytes), plain_bytes=int(row.plain_bytes))


def _sums(tallies: Iterable[tuple[K, Tally]]) -> dict[K, Tally]:
    sums: dict[K, Tally] = defaultdict(Tally)
    for key, tally in tallies:
        sums[key] += tally
    return dict(sums)


def _attempts(connection: Connection, query: BackupQuery) -> AttemptFigures:
    rows = {row.outcome: row for row in connection.execute(_attempts_by_outcome(query))}
    counts = {outcome: rows[outcome].number if outcome in rows else 0 for outcome in (*AttemptOutcome, None)}
    tried = sum(counts[o] for o in AttemptOutcome if o is not AttemptOutcome.SKIPPED)
    done = rows.get(AttemptOutcome.SUCCEEDED)
    return AttemptFigures(
        succeeded=counts[AttemptOutcome.SUCCEEDED],
        failed=counts[AttemptOutcome.FAILED],
        interrupted=counts[AttemptOutcome.INTERRUPTED],
        skipped=counts[AttemptOutcome.SKIPPED],
        running=counts[None],
        success_rate=counts[AttemptOutcome.SUCCEEDED] / tried if tried else None,
        average_seconds=float(done.average) if done else None,
        longest_seconds=float(done.longest) if done else None,
    )


def _attempts_by_outcome(query: BackupQuery) -> Select[Any]:
    wanted = {attempts.c.entry: query.database, attempts.c.type: query.type}
    filters = [column == str(value) for column, value in wanted.items() if value is not None]
    if query.since is not None:
        filters.append(attempts.c.started_at >= query.since)
    seconds = attempts.c.duration_seconds
    return (
        select(
            attempts.c.outcome,
            func.count().label("number"),
            func.avg(seconds).label("average"),
            func.max(seconds).label("longest"),
        )
        .where(*filters)
        .group_by(attempts.c.outcome)
    )
