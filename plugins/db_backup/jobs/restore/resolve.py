"""Which backup is meant: by name, or the newest that can be trusted; found by what lies in the storages alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from db_backup import naming
from db_backup.errors import UnknownBackup, UsageError
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.copies import leased_all, locate
from db_backup.jobs.listing import survey
from db_backup.jobs.reach import tell
from db_backup.jobs.restore.moments import Recovery, must_be_rebuilt, stand_in, to_end_of, to_point
from db_backup.jobs.restore.request import RestoreRequest
from db_backup.jobs.sidecars import Located
from db_backup.jobs.thaw import known_cold, warmest
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.recovery import Point
from db_backup.settings.problems import did_you_mean, nearest
from db_backup.standing import status
from db_backup.summary import BackupSummary, summarise
from db_backup.units import human_bytes

LATEST = "latest"
_MOST_DOUBTS = 3  # that are told one by one
_CLOCKS_DIFFER_BY = timedelta(days=1)  # at most, of the machines that make backups and restore them

#: Where no backup stands as good, the next best, in this order.
_NEXT_BEST = (BackupStatus.UNVERIFIED, BackupStatus.SUSPECT, BackupStatus.FAILED_VERIFICATION)
_STANDING = {
    BackupStatus.UNVERIFIED: "is not verified",
    BackupStatus.SUSPECT: "is suspect",
    BackupStatus.FAILED_VERIFICATION: "failed its verification",
}


@dataclass(frozen=True)
class Resolved:
    """The backup that is meant, and what a person should know of the choice.

    ``recovery``: what is to be rebuilt first; until then ``located`` only stands for the backup of it.
    """

    located: Located
    warnings: tuple[str, ...] = ()
    recovery: Recovery | None = None

    @property
    def needed(self) -> tuple[Located, ...]:
        """The backups in storage that the restore reads."""
        return self.recovery.links if self.recovery else (self.located,)

    def reading(self, needed: Sequence[Located]) -> Resolved:
        """The same, by these copies of the backups that it reads."""
        if self.recovery is None:
            return replace(self, located=needed[0])
        return replace(self, recovery=replace(self.recovery, links=tuple(needed)))


@contextmanager
def kept(workspace: Workspace, resolved: Resolved, purpose: str) -> Iterator[Resolved]:
    """The same as it is now, and nobody deletes any backup that it needs while the block runs.

    :raises Refused, UnknownBackup: a deletion has begun, or was faster.
    """
    with leased_all(workspace, resolved.needed, purpose) as needed:
        yield resolved.reading(needed)


def resolve_backup(workspace: Workspace, request: RestoreRequest) -> Resolved:
    """Find the backup that the request means. The catalogue is not needed.

    :raises UsageError: neither a backup nor a database is named, or the two do not belong together.
    :raises UnknownDatabase, UnknownBackup: there is none; or the storage that is named has no copy of it.
    :raises UnknownStorage, ManifestError, StorageError:
    :raises PointOutOfReach, ChainBroken: no backups lead to the point that is asked for.
    """
    resolved = _resolved(workspace, request)
    if request.from_storage is None:
        chosen = [warmest(workspace, backup) for backup in resolved.needed]
    else:  # the same backups, in the storage that a person names
        chosen = [locate(workspace, backup.manifest.id, storage=request.from_storage) for backup in resolved.needed]
    cold = tuple(f"{cold}." for backup in chosen if (cold := known_cold(backup)) is not None)
    doubts = (*_disagreements(workspace, chosen), *_in_the_clear(workspace, chosen))
    return replace(resolved.reading(chosen), warnings=(*resolved.warnings, *doubts, *cold))


def _disagreements(workspace: Workspace, chosen: Sequence[Located]) -> Iterator[str]:
    """The first storage is believed: where it is one that others can write into, somebody must look."""
    for _, copies in copies_ahead(workspace, [backup.manifest.id for backup in chosen]):
        yield from copies().disagreements


def _resolved(workspace: Workspace, request: RestoreRequest) -> Resolved:
    if request.backup == LATEST:
        request = replace(request, backup=None)
    if request.point is not None:
        found = to_point(workspace, request)
        if isinstance(found, Recovery):
            return _to_rebuild(workspace, request, found)
        _check(request, found.manifest)
        return Resolved(found, (*_doubts(found), *_older_than_asked(request.point, found.manifest)))
    if request.backup is None:
        if request.database is None:
            raise UsageError(
                "Nobody said which backup to restore.",
                hint="Name it, or name its database with --database; `db-backup restore --list` shows what there is.",
            )
        resolved = _newest_full(workspace, request.database)
    else:
        located = locate(workspace, request.backup)
        resolved = Resolved(located, _doubts(located))
    if must_be_rebuilt(resolved.located.manifest):
        return _to_rebuild(workspace, request, to_end_of(workspace, request, resolved.located))
    _check(request, resolved.located.manifest)
    return resolved


def _doubts(located: Located) -> tuple[str, ...]:
    standing = _STANDING.get(status(located.manifest, located.state))
    return (f"{located.manifest.id} {standing}.",) if standing else ()


def _in_the_clear(workspace: Workspace, needed: Sequence[Located]) -> Iterator[str]:
    """Encryption keeps others from making a backup up, too: one without it is not taken for its like in silence."""
    plain = [backup.manifest for backup in needed if any(part.cipher is None for part in backup.manifest.parts)]
    for manifest in plain[:1]:
        entry = workspace.config.entries.get(manifest.entry)
        if entry is not None and entry.encrypt:
            yield (
                f"{manifest.id} is not encrypted, and backups of '{manifest.entry}' are to be: unless it was made "
                "before that was so, or asked for without, somebody has put it there."
            )


def _older_than_asked(point: Point, manifest: Manifest) -> Iterator[str]:
    if point.time is not None and manifest.recovery_point < point.time:
        yield (
            f"{manifest.id} was made at {manifest.recovery_point:%Y-%m-%d %H:%M:%S UTC}: what was written from then "
            "to the moment asked for is not in it."
        )


def _to_rebuild(workspace: Workspace, request: RestoreRequest, recovery: Recovery) -> Resolved:
    """A stand-in for the backup of what will be rebuilt, to plan by."""
    last = recovery.links[-1]
    located = Located(last.storage, stand_in(recovery, request.tables), last.state, last.keyring)
    warnings = (*_of_links(recovery), *_of_room(workspace.settings.backup_scratch_path, recovery))
    return Resolved(located, warnings, recovery)


def _of_room(scratch_path: Path, recovery: Recovery) -> Iterator[str]:
    with suppress(OSError):  # whoever rebuilds it says what is wrong with the folder
        free, needed = shutil.disk_usage(scratch_path).free, recovery.planned.scratch_bytes
        if free < needed:
            yield (
                f"It takes about {human_bytes(needed)} in BACKUP_SCRATCH_PATH ({scratch_path}), which has "
                f"{human_bytes(free)} left."
            )


def _of_links(recovery: Recovery) -> tuple[str, ...]:
    doubts = [doubt for link in recovery.links for doubt in _doubts(link)]
    if len(doubts) <= _MOST_DOUBTS:
        return tuple(doubts)
    return (f"Of the {len(recovery.links)} backups that it takes, {len(doubts)} are not verified: {doubts[0]}",)


def restorable_backups(workspace: Workspace, database: str | None = None, *, limit: int) -> list[BackupSummary]:
    """The newest backups in the storages that are not being deleted, newest first, read from their sidecars.

    :param database: only this entry's, which need not be configured any more.
    :raises UnknownDatabase: it has none, and is not configured either.
    :raises StorageError:
    """
    found: list[BackupSummary] = []
    for _, copies in copies_ahead(workspace, map(str, _newest_first(workspace, database))):
        copy = next(iter(copies().found), None)
        if copy is None:
            continue  # deleted meanwhile, or for `catalog check` to tell of
        summary = summarise(copy.manifest, copy.state)
        if summary.status is not BackupStatus.DELETING:
            found.append(summary)
        if len(found) == limit:
            break
    if not found and database is not None:
        workspace.config.entry(database)
    return found


def _check(request: RestoreRequest, manifest: Manifest) -> None:
    """:raises UsageError: what is asked for is not in this backup."""
    if request.database is not None and request.database != manifest.entry:
        raise UsageError(
            f"{manifest.id} is a backup of '{manifest.entry}', not of '{request.database}'.",
            hint=f"Leave out --database, or name a backup of '{request.database}'.",
            database=request.database,
            backup_id=manifest.id,
        )
    if request.source_database is not None and request.source_database not in manifest.databases:
        guess = did_you_mean(nearest(request.source_database, manifest.databases))
        raise UsageError(
            f"{manifest.id} does not hold a database '{request.source_database}'.",
            hint=f"{guess} It holds: {', '.join(manifest.databases)}.".strip(),
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _newest_full(workspace: Workspace, database: str) -> Resolved:
    """The newest good full; where none is good, the next best, and never in silence.

    Safety backups hold what a restore was about to replace: they are chosen only where there is nothing else. Those
    that are dated in the future count for nothing elsewhere, and come last here too.
    """
    passed_over: list[str] = []
    others: list[Located] = []
    newest = [name for name in _newest_first(workspace, database) if name.type is BackupType.FULL]
    tomorrow = utc_now() + _CLOCKS_DIFFER_BY
    ahead = [str(name) for name in newest if name.moment > tomorrow]
    fulls = [str(name) for name in newest if name.moment <= tomorrow] + ahead
    for name, look in copies_ahead(workspace, fulls):
        copies = look()
        if not copies.found:
            # Otherwise deleted meanwhile; or its storage fell silent, which is told.
            passed_over += [
                f"{name} is newer and was passed over: {error.message}" for error in copies.unreadable.values()
            ]
            continue
        located = copies.found[0]
        stands = status(located.manifest, located.state)
        if stands is BackupStatus.GOOD and not located.manifest.safety:
            if name in ahead:
                passed_over.append(f"{name} is dated in the future.")
            else:
                passed_over += [f"{other} is dated in the future and was passed over." for other in ahead]
            return Resolved(located, tuple(passed_over))
        if stands in _STANDING and not located.manifest.safety:
            passed_over.append(f"{name} is newer and was passed over: it {_STANDING[stands]}.")
        if stands is not BackupStatus.DELETING:
            others.append(located)
    if not others:
        server = workspace.config.entry(database).server  # raises for a name that nobody knows
        by_server = f"`db-backup list --recovery` shows what those of '{server}' lead to (--to-time)."
        raise UnknownBackup(
            f"There is no full backup of '{database}' in {_places(workspace)}.",
            hint=by_server if server else "See `db-backup restore --list`; check that the storage is the right one.",
            database=database,
        )
    best = min(others, key=_rank)  # of equals the newest, which is the first
    stands = status(best.manifest, best.state)
    what = (
        "a safety backup of what a restore replaced" if best.manifest.safety else _STANDING[stands].removeprefix("is ")
    )
    return Resolved(best, (f"No full backup of '{database}' stands as good: {best.manifest.id} is taken, {what}.",))


def _rank(located: Located) -> tuple[bool, int]:
    stands = status(located.manifest, located.state)
    return located.manifest.safety, _NEXT_BEST.index(stands) if stands in _NEXT_BEST else -1


def _newest_first(workspace: Workspace, database: str | None) -> Iterator[naming.BackupName]:
    """Each backup that has a manifest in a storage that answers."""
    found = survey(workspace, parts=False)
    tell(workspace, found.unasked)
    ids = found.published(None if database is None else {database})
    names = (naming.parse_backup_id(backup_id) for backup_id in ids)
    yield from sorted(names, key=lambda name: (name.moment, name.serial, str(name)), reverse=True)


def _places(workspace: Workspace) -> str:
    return " or ".join(storage.location for storage in workspace.storages.values())
