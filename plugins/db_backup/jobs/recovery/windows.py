"""The moments that a database can be restored to, its gaps included: for a listing, and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from db_backup import naming
from db_backup.config import Entry
from db_backup.errors import BackupError
from db_backup.frozen import FrozenModel
from db_backup.jobs.listing import survey
from db_backup.jobs.reach import tell
from db_backup.jobs.recovery.holdings import Source, Stored, held_backups, reachable, source_of
from db_backup.jobs.workspace import Workspace
from db_backup.model import EngineName
from db_backup.recovery import History, gaps


class RecoverableWindow(FrozenModel):
    """What one chain leads to. ``continuous``: to every moment between; otherwise to ``moments`` alone.

    ``ended_by``: why what comes after it cannot be reached; empty: nothing does.
    """

    first: datetime
    last: datetime
    continuous: bool
    moments: tuple[datetime, ...]
    base_id: str
    last_id: str
    increments: int
    ended_by: str


class RecoveryGap(FrozenModel):
    """Moments between two chains that none of them leads to."""

    after: datetime
    before: datetime
    reason: str


class RecoverablePoint(FrozenModel):
    """The moment of a full backup that stands by itself."""

    moment: datetime
    backup_id: str


class DatabaseRecovery(FrozenModel):
    """``source``: the entry whose chains hold it. ``source_database``: its name there; None: all that there are.

    ``note``: why not all is known.
    """

    database: str
    source: str
    source_database: str | None
    engine: EngineName | None
    windows: tuple[RecoverableWindow, ...]
    gaps: tuple[RecoveryGap, ...]
    points: tuple[RecoverablePoint, ...]
    note: str = ""


def recovery_windows(workspace: Workspace, database: str | None = None) -> tuple[DatabaseRecovery, ...]:
    """What every entry can be restored to, in order of name; by the storages alone.

    :param database: only this entry, which need not be configured any more.
    :raises UnknownDatabase: it has no backups, and is not configured either.
    :raises StorageError:
    """
    listed = survey(workspace)
    tell(workspace, listed.unasked)
    known = {*workspace.config.entries, *(name for name in map(naming.entry_of, listed.published()) if name)}
    if database is not None and database not in known:
        workspace.config.entry(database)  # raises, with the nearest name
    backups = held_backups(workspace, known, listed)
    wanted = sorted(known) if database is None else [database]
    return tuple(_of_database(workspace, name, backups) for name in wanted)


def _of_database(workspace: Workspace, name: str, backups: Mapping[str, Stored]) -> DatabaseRecovery:
    entry = workspace.config.entries.get(name)
    source, note = _source(workspace, name, entry)
    own = reachable(backups, Source(name))
    found = own if source.entry == name else (*reachable(backups, source), *own)
    chains = [history for history in found if history.base.chain is not None]
    return DatabaseRecovery(
        database=name,
        source=source.entry,
        source_database=source.database,
        engine=next((history.base.engine for history in found), entry.engine if entry else None),
        windows=tuple(_windows(chains)),
        gaps=tuple(RecoveryGap(after=gap.after, before=gap.before, reason=gap.reason) for gap in gaps(chains)),
        points=tuple(
            RecoverablePoint(moment=history.begins, backup_id=history.base.id)
            for history in found
            if history.base.chain is None
        ),
        note=note,
    )


def _source(workspace: Workspace, name: str, entry: Entry | None) -> tuple[Source, str]:
    if entry is None or entry.server is None:
        return Source(name), ""
    try:
        return source_of(workspace, entry) or Source(name), ""
    except BackupError as error:
        return Source(entry.server), f"Whether '{entry.server}' holds it cannot be told: {error.message}"


def _windows(chains: Sequence[History]) -> Iterator[RecoverableWindow]:
    for history in chains:
        yield RecoverableWindow(
            first=history.begins,
            last=history.ends,
            continuous=history.is_continuous,
            moments=() if history.is_continuous else history.moments,
            base_id=history.base.id,
            last_id=history.last.id,
            increments=len(history.links) - 1,
            ended_by=history.ended_by,
        )
