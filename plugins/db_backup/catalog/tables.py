"""The catalogue's tables, in SQLAlchemy Core and for any engine (DESIGN, "Catalogue").

``backups`` and ``copies`` are the index: derived from manifests and states, rebuilt by ``catalog reindex``. All the
others hold what is nowhere else. Every change here comes with a migration, and ``SCHEMA`` names the newest one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)

SCHEMA = "0002"

metadata = MetaData()

_FIGURES = ("created_day", "size_bytes", "plain_bytes")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, stored in UTC: a timestamp with time zone where there is one, sortable ISO text in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class AnyText(TypeDecorator[str]):
    """What tools and servers print, which may hold what PostgreSQL takes for no text: NUL, and bytes that were none."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value) if value is not None else None


def _holder() -> tuple[Column[Any], ...]:
    """Which process holds a claim, and until when it holds if nobody can ask that process (``holder.py``)."""
    return (
        Column("host", String(255), nullable=False),
        Column("boot_id", String(64), nullable=False),
        Column("pid_namespace", String(64), nullable=False),
        Column("pid", Integer, nullable=False),
        Column("process_started", BigInteger, nullable=False),
        Column("expires_at", UtcDateTime, nullable=False),
    )


# The summary travels whole, as JSON; the other columns are what queries filter, sort and add up by. ``recorded_at``
# tells a reindexing which rows were written while it read the sidecars.
backups = Table(
    "backups",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("entry", String(48), nullable=False),
    Column("type", String(16), nullable=False),
    Column("status", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_day", Date, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("plain_bytes", BigInteger, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("summary", Text, nullable=False),
    # One index for each set of filters, in the order of pages.
    Index("backups_by_age", "created_at", "id"),
    Index("backups_by_entry", "entry", "created_at", "id"),
    Index("backups_by_status", "status", "created_at", "id"),
    Index("backups_by_type", "type", "created_at", "id"),
    Index("backups_by_entry_and_status", "entry", "status", "created_at", "id"),
    Index("backups_by_entry_and_type", "entry", "type", "created_at", "id"),
    # These also hold all that statistics add up: no row of the table itself is read for them.
    Index("backups_by_type_and_status", "type", "status", "created_at", "id", "entry", *_FIGURES),
    Index("backups_by_kind", "entry", "type", "status", "created_at", "id", *_FIGURES),
    Index("backups_by_day", "created_day", "entry", "type", "status", "created_at", "size_bytes", "plain_bytes"),
)

# One row per storage that holds a backup, with what queries need of the backup, so that they need no join.
copies = Table(
    "copies",
    metadata,
    Column("storage", String(255), primary_key=True),
    Column("id", String(128), ForeignKey("backups.id", ondelete="CASCADE"), primary_key=True),
    Column("entry", String(48), nullable=False),
    Column("type", String(16), nullable=False),
    Column("status", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_day", Date, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("plain_bytes", BigInteger, nullable=False),
    Index("copies_of_backup", "id"),
    Index("copies_by_age", "storage", "created_at", "id", "entry", "type", "status"),
    Index("copies_by_entry", "storage", "entry", "created_at", "id", "type", "status"),
    Index("copies_by_kind", "storage", "entry", "type", "status", "created_at", *_FIGURES),
)

storages = Table(
    "storages",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("storage_id", String(255), nullable=False),
    Column("location", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

# What each storage held of each entry, once a day: growth cannot be told from backups that are not there any more.
usage = Table(
    "usage",
    metadata,
    Column("storage", String(255), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("entry", String(48), primary_key=True),
    Column("noted_at", UtcDateTime, nullable=False),
    Column("copies", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("usage_by_day", "day"),
)

# ``outcome`` is null while the attempt runs.
attempts = Table(
    "attempts",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("entry", String(48), nullable=False),
    Column("type", String(16), nullable=False),
    Column("outcome", String(16)),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("duration_seconds", Float),
    Column("backup_id", String(128)),
    Column("error", AnyText, nullable=False),
    Column("run", Text, nullable=False),
    *_holder(),
    Index("attempts_by_age", "started_at"),
    Index("attempts_by_entry", "entry", "started_at"),
    Index("attempts_by_outcome", "outcome", "entry", "type", "started_at", "duration_seconds"),
)

locks = Table(
    "locks",
    metadata,
    Column("entry", String(48), primary_key=True),
    Column("token", String(32), nullable=False, unique=True),
    Column("purpose", String(255), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    *_holder(),
)

leases = Table(
    "leases",
    metadata,
    Column("token", String(32), primary_key=True),
    Column("backup_id", String(128), nullable=False),
    Column("purpose", String(255), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    *_holder(),
    Index("leases_of_backup", "backup_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("act", String(32), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("host", String(255), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("entry", String(48)),
    Column("backup_id", String(128)),
    Column("outcome", String(16), nullable=False),
    Column("detail", AnyText, nullable=False),
    Index("audit_by_age", "at", "number"),
)

# Events on their way to people: written with what they tell of, sent afterwards, until ``sent_at`` is set.
outbox = Table(
    "outbox",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("channel", String(255), nullable=False),
    Column("event", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_error", Text),
    Column("next_try_at", UtcDateTime),
    Column("sent_at", UtcDateTime),
    Index("outbox_unsent", "sent_at", "next_try_at"),
)
