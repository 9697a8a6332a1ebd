"""Make one backup: dump, stream, hash, publish. The manifest is written last and is the commit point."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from db_backup.catalog import AttemptOutcome, AuditAct
from db_backup.config import Entry
from db_backup.engines.base import Engine
from db_backup.engines.chain import ChainEngine
from db_backup.errors import (
    BackupError,
    CatalogError,
    EntryLocked,
    Interrupted,
    PublishedUnindexed,
    UsageError,
)
from db_backup.jobs.acts import Act, audited
from db_backup.jobs.capture import Capture
from db_backup.jobs.closing import close_chain
from db_backup.jobs.copies import newest_manifest
from db_backup.jobs.creation import Creation, Made, Plan
from db_backup.jobs.locking import lock_copies
from db_backup.jobs.roots import reachable_storages
from db_backup.jobs.sidecars import Located
from db_backup.jobs.sources import BaseSource, DatabaseSource
from db_backup.jobs.tidying import tidy
from db_backup.jobs.timing import time_limit
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo
from db_backup.model import BackupType, Compression, Scope
from db_backup.progress import Cancellation, Progress
from db_backup.stream.compression import check_level
from db_backup.stream.pipeline import Limits
from db_backup.summary import BackupSummary, summarise

_MEGABYTE = 1 << 20
_OF_CHAINS = frozenset({BackupType.FULL, BackupType.INCREMENTAL})


@dataclass(frozen=True)
class CreateRequest:
    """What to back up and how; None stands for what the entry's configuration says.

    ``wait_seconds``: how long to wait for another backup of the same entry before ``EntryLocked`` is raised.
    ``safety``: it is made because the database is about to be replaced: of the database itself even where dumps are
    taken of a replica, and with the rows of every table. Whoever asks for it holds the entry's lock.
    ``encrypt``: whether its artefacts are encrypted.
    ``full_instead``: where no increment can follow, a full is made, which begins a new chain.
    """

    entry: str
    type: BackupType = BackupType.FULL
    compression: Compression | None = None
    level: int | None = None
    jobs: int | None = None
    retention_days: int | None = None
    storages: tuple[str, ...] | None = None
    encrypt: bool | None = None
    wait_seconds: float = 0.0
    safety: bool = False
    full_instead: bool = True


def create_backup(
    workspace: Workspace, request: CreateRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> BackupSummary:
    """Back up one entry; the result is published, complete and hashed, and not yet proven.

    :raises ChainBroken: an increment was asked for, none can follow, and no full may be made instead.
    Where a storage cannot take it and another one can, it is made all the same, and ``missing_copies`` and a warning
    say so.

    :raises PublishedUnindexed: the backup is there, whole, and the catalogue could not take it in.
    :raises BackupError: any other: nothing was published, and nothing half-written is left.
    """
    with audited(workspace, AuditAct.CREATE, run, entry=request.entry) as act:
        entry = workspace.config.entry(request.entry)
        if request.safety:
            entry = dataclasses.replace(entry, read_conn_id=None, exclude_tables=())
        compression, level = _possible(workspace, entry, request)
        engine = _engine(workspace, entry, request, run, act)
        with (
            _attempt(workspace, entry, request.type, run, act),
            _alone(workspace, request, cancellation),
            time_limit(workspace.settings.backup_timeout_seconds, entry.name, cancellation) as limited,
        ):
            plan = _plan(workspace, entry, request, compression, level)
            tidy(workspace, plan.storages)
            if isinstance(engine, Engine):
                made = Creation(plan, DatabaseSource(engine), run, progress, limited).publish()
                act.backup_id = made.manifest.id
                return _summary(made, _index(workspace, made))
            full_days = _days_of_full(entry, request)
            link = _Link(workspace, plan, engine, full_days, run, progress, limited)
            return link.publish(act)


@dataclass(frozen=True)
class _Link:
    """A backup of a chain, from the dump to the source that learns of it."""

    workspace: Workspace
    plan: Plan
    engine: ChainEngine
    full_days: int | None
    run: RunInfo
    progress: Progress
    cancellation: Cancellation

    def publish(self, act: Act) -> BackupSummary:
        if self.plan.type is BackupType.INCREMENTAL:
            made = Capture(
                self.workspace, self.plan, self.engine, self.full_days, self.run, self.progress, self.cancellation
            ).publish()
        else:
            source = BaseSource(self.engine)
            made = Creation(self.plan, source, self.run, self.progress, self.cancellation).publish()
        manifest = made.manifest
        act.backup_id = manifest.id
        told = _index(self.workspace, made)
        try:
            if _closes(self.plan, self.engine):
                told += self._close(manifest.id)
        except Interrupted as stop:
            raise Interrupted(
                f"{manifest.id} is whole, and the chain before it was not closed: {stop.message}",
                hint=f"Run `db-backup verify {manifest.id}`.",
                database=manifest.entry,
                backup_id=manifest.id,
            ) from stop
        finally:
            told += _tell(self.engine, manifest, act)
        return _summary(made, told)

    def _close(self, full_id: str) -> tuple[str, ...]:
        """The chain before this full, up to it; returns warnings."""
        closed = close_chain(
            self.workspace,
            self.plan,
            self.engine,
            full_id,
            run=self.run,
            progress=self.progress,
            cancellation=self.cancellation,
        )
        if closed.increment is not None:
            try:
                locked = _index(self.workspace, closed.increment)
            except PublishedUnindexed as error:
                return (f"{error.message} {error.hint}",)
            return (*closed.increment.warnings, *locked)
        return closed.warnings


def _closes(plan: Plan, engine: ChainEngine) -> bool:
    """Whether a full is to be made that ends a chain that somebody wants without gaps."""
    wanted = plan.type is BackupType.FULL and BackupType.INCREMENTAL in plan.entry.types
    return wanted and engine.scope is Scope.SERVER


def _engine(workspace: Workspace, entry: Entry, request: CreateRequest, run: RunInfo, act: Act) -> Engine | ChainEngine:
    """What to dump through. That there is no way to it is no fault of the request, and so a failed attempt.

    :raises ConnectionNotFound, ConfigurationError:
    """
    in_chain = request.type in _OF_CHAINS and entry.has_chains and not request.safety
    try:
        return workspace.chain_engine(entry) if in_chain else workspace.source(entry)
    except BackupError:
        with _attempt(workspace, entry, request.type, run, act):
            raise


def _possible(workspace: Workspace, entry: Entry, request: CreateRequest) -> tuple[Compression, int | None]:
    """Whether this can be asked for at all: a wrong request is no failed attempt. Returns codec and level.

    :raises UsageError:
    """
    if not entry.can_take(request.type):
        raise _impossible(entry, request.type)
    for name in request.storages or entry.storages:
        workspace.storage(name)
    compression = request.compression or entry.compression
    level = request.level if request.level is not None or request.compression is not None else entry.level
    return compression, check_level(compression, level)


def _impossible(entry: Entry, backup_type: BackupType) -> UsageError:
    if entry.scope is Scope.SERVER:
        what = f"'{entry.name}' is a whole server, of which there are no {backup_type} backups."
        fix = "Take full or incremental backups of it, or name a databases: entry."
    else:
        what = f"'{entry.name}' has no chain of incremental backups."
        fix = (
            "Add incremental to its types, if it is a SQLite database; of MySQL, MariaDB and PostgreSQL make the whole "
            "server a servers: entry."
        )
    return UsageError(what, hint=fix, database=entry.name)


def _days_of_full(entry: Entry, request: CreateRequest) -> int | None:
    """How long a full that takes an increment's place is kept: as others are, or longer where that was asked for."""
    if not request.full_instead:
        return None
    return max(entry.retention[BackupType.FULL], request.retention_days or 0)


