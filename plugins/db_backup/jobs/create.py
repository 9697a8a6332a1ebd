"""Make one backup: dump, stream, hash, publish. The manifest is written last and is the commit point."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta

from db_backup import naming, standing
from db_backup.catalog import AttemptOutcome
from db_backup.config import Entry
from db_backup.engines.base import Dump, DumpRequest, DumpSummary, Engine
from db_backup.errors import FeatureNotAvailable, Interrupted, StorageConflict
from db_backup.jobs.acts import Act, audited
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, Manifest, Part, RunInfo, State
from db_backup.model import BackupType, Compression, EngineName, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Sink, Storage
from db_backup.stream.compression import check_level
from db_backup.stream.pipeline import Limits, pump
from db_backup.summary import BackupSummary, summarise

_STALE_AFTER = timedelta(days=1)
_ID_TRIES = 100
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class CreateRequest:
    """What to back up and how; None stands for what the entry's configuration says.

    ``wait_seconds``: how long to wait for another backup of the same entry before ``EntryLocked`` is raised.
    """

    entry: str
    type: BackupType = BackupType.FULL
    compression: Compression | None = None
    level: int | None = None
    retention_days: int | None = None
    storages: tuple[str, ...] | None = None
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class _Plan:
    """The request with the configuration filled in."""

    entry: Entry
    type: BackupType
    compression: Compression
    level: int | None
    retention_days: int
    storages: tuple[Storage, ...]
    limits: Limits


def create_backup(
    workspace: Workspace, request: CreateRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> BackupSummary:
    """Back up one entry; the result is published, complete and hashed, and not yet proven.

    :raises BackupError: nothing was published, and nothing half-written is left.
    """
    entry = workspace.config.entry(request.entry)
    with (
        audited(workspace, "create", run, entry=entry.name) as act,
        workspace.catalog.entry_lock(
            entry.name, f"{request.type} backup", wait_seconds=request.wait_seconds, cancellation=cancellation
        ),
        _attempt(workspace, entry, request.type, run, act),
    ):
        plan = _plan(workspace, entry, request)
        engine = workspace.engine(entry)
        if request.type not in engine.supported_types:
            raise FeatureNotAvailable(
                f"A {request.type} backup of '{entry.name}' is not there yet.",
                hint=f"Types of {engine.name} that are: {', '.join(sorted(engine.supported_types))}.",
                database=entry.name,
            )
        _tidy(workspace, plan.storages)
        manifest, state = _Creation(plan, engine, run, progress, cancellation).publish()
        act.backup_id = manifest.id
        workspace.catalog.record(manifest, state)
    return summarise(manifest, state)


@contextmanager
def _attempt(workspace: Workspace, entry: Entry, backup_type: BackupType, run: RunInfo, act: Act) -> Iterator[None]:
    """Written before the dump starts, so that an attempt whose process was killed is known too."""
    attempt = workspace.catalog.begin_attempt(entry.name, backup_type, run)
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, Interrupted | KeyboardInterrupt)
        outcome = AttemptOutcome.INTERRUPTED if interrupted else AttemptOutcome.FAILED
        workspace.catalog.finish_attempt(attempt, outcome, error=str(error))
        raise
    workspace.catalog.finish_attempt(attempt, AttemptOutcome.SUCCEEDED, backup_id=act.backup_id)


def _plan(workspace: Workspace, entry: Entry, request: CreateRequest) -> _Plan:
    settings = workspace.settings
    compression = request.compression or entry.compression
    level = request.level if request.level is not None or request.compression is not None else entry.level
    if entry.encrypt:
        raise FeatureNotAvailable(
            f"Encryption is not there yet, and '{entry.name}' asks for it.",
            hint="Set encrypt to false to store plain text knowingly.",
            database=entry.name,
        )
    return _Plan(
        entry=entry,
        type=request.type,
        compression=compression,
        level=check_level(compression, level),
        retention_days=request.retention_days or entry.retention[request.type],
        storages=ready_storages(workspace, request.storages or entry.storages),
        limits=Limits(
            max_stored_bytes=settings.backup_max_size_mb * _MEGABYTE or None,
            deadline=time.monotonic() + settings.backup_timeout_seconds,
            timeout_seconds=settings.backup_timeout_seconds,
        ),
    )


def _tidy(workspace: Workspace, storages: Sequence[Storage]) -> None:
    """What killed processes left: locks, leases, running attempts, temporary files. Live ones are not touched."""
    workspace.catalog.sweep()
    for attempt in workspace.catalog.abandoned_attempts():
        workspace.catalog.finish_attempt(attempt.id, AttemptOutcome.INTERRUPTED, error="Its process is gone.")
    for storage in storages:
        storage.sweep(older_than=_STALE_AFTER)


class _Creation:
    """One backup on its way from the engine to the storages."""

    def __init__(
        self, plan: _Plan, engine: Engine, run: RunInfo, progress: Progress, cancellation: Cancellation
    ) -> None:
        self.plan = plan
        self.engine = engine
        self.run = run
        self.progress = progress
        self.cancellation = cancellation
        self.created_at = utc_now()

    def publish(self) -> tuple[Manifest, State]:
        """All of it; leaving by an exception leaves nothing in the storages."""
        request = DumpRequest(self.plan.entry.name, self.plan.type, self.plan.entry.exclude_tables)
        with ExitStack() as stack:
            backup_id = self._reserve(stack)
            self.progress.stage(f"connecting to {self.plan.entry.name}")
            dump = stack.enter_context(self.engine.open_backup(request, self.cancellation))
            self.progress.stage(f"dumping {self.plan.entry.name}", dump.preflight.estimated_plain_bytes)
            parts, sinks = self._store(dump, backup_id, stack)
            summary = dump.complete()
            self.cancellation.check()
            manifest = self._describe(backup_id, dump, summary, parts)
            return manifest, self._commit(manifest, sinks)

    def _reserve(self, stack: ExitStack) -> str:
        """The first free id of this second, claimed in every storage (DESIGN, "On storage")."""
        for serial in range(1, _ID_TRIES):
            name = naming.BackupName(self.plan.entry.name, self.plan.type, self.created_at.astimezone(UTC), serial)
            with ExitStack() as claims:
                try:
                    for storage in self.plan.storages:
                        claims.enter_context(storage.reserve(str(name)))
                except StorageConflict:
                    continue
                stack.enter_context(claims.pop_all())
                return str(name)
        raise StorageConflict(
            f"No free backup id was found for '{self.plan.entry.name}' in this second.",
            hint="Run it again in a moment.",
            database=self.plan.entry.name,
        )

    def _store(self, dump: Dump, backup_id: str, stack: ExitStack) -> tuple[tuple[Part, ...], list[Sink]]:
        """Every stream through the pipeline into every storage, under temporary names."""
        parts: list[Part] = []
        opened: list[Sink] = []
        for stream in dump.streams:
            path = naming.part_name(backup_id, stream.suffix, self.plan.compression)
            sinks = []
            for storage in self.plan.storages:
                sink = storage.open_sink(naming.part_key(path))
                stack.callback(sink.abort)
                sinks.append(sink)
            digest = pump(
                stream,
                compression=self.plan.compression,
                level=self.plan.level,
                sinks=sinks,
                limits=self.plan.limits,
                progress=self.progress,
                cancellation=self.cancellation,
                database=self.plan.entry.name,
            )
            opened.extend(sinks)
            parts.append(
                Part(
                    path=path,
                    stream=stream.name,
                    stored_bytes=digest.stored_bytes,
                    stored_sha256=digest.stored_sha256,
                    plain_bytes=digest.plain_bytes,
                    plain_sha256=digest.plain_sha256,
                    compression=self.plan.compression,
                    level=self.plan.level,
                )
            )
        return tuple(parts), opened

    def _describe(self, backup_id: str, dump: Dump, summary: DumpSummary, parts: tuple[Part, ...]) -> Manifest:
        entry = self.plan.entry
        return Manifest(
            id=backup_id,
            entry=entry.name,
            databases=(_database_name(self.engine),),
            engine=self.engine.name,
            type=self.plan.type,
            format=dump.format,
            created_at=self.created_at,
            finished_at=utc_now(),
            recovery_point=summary.recovery_point,
            server=dump.preflight.server,
            tools=dump.preflight.tools,
            consistency=summary.consistency,
            parts=parts,
            inventory=summary.inventory,
            excluded_tables=summary.excluded_tables,
            warnings=(*dump.preflight.warnings, *summary.warnings),
            stock_restore=self.engine.stock_commands(parts, dump.format),
            run=self.run,
            retention_class=self.plan.type,
            retention_days=self.plan.retention_days,
            required_proof=standing.required_level(self.plan.type, entry.verify),
        )

    def _commit(self, manifest: Manifest, sinks: Sequence[Sink]) -> State:
        """Parts first, then the state, the manifest last; a failure on the way takes back what was made visible."""
        moment = utc_now()
        state = State(
            id=manifest.id,
            copies=tuple(
                Copy(storage=storage.name, storage_id=storage.storage_id, created_at=moment)
                for storage in self.plan.storages
            ),
        )
        with ExitStack() as undo:
            for storage in self.plan.storages:
                for part in manifest.parts:
                    undo.callback(storage.delete, naming.part_key(part.path))
                undo.callback(storage.delete, naming.state_key(manifest.id))
                undo.callback(storage.delete, naming.manifest_key(manifest.id))
            for sink in sinks:
                sink.commit()
            for storage in self.plan.storages:
                storage.create(naming.state_key(manifest.id), state.to_json())
            for storage in self.plan.storages:
                storage.create(naming.manifest_key(manifest.id), manifest.to_json())
            undo.pop_all()
        return state


def _database_name(engine: Engine) -> str:
    """The database's own name; for SQLite its file's."""
    name = engine.connection.database
    return name.rpartition("/")[2] if engine.name is EngineName.SQLITE else name
