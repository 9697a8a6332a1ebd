"""Whether there is a proven backup that is recent enough, asked before something that may go wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from db_backup import naming, standing
from db_backup.catalog import BackupQuery
from db_backup.config import Entry
from db_backup.errors import BackupError, ObjectMissing, Refused, StorageError, UsageError
from db_backup.jobs.copies import known_copies, locate
from db_backup.jobs.reach import tell
from db_backup.jobs.server_chain import server_backups
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.summary import BackupSummary, summarise
from db_backup.units import human_duration

_LEADING = frozenset({BackupType.FULL, BackupType.INCREMENTAL})


def fresh_backup(workspace: Workspace, database: str, within: timedelta) -> BackupSummary:
    """The newest verified full backup or increment from which this entry's data of ``within`` ago can be had back.

    An increment counts with its whole chain: its full and every increment between are verified too, each as its type
    requires. So does the chain of the server that the entry names, if it tells of the database. The sidecars in storage
    decide, and every part must be there with its size: a backup that somebody removed by hand does not count, whatever
    the catalogue remembers; nor does one that is dated in the future, nor a safety backup.

    :raises Refused: there is none; says what there is instead.
    :raises UnknownDatabase, UsageError, CatalogError, StorageError:
    """
    entry = workspace.config.entry(database)
    if within <= timedelta(0):
        raise UsageError(f"A backup cannot be younger than {within}.", hint="Give a time such as timedelta(hours=24).")
    now = utc_now()
    failures: dict[str, None] = {}
    judge = _Judge(workspace)
    for found in _newest_first(workspace, entry, now):
        if found.recovery_point < now - within:
            failures[f"{found.id} is {_age(found.recovery_point, now)} old"] = None
            break
        located, failure = judge.verdict(found.id)
        if located is not None:
            return summarise(located.manifest, located.state)
        failures[failure] = None
    raise Refused(
        f"There is no verified full backup of '{entry.name}', by itself or with increments, from the last "
        f"{human_duration(within.total_seconds())}: {'; '.join([*failures][:3]) or 'there is none at all'}.",
        hint=f"Run backup_on_demand for it, or `db-backup create {entry.name}`, and then this task again.",
        database=entry.name,
    )


def _newest_first(workspace: Workspace, entry: Entry, now: datetime) -> list[BackupSummary]:
    own = workspace.catalog.newest_first(BackupQuery(database=entry.name))
    found = [
        backup
        for backup in (*own, *server_backups(workspace, entry))
        if backup.type in _LEADING and backup.created_at <= now
    ]
    return sorted(found, key=lambda backup: (backup.recovery_point, backup.id), reverse=True)


class _Judge:
    """Looks at each backup once, however many increments need it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, tuple[Located | None, str]] = {}

    def verdict(self, backup_id: str) -> tuple[Located | None, str]:
        """The backup, where it can be relied on with all that it needs; or else why not: half a sentence."""
        path: dict[str, Located] = {}
        failure, needed = "", backup_id
        while not failure and needed:
            if needed in self._known:
                failure, needed = self._known[needed][1], ""
            elif needed in path:
                failure = f"{needed} is said to follow itself"
            else:
                try:
                    copies = known_copies(self._workspace, needed)
                    located = path[needed] = copies.found[0] if copies.found else locate(self._workspace, needed)
                except BackupError as error:
                    failure = error.message.removesuffix(".")
                    self._known[needed] = None, failure
                else:
                    tell(self._workspace, copies.unasked_holders)
                    failure = _failure(copies.found or (located,)) or ""
                    needed = (located.manifest.chain.parent_id if located.manifest.chain else None) or ""
        for name, located in path.items():
            self._known[name] = (None, failure) if failure else (located, "")
        return self._known[backup_id]


def _failure(copies: Sequence[Located]) -> str | None:
    """Why this backup is not to be relied on; None when it is: one copy is enough.

    :param copies: all that can be reached, at least one.
    """
    located = copies[0]
    manifest = located.manifest
    status = standing.status(manifest, located.state)
    if manifest.safety:
        return f"{manifest.id} is of what a restore was about to replace"
    if status is not BackupStatus.GOOD:
        return f"{manifest.id} is {status}"
    faults = [_fault(copy) for copy in copies]
    return None if "" in faults else faults[0]


def _fault(copy: Located) -> str:
    """Which part of this copy is not there as it was written, going by its size; empty: none."""
    for part in copy.manifest.parts:
        try:
            stored = copy.storage.stat(naming.part_key(part.path))
        except ObjectMissing:
            return f"{part.path} of {copy.manifest.id} is gone"
        except StorageError as error:
            return error.message.removesuffix(".")
        if stored.size_bytes != part.stored_bytes:
            return f"{part.path} of {copy.manifest.id} has another size than its manifest says"
    return ""


def _age(moment: datetime, now: datetime) -> str:
    return human_duration((now - moment).total_seconds())