def _tell(engine: ChainEngine, manifest: Manifest, act: Act) -> tuple[str, ...]:
    """Let the source know that the backup is there. What goes wrong is a warning: the backup is whole."""
    try:
        engine.published(manifest)
    except BackupError as error:
        act.detail = f"{manifest.id} is whole, but its source does not know it yet: {error.message}"
        return (act.detail,)
    return ()


def _alone(workspace: Workspace, request: CreateRequest, cancellation: Cancellation) -> AbstractContextManager[None]:
    """No other backup of the entry meanwhile."""
    if request.safety:
        return nullcontext()
    return workspace.catalog.entry_lock(
        request.entry, f"{request.type} backup", wait_seconds=request.wait_seconds, cancellation=cancellation
    )


@contextmanager
def _attempt(workspace: Workspace, entry: Entry, backup_type: BackupType, run: RunInfo, act: Act) -> Iterator[None]:
    """Written before the dump starts, so that an attempt whose process was killed is known too."""
    attempt = workspace.catalog.begin_attempt(entry.name, backup_type, run)
    try:
        yield
    except BaseException as error:
        try:
            workspace.catalog.finish_attempt(attempt, _outcome(error), backup_id=act.backup_id, error=str(error))
        except CatalogError as unwritten:
            error.add_note(f"How the attempt ended could not be written into the catalogue: {unwritten}")
        raise
    workspace.catalog.finish_attempt(attempt, AttemptOutcome.SUCCEEDED, backup_id=act.backup_id)


