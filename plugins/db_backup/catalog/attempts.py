"""Attempts: written before a dump starts, so that one whose process was killed is known too."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from db_backup.catalog.database import Database
from db_backup.catalog.heartbeat import Heartbeat, next_expiry
from db_backup.catalog.locks import Claims
from db_backup.catalog.records import Attempt, AttemptOutcome
from db_backup.catalog.tables import attempts
from db_backup.errors import CatalogError
from db_backup.holder import Holder
from db_backup.manifest import RunInfo
from db_backup.model import BackupType, utc_now


class Attempts:
    """Tries at backups, successful or not."""

    def __init__(self, database: Database, heartbeat: Heartbeat, claims: Claims, host: str) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._claims = claims
        self._host = host

    def begin(self, entry: str, backup_type: BackupType, run: RunInfo) -> str:
        token = uuid.uuid4().hex
        with self._database.write() as connection:
            connection.execute(
                insert(attempts).values(
                    token=token,
                    entry=entry,
                    type=str(backup_type),
                    started_at=utc_now(),
                    error="",
                    run=run.model_dump_json(),
                    expires_at=next_expiry(self._database.now(connection)),
                    **Holder.this_process(self._host).columns(),
                )
            )
        self._heartbeat.keep(attempts, token)
        return token

    def finish(self, attempt_id: str, outcome: AttemptOutcome, backup_id: str | None, error: str) -> None:
        self._heartbeat.drop(attempt_id)
        finished_at = utc_now()
        this = attempts.c.token == attempt_id
        with self._database.write() as connection:
            started_at = connection.scalar(select(attempts.c.started_at).where(this))
            if started_at is None:
                raise CatalogError(
                    f"The catalogue knows no attempt {attempt_id}.",
                    hint="Was the catalogue deleted meanwhile? Run `db-backup catalog reindex`.",
                )
            connection.execute(
                update(attempts)
                .where(this)
                .values(
                    outcome=str(outcome),
                    finished_at=finished_at,
                    duration_seconds=(finished_at - started_at).total_seconds(),
                    backup_id=backup_id,
                    error=error,
                )
            )

    def abandoned(self) -> list[Attempt]:
        unfinished = select(attempts).where(attempts.c.outcome.is_(None)).order_by(attempts.c.started_at)
        with self._database.read() as connection:
            running = connection.execute(unfinished).all()
            now = self._database.now(connection)
        return [_attempt(row) for row in running if self._claims.is_dead(row, now)]

    def list(self, entry: str | None, since: datetime | None, limit: int | None) -> list[Attempt]:
        wanted = select(attempts).order_by(attempts.c.started_at.desc()).limit(limit)
        if entry is not None:
            wanted = wanted.where(attempts.c.entry == entry)
        if since is not None:
            wanted = wanted.where(attempts.c.started_at >= since)
        with self._database.read() as connection:
            return [_attempt(row) for row in connection.execute(wanted)]


def _attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        id=row.token,
        entry=row.entry,
        type=BackupType(row.type),
        run=RunInfo.model_validate_json(row.run),
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_seconds=row.duration_seconds,
        outcome=AttemptOutcome(row.outcome) if row.outcome else None,
        backup_id=row.backup_id,
        error=row.error,
        host=row.host,
        pid=row.pid,
    )
