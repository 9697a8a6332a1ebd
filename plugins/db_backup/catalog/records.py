"""What the catalogue takes and gives: values, without SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from db_backup.frozen import FrozenModel
from db_backup.manifest import RunInfo
from db_backup.model import BackupStatus, BackupType
from db_backup.summary import BackupSummary


@dataclass(frozen=True)
class BackupQuery:
    """Which backups are meant; None leaves a field open.

    :param database: the entry's name.
    :param since: created at this moment or later; aware.
    :param storage: the name of a storage that holds a copy.
    """

    database: str | None = None
    type: BackupType | None = None
    status: BackupStatus | None = None
    since: datetime | None = None
    storage: str | None = None


@dataclass(frozen=True)
class BackupPage:
    """Some backups, newest first; ``next_cursor`` is None on the last page."""

    items: tuple[BackupSummary, ...]
    next_cursor: str | None


class Tally(FrozenModel):
    """How many backups, their stored bytes (in one copy each) and their plain bytes."""

    backups: int = 0
    size_bytes: int = 0
    plain_bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            backups=self.backups + other.backups,
            size_bytes=self.size_bytes + other.size_bytes,
            plain_bytes=self.plain_bytes + other.plain_bytes,
        )


class AttemptFigures(FrozenModel):
    """How attempts ended. ``success_rate`` is the part of those that succeeded, failed or were interrupted.

    Durations are those of attempts that succeeded. None: there is none to tell of.
    """

    succeeded: int = 0
    failed: int = 0
    interrupted: int = 0
    skipped: int = 0
    running: int = 0
    success_rate: float | None = None
    average_seconds: float | None = None
    longest_seconds: float | None = None


class Statistics(FrozenModel):
    """Figures over the backups of a query; ``by_day`` counts by the UTC day of creation.

    ``by_storage`` counts a backup once in every storage that holds it. Attempts are those of the query's database,
    type and since: an attempt has no status and no storage.
    """

    total: Tally
    by_database: dict[str, Tally]
    by_type: dict[BackupType, Tally]
    by_status: dict[BackupStatus, Tally]
    by_storage: dict[str, Tally]
    by_day: dict[date, Tally]
    attempts: AttemptFigures


class Held(FrozenModel):
    """What a storage holds of an entry: copies of this type, and their stored bytes."""

    storage: str
    entry: str
    type: BackupType
    copies: int
    size_bytes: int


class HeldByDay(FrozenModel):
    """What a storage held of an entry when it was noted, once on that UTC day."""

    storage: str
    entry: str
    day: date
    noted_at: datetime
    copies: int
    size_bytes: int


class AttemptOutcome(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Attempt(FrozenModel):
    """One try at a backup. ``outcome`` is None while it runs, or while nobody has said that its process died."""

    id: str
    entry: str
    type: BackupType
    run: RunInfo
    started_at: datetime
    finished_at: datetime | None
    duration_seconds: float | None
    outcome: AttemptOutcome | None
    backup_id: str | None
    error: str
    host: str
    pid: int


class Lock(FrozenModel):
    """A process at work on an entry."""

    entry: str
    purpose: str
    since: datetime
    host: str
    pid: int

    def __str__(self) -> str:
        return f"{self.purpose}, process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class Lease(FrozenModel):
    """A process that reads a backup, which must not be deleted meanwhile; or the one that deletes it.

    ``until``: of a reservation, which no process holds, when it ends by itself; None for a process's lease.
    """

    backup_id: str
    purpose: str
    since: datetime
    host: str
    pid: int
    until: datetime | None = None

    def __str__(self) -> str:
        if self.until is not None:
            return f"{self.purpose}, reserved until {self.until:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.purpose}, process {self.pid} on {self.host}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"


class SweepReport(FrozenModel):
    """The claims of dead processes, and the reservations whose time was up, that a sweep released."""

    locks: tuple[Lock, ...] = ()
    leases: tuple[Lease, ...] = ()


class AuditAct(StrEnum):
    CREATE = "create"
    VERIFY = "verify"
    DOWNLOAD = "download"
    DELETE = "delete"
    RESTORE = "restore"
    PIN = "pin"
    UNPIN = "unpin"
    KEY = "key"
    CANARY = "canary"
    CONFIG = "config"
    CLEANUP = "cleanup"
    ARCHIVE = "archive"
    THAW = "thaw"
    CATALOG = "catalog"
    KIT_EXPORT = "kit_export"
    KIT_IMPORT = "kit_import"
    APPROVAL = "approval"
    CARRY_OUT = "carry_out"
    DRILL = "drill"
    CHAIN_BROKEN = "chain_broken"
    REPLICATE = "replicate"
    REMOVE_COPY = "remove_copy"


class AuditOrigin(StrEnum):
    CLI = "cli"
    AIRFLOW = "airflow"
    API = "api"


class AuditOutcome(StrEnum):
    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    INTERRUPTED = "interrupted"


class AuditRecord(FrozenModel):
    """Who did what, from where, to which entry and backup, and what came of it."""

    at: datetime
    act: AuditAct
    actor: str
    host: str
    origin: AuditOrigin
    entry: str | None = None
    backup_id: str | None = None
    outcome: AuditOutcome
    detail: str = ""

    def to_json_line(self) -> str:
        """One line of JSON, without the newline at its end."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)