def _outcome(error: BaseException) -> AttemptOutcome:
    if isinstance(error, Interrupted) or not isinstance(error, Exception):
        return AttemptOutcome.INTERRUPTED
    if isinstance(error, PublishedUnindexed):
        return AttemptOutcome.SUCCEEDED
    return AttemptOutcome.SKIPPED if isinstance(error, EntryLocked) else AttemptOutcome.FAILED


def _plan(
    workspace: Workspace, entry: Entry, request: CreateRequest, compression: Compression, level: int | None
) -> Plan:
    settings = workspace.settings
    storages, missing = reachable_storages(workspace, request.storages or entry.storages)
    encrypt = entry.encrypt if request.encrypt is None else request.encrypt
    return Plan(
        entry=entry,
        type=request.type,
        compression=compression,
        level=level,
        jobs=request.jobs or entry.jobs,
        retention_days=request.retention_days or entry.retention[request.type],
        storages=storages,
        missing=missing,
        later=tuple(map(workspace.storage, {*entry.storages, *(request.storages or ())})),
        new_key=workspace.keyring.new_data_key if encrypt else None,
        limits=Limits(
            max_stored_bytes=settings.backup_max_size_mb * _MEGABYTE or None,
            deadline=time.monotonic() + settings.backup_timeout_seconds,
            timeout_seconds=settings.backup_timeout_seconds,
        ),
        previous=newest_manifest(workspace, entry.name, request.type, storages),
        is_taken=workspace.catalog.knows,
        safety=request.safety,
    )


def _index(workspace: Workspace, made: Made) -> tuple[str, ...]:
    """Take it into the catalogue, and lock the copies that are to be locked; returns warnings.

    :raises PublishedUnindexed:
    """
    manifest, state, _ = made
    try:
        workspace.catalog.record(manifest, state)
    except CatalogError as error:
        raise PublishedUnindexed(
            f"{manifest.id} was made and is whole, but the catalogue could not take it in: {error.message}",
            hint=f"{error.hint} Then run `db-backup catalog reindex`.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from error
    storage = workspace.storage(state.present[0].storage)
    return lock_copies(workspace, Located(storage, manifest, state, workspace.keyring))


def _summary(made: Made, told: tuple[str, ...]) -> BackupSummary:
    summary = summarise(made.manifest, made.state)
    return summary.model_copy(update={"warnings": (*summary.warnings, *made.warnings, *told)})
