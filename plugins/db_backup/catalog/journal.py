"""What is only written down: the audit trail, and which storage root stands behind which name."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, insert, select

from db_backup.catalog.database import Database
from db_backup.catalog.records import AuditAct, AuditOutcome, AuditRecord
from db_backup.catalog.tables import audit, storages
from db_backup.model import utc_now


def write_audit(database: Database, record: AuditRecord) -> None:
    with database.write() as connection:
        connection.execute(insert(audit).values(**{**record.model_dump(), "at": record.at}))


def audit_trail(
    database: Database,
    since: datetime | None,
    limit: int,
    entry: str | None,
    backup_id: str | None,
    act: AuditAct | None,
) -> list[AuditRecord]:
    wanted = select(audit).order_by(audit.c.at.desc(), audit.c.number.desc()).limit(limit)
    if since is not None:
        wanted = wanted.where(audit.c.at >= since)
    if entry is not None:
        wanted = wanted.where(audit.c.entry == entry)
    if backup_id is not None:
        wanted = wanted.where(audit.c.backup_id == backup_id)
    if act is not None:
        wanted = wanted.where(audit.c.act == act)
    with database.read() as connection:
        return [AuditRecord.model_validate(dict(row._mapping)) for row in connection.execute(wanted)]


def acts_marked(database: Database, act: AuditAct, mark: str) -> list[AuditRecord]:
    wanted = select(audit).where(audit.c.act == act, audit.c.detail.endswith(mark, autoescape=True))
    with database.read() as connection:
        rows = connection.execute(wanted.order_by(audit.c.number.desc()))
        return [AuditRecord.model_validate(dict(row._mapping)) for row in rows]


def last_done(database: Database, act: AuditAct) -> AuditRecord | None:
    wanted = select(audit).where(audit.c.act == act, audit.c.outcome == AuditOutcome.DONE)
    with database.read() as connection:
        row = connection.execute(wanted.order_by(audit.c.at.desc(), audit.c.number.desc()).limit(1)).first()
    return AuditRecord.model_validate(dict(row._mapping)) if row else None


def remember_storage(database: Database, name: str, storage_id: str, location: str) -> None:
    with database.write() as connection:
        connection.execute(delete(storages).where(storages.c.name == name))
        connection.execute(
            insert(storages).values(name=name, storage_id=storage_id, location=location, seen_at=utc_now())
        )


def storage_id(database: Database, name: str) -> str | None:
    with database.read() as connection:
        return connection.scalar(select(storages.c.storage_id).where(storages.c.name == name))
