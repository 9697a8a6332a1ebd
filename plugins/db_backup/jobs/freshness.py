"""Whether there is a proven backup that is recent enough, asked before something that may go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from db_backup import naming, standing
from db_backup.catalog import BackupQuery
from db_backup.errors import BackupError, ObjectMissing, Refused, UsageError
from db_backup.jobs.sidecars import Located, locate
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.summary import BackupSummary, summarise
from db_backup.units import human_duration


def fresh_backup(workspace: Workspace, database: str, within: timedelta) -> BackupSummary:
    """The newest verified full backup of this entry, whose data are no older than ``within``.

    The sidecars in storage decide, and every part must be there with its size: a backup that somebody removed by hand
    does not count, whatever the catalogue remembers; nor does one that is dated in the future, nor a safety backup.

    :raises Refused: there is none; says what there is instead.
    :raises UnknownDatabase, UsageError, CatalogError, StorageError:
    """
    entry = workspace.config.entry(database)
    if within <= timedelta(0):
        raise UsageError(f"A backup cannot be younger than {within}.", hint="Give a time such as timedelta(hours=24).")
    now = utc_now()
    failures: list[str] = []
    for found in _newest_fulls(workspace, entry.name, now):
        if found.recovery_point < now - within:
            failures.append(f"{found.id} is {_age(found.recovery_point, now)} old")
            break
        try:
            located = locate(workspace, found.id)
        except BackupError as error:
            failures.append(error.message.removesuffix("."))
            continue
        failure = _failure(located)
        if failure is None:
            return summarise(located.manifest, located.state)
        failures.append(failure)
    raise Refused(
        f"There is no verified full backup of '{entry.name}' from the last {human_duration(within.total_seconds())}: "
        f"{'; '.join(failures[:3]) or 'there is none at all'}.",
        hint=f"Run backup_on_demand for it, or `db-backup create {entry.name}`, and then this task again.",
        database=entry.name,
    )


def _newest_fulls(workspace: Workspace, entry: str, now: datetime) -> Iterator[BackupSummary]:
    fulls = workspace.catalog.newest_first(BackupQuery(database=entry, type=BackupType.FULL))
    return (backup for backup in fulls if backup.created_at <= now)


def _failure(located: Located) -> str | None:
    """Why this backup is not to be relied on; None when it is."""
    manifest = located.manifest
    status = standing.status(manifest, located.state)
    if manifest.safety:
        return f"{manifest.id} is of what a restore was about to replace"
    if status is not BackupStatus.GOOD:
        return f"{manifest.id} is {status}"
    for part in manifest.parts:
        try:
            stored = located.storage.stat(naming.part_key(part.path))
        except ObjectMissing:
            return f"{part.path} of {manifest.id} is gone"
        if stored.size_bytes != part.stored_bytes:
            return f"{part.path} of {manifest.id} has another size than its manifest says"
    return None


def _age(moment: datetime, now: datetime) -> str:
    return human_duration((now - moment).total_seconds())
