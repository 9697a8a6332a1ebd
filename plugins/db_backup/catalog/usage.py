"""What the storages hold, and what they held on the days before: the index forgets what is deleted, this does not."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Connection, Date, delete, func, insert, literal, select

from db_backup.catalog.database import Database
from db_backup.catalog.records import Held, HeldByDay
from db_backup.catalog.tables import UtcDateTime, copies, usage
from db_backup.model import BackupType

KEPT = timedelta(days=31)
"""How far back the days go."""


def held(database: Database) -> list[Held]:
    """By storage, entry and type, in this order; served by an index that covers it."""
    kind = (copies.c.storage, copies.c.entry, copies.c.type)
    wanted = select(*kind, func.count().label("copies"), func.sum(copies.c.size_bytes).label("size_bytes"))
    with database.read() as connection:
        rows = connection.execute(wanted.group_by(*kind).order_by(*kind)).all()
    return [
        # Sums of big integers are decimals in PostgreSQL.
        Held(
            storage=row.storage,
            entry=row.entry,
            type=BackupType(row.type),
            copies=row.copies,
            size_bytes=int(row.size_bytes),
        )
        for row in rows
    ]


def note(database: Database) -> bool:
    """Write down what the storages hold now, once a day; whether it was not done yet."""
    with database.read() as connection:
        if _is_noted(connection, database.now(connection).date()):
            return False  # as nearly always: writers need not wait for each other
    with database.write() as connection:
        now = database.now(connection)
        today = now.date()
        if _is_noted(connection, today):
            return False
        kind = (copies.c.storage, copies.c.entry)
        figures = (func.count(), func.sum(copies.c.size_bytes))
        lines = select(*kind, literal(today, Date()), literal(now, UtcDateTime()), *figures).group_by(*kind)
        connection.execute(
            insert(usage).from_select(["storage", "entry", "day", "noted_at", "copies", "size_bytes"], lines)
        )
        connection.execute(delete(usage).where(usage.c.day < today - KEPT))
    return True


def by_day(database: Database) -> list[HeldByDay]:
    """Every line that was noted, the oldest day first."""
    with database.read() as connection:
        rows = connection.execute(select(usage).order_by(usage.c.day, usage.c.storage, usage.c.entry))
        return [HeldByDay.model_validate(dict(row._mapping)) for row in rows]


def _is_noted(connection: Connection, day: date) -> bool:
    return connection.scalar(select(usage.c.day).where(usage.c.day == day).limit(1)) is not None
