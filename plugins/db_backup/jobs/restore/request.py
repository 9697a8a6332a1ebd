"""What is asked for, what will be done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from db_backup.errors import UsageError
from db_backup.frozen import FrozenModel
from db_backup.jobs.checks import CheckResult
from db_backup.jobs.fallback import PassedOver
from db_backup.jobs.thaw import ThawReport
from db_backup.manifest import Difference
from db_backup.model import BackupStatus, BackupType, EngineName
from db_backup.recovery import Point


@dataclass(frozen=True)
class RestoreRequest:
    """What to restore, and where to.

    :param backup: an id or an artefact's file name; None or "latest": the newest good full backup of ``database``.
    :param database: an entry; its newest good full backup, where no backup is named.
    :param to: a connection id or an entry of ``restore_targets``; None: the server that the backup is of.
    :param new_name: the database there (SQLite: absolute path); None: the connection's own.
    :param source_database: one database of a backup that holds several.
    :param point: the moment, or the place in the source's log, to go back to; with ``backup``: by this one's chain, and
        no further than its end, which of a file any later moment leads to. None: what the backup holds.
    :param tables: of a full backup only these.
    :param force: replace what the target holds.
    :param safety_backup: back up what the target holds before it is replaced or added to; False: do without.
    :param scratch: into a scratch server that is thrown away, and nowhere else.
    :param from_storage: the copies in this storage and no other; None: the best, or the next that can be read.
    :param wait_for_thaw: wait where backups must be thawed first, which takes hours; False: only ask for it.
    :raises UsageError: a name is given and is empty: a variable that was never set must not mean the original.
    """

    backup: str | None = None
    new_name: str | None = None
    database: str | None = None
    to: str | None = None
    source_database: str | None = None
    point: Point | None = None
    tables: tuple[str, ...] = ()
    with_owners: bool = False
    jobs: int = 1
    force: bool = False
    safety_backup: bool = True
    scratch: bool = False
    from_storage: str | None = None
    wait_for_thaw: bool = True

    def __post_init__(self) -> None:
        names = {
            "backup": self.backup,
            "entry (--database)": self.database,
            "target (--to)": self.to,
            "new database (--as)": self.new_name,
            "source database": self.source_database,
            "storage (--from-storage)": self.from_storage,
        }
        for what, name in (*names.items(), *(("table", table) for table in self.tables)):
            if name is not None and not name.strip():
                raise UsageError(f"The name of the {what} is empty.", hint="Name it, or leave the option out.")
        object.__setattr__(self, "tables", tuple(dict.fromkeys(self.tables)))  # once each


class Way(StrEnum):
    """What happens to the target."""

    NEW = "new"  # a new database, loaded beside and renamed when it is whole
    EMPTY = "empty"  # into a database that exists and is empty
    REPLACE = "replace"  # loaded beside, checked, and put in the place of what the target holds
    ROWS = "rows"  # rows into the empty tables of a database that exists
    TABLES = "tables"  # tables of a backup into a database that holds other tables
    SCRATCH = "scratch"  # into a server that is thrown away


class PlannedRecovery(FrozenModel):
    """What is rebuilt before anything is restored: a database as it was at a point that a chain of backups leads to.

    ``asked``: the point in words, a moment in UTC and in BACKUP_TIMEZONE. ``time``: that moment, where it is one.
    ``leads_to``: the moment that it will be of, where that is known beforehand: the last backup's own.
    ``links``: the backups that it takes, the full one first. ``source``: the entry that they are of, and
    ``source_database`` the database that is taken out of it. ``scratch_bytes``: how much room it takes in
    BACKUP_SCRATCH_PATH, about.
    """

    asked: str
    time: datetime | None
    lsn: str | None = None
    gtid: str | None = None
    position: str | None = None
    leads_to: datetime | None = None
    source: str
    source_database: str
    links: tuple[str, ...]
    scratch_bytes: int


class Recovered(FrozenModel):
    """What was rebuilt. ``reached``: of the last change that was replayed, UTC; ``position``: where in the log."""

    asked: str
    time: datetime | None
    reached: datetime
    position: str
    source: str
    source_database: str
    links: tuple[str, ...]
    rebuild_seconds: float


class RestorePlan(FrozenModel):
    """What a restore will do, for a person to read before it is done; JSON-able, for an approval to carry.

    ``target_address``: where it goes, as ``host:port/database`` or a path. ``rows``: of the whole backup.
    ``same_server``: whether that is the server
    which the backup was taken of. ``holds``: how many objects the target holds, ``examples`` some of their names.
    ``sessions``: how many are ended. ``safety_backup_of``: the entry that is backed up first. ``leftover``: the copy
    that an earlier restore has left, which is dropped. ``checks``: the queries that run afterwards.
    ``estimated_seconds``: from the last timed restores, for this size. ``recovery``: what is rebuilt first; of this
    ``backup_id`` is the last link, and ``rows`` are not known. ``from_storage``: where alone the backups are read;
    None: where they can be.
    """

    backup_id: str
    entry: str
    type: BackupType
    engine: EngineName
    status: BackupStatus
    created_at: datetime
    recovery_point: datetime
    size_bytes: int
    plain_bytes: int
    rows: int
    way: Way
    target_conn_id: str
    target_address: str
    target_database: str
    target_server: str
    source_address: str
    same_server: bool
    protected: bool = False
    holds: int = 0
    examples: tuple[str, ...] = ()
    sessions: int | None = 0
    tables: tuple[str, ...] = ()
    with_owners: bool = False
    safety_backup_of: str | None = None
    leftover: str | None = None
    checks: tuple[str, ...] = ()
    before_dag: str | None = None
    after_dag: str | None = None
    estimated_seconds: float | None = None
    recovery: PlannedRecovery | None = None
    from_storage: str | None = None
    warnings: tuple[str, ...] = ()


class RestoreReport(FrozenModel):
    """What was restored, and whether it is what the manifest says (SPEC §3: fields may be added, none renamed).

    ``differences``: also the checks that failed. ``in_place`` False: for these, it was not put in the target's place;
    ``restored_to`` is then the copy that was left beside it. Of the seconds, ``fetch_seconds`` is what loading waited
    for the storage, ``load_seconds`` the rest of loading, ``check_seconds`` inventory and checks. ``read_from``: the
    storage that each backup was read from. ``passed_over``: copies that could not be read, as ``warnings`` say, too.
    ``thaw``: what had to be thawed first, and how long that took.
    """

    backup_id: str
    target: str
    restored_to: str
    tables: int
    rows: int
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    duration_seconds: float
    way: Way = Way.NEW
    checks: tuple[CheckResult, ...] = ()
    safety_backup_id: str | None = None
    in_place: bool = True
    fetch_seconds: float = 0.0
    load_seconds: float = 0.0
    check_seconds: float = 0.0
    plain_bytes: int = 0
    recovered: Recovered | None = None
    read_from: dict[str, str] = Field(default_factory=dict)
    passed_over: tuple[PassedOver, ...] = ()
    thaw: ThawReport | None = None
