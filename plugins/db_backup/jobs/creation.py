"""One backup on its way from the engine to the storages."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from functools import partial

from db_backup import naming, standing
from db_backup.config import Entry
from db_backup.engines.base import Dump, DumpRequest, DumpSummary
from db_backup.engines.exclusion import matches
from db_backup.errors import SizeLimitExceeded, StorageConflict, StorageFull
from db_backup.jobs.sources import Source
from db_backup.manifest import Copy, Manifest, Part, RunInfo, State
from db_backup.model import BackupType, Compression, Method, Scope, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Sink, Storage
from db_backup.stream.parallel import Route, pump_all
from db_backup.stream.pipeline import Limits, StreamDigest
from db_backup.units import human_bytes

_ID_TRIES = 100

#: Said in the manifest of every backup that was not dumped table by table.
SECRETS = (
    "It holds all that was written to any database of the server, the hashes of passwords among it: whoever reads it "
    "has what it takes to guess them. Keep it where only those come who may read the server itself, or encrypt it."
)


@dataclass(frozen=True)
class Plan:
    """What to do, with the configuration filled in.

    :param previous: the entry's newest backup of this type, from which the size of this one is estimated.
    :param warnings: what the manifest is to say first of all.
    """

    entry: Entry
    type: BackupType
    compression: Compression
    level: int | None
    jobs: int
    retention_days: int
    storages: tuple[Storage, ...]
    limits: Limits
    previous: Manifest | None
    safety: bool = False
    warnings: tuple[str, ...] = ()


class Creation:
    """One backup on its way from the engine to the storages."""

    def __init__(
        self, plan: Plan, source: Source, run: RunInfo, progress: Progress, cancellation: Cancellation
    ) -> None:
        self.plan = plan
        self.source = source
        self.run = run
        self.progress = progress
        self.cancellation = cancellation
        self.created_at = utc_now()

    def publish(self) -> tuple[Manifest, State]:
        """All of it; leaving by an exception leaves nothing in the storages."""
        request = DumpRequest(self.plan.entry.name, self.plan.type, self.plan.entry.exclude_tables, jobs=self.plan.jobs)
        with ExitStack() as stack:
            backup_id = self._reserve(stack)
            self.progress.stage(f"connecting to {self.plan.entry.name}")
            dump = stack.enter_context(self.source.open(request, self.cancellation))
            refuse_what_outgrew(self.plan, dump.preflight.estimated_plain_bytes)
            refuse_without_room(self.plan, dump.preflight.estimated_plain_bytes)
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
        names = naming.part_names(backup_id, [stream.suffix for stream in dump.streams], self.plan.compression)
        routes = [
            Route(stream, self._open_sinks(name, stack), partial(dump.stream_ended, number))
            for number, (stream, name) in enumerate(zip(dump.streams, names, strict=True))
        ]
        digests = pump_all(
            routes,
            compression=self.plan.compression,
            level=self.plan.level,
            limits=self.plan.limits,
            progress=self.progress,
            cancellation=self.cancellation,
            database=self.plan.entry.name,
        )
        parts = tuple(
            self._part(name, stream.name, digest)
            for name, stream, digest in zip(names, dump.streams, digests, strict=True)
        )
        return parts, [sink for route in routes for sink in route.sinks]

    def _open_sinks(self, part_name: str, stack: ExitStack) -> tuple[Sink, ...]:
        """One in every storage; what was not committed when ``stack`` ends is aborted."""
        sinks = []
        for storage in self.plan.storages:
            sink = storage.open_sink(naming.part_key(part_name))
            stack.callback(sink.abort)
            sinks.append(sink)
        return tuple(sinks)

    def _part(self, name: str, stream: str, digest: StreamDigest) -> Part:
        return Part(
            path=name,
            stream=stream,
            stored_bytes=digest.stored_bytes,
            stored_sha256=digest.stored_sha256,
            plain_bytes=digest.plain_bytes,
            plain_sha256=digest.plain_sha256,
            compression=self.plan.compression,
            level=self.plan.level,
        )

    def _describe(self, backup_id: str, dump: Dump, summary: DumpSummary, parts: tuple[Part, ...]) -> Manifest:
        entry = self.plan.entry
        return Manifest(
            id=backup_id,
            entry=entry.name,
            databases=self.source.databases(summary),
            scope=self.source.scope,
            method=self.source.method,
            engine=self.source.name,
            type=self.plan.type,
            format=dump.format,
            created_at=self.created_at,
            finished_at=utc_now(),
            recovery_point=summary.recovery_point,
            server=dump.preflight.server,
            tools=dump.preflight.tools,
            consistency=summary.consistency,
            chain=self.source.chain(summary),
            parts=parts,
            inventory=summary.inventory,
            excluded_tables=summary.excluded_tables,
            estimated_plain_bytes=dump.preflight.estimated_plain_bytes,
            warnings=(*self.plan.warnings, *dump.preflight.warnings, *summary.warnings),
            notes=self._notes(),
            stock_restore=self.source.stock_commands(parts, dump.format),
            run=self.run,
            retention_class=self.plan.type,
            retention_days=self.plan.retention_days,
            required_proof=standing.required_level(self.plan.type, entry.verify),
            safety=self.plan.safety,
        )

    def _notes(self) -> tuple[str, ...]:
        physical = self.source.method is Method.PHYSICAL
        if self.source.scope is Scope.SERVER and (physical or self.plan.type is BackupType.INCREMENTAL):
            return (SECRETS,)
        return ()

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


def refuse_what_outgrew(plan: Plan, estimated_plain_bytes: int | None) -> None:
    """Fail before the dump when the backup would end over BACKUP_MAX_SIZE_MB.

    :raises SizeLimitExceeded: with the estimate, the limit and the setting's name.
    """
    limit, expected = plan.limits.max_stored_bytes, _expected_bytes(plan, estimated_plain_bytes)
    if limit is not None and expected is not None and expected > limit:
        raise SizeLimitExceeded(
            f"{_expectation(plan, expected)}, and BACKUP_MAX_SIZE_MB allows {human_bytes(limit)}.",
            hint="Raise BACKUP_MAX_SIZE_MB (0: no limit), compress more, or leave tables out.",
            database=plan.entry.name,
        )


def refuse_without_room(plan: Plan, estimated_plain_bytes: int | None) -> None:
    """Fail before the dump when a storage has no room for the backup.

    :raises StorageFull: with the estimate, the storage and what it has left.
    """
    expected = _expected_bytes(plan, estimated_plain_bytes)
    if expected is None:
        return
    for storage in plan.storages:
        free = storage.free_bytes()
        if free is not None and expected > free:
            raise StorageFull(
                f"{_expectation(plan, expected)}, and the storage '{storage.name}' has {human_bytes(free)} left.",
                hint="Make room (`db-backup cleanup --dry-run` shows what may go), or compress more.",
                database=plan.entry.name,
            )


def _expected_bytes(plan: Plan, estimated_plain_bytes: int | None) -> float | None:
    """What the backup will take when it is stored; None when there is nothing to go by.

    The engine's estimate is no dump's size (it counts indexes, or nothing but data pages): what it was for the previous
    backup, and what that came to, tells what it comes to now. One that was compressed otherwise, or before a table was
    left out, tells nothing: it would refuse what a person has just made smaller. Nor does an increment: what changed in
    one hour is another thing than what changes in the next, and of a small one most is frame.
    """
    previous = plan.previous
    if (
        plan.type is BackupType.INCREMENTAL
        or previous is None
        or not estimated_plain_bytes
        or not previous.estimated_plain_bytes
    ):
        return None
    if {(part.compression, part.level) for part in previous.parts} != {(plan.compression, plan.level)}:
        return None
    if not all(_left_out(pattern, previous.excluded_tables) for pattern in plan.entry.exclude_tables):
        return None
    return previous.size_bytes * estimated_plain_bytes / previous.estimated_plain_bytes


def _left_out(pattern: str, tables: Sequence[str]) -> bool:
    return any(matches(pattern, name, name.rpartition(".")[2]) for name in tables)


def _expectation(plan: Plan, expected_bytes: float) -> str:
    going_by = f", going by {plan.previous.id}" if plan.previous else ""
    return f"The backup of '{plan.entry.name}' would take about {human_bytes(expected_bytes)}{going_by}"
