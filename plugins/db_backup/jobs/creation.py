"""One backup on its way from the engine to the storages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import NamedTuple

from db_backup import naming, standing
from db_backup.config import Entry
from db_backup.encryption import CIPHER, DataKey
from db_backup.engines.base import Dump, DumpRequest, DumpSummary
from db_backup.engines.exclusion import matches
from db_backup.errors import SizeLimitExceeded, StorageFull
from db_backup.jobs.placing import Placing, missing_warnings
from db_backup.jobs.sources import Source
from db_backup.manifest import Cipher, Copy, Manifest, Part, RunInfo, State, WrappedKey
from db_backup.model import BackupType, Compression, Method, Scope, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Storage
from db_backup.stream.parallel import Route, Target, pump_all
from db_backup.stream.pipeline import Limits, StreamDigest, most_plain_bytes
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

    :param missing: the copies in storages that should get it too, and that were out of reach from the start.
    :param later: storages that it may be copied to once it is made: a part that is too large for them would never be.
    :param new_key: makes the data key of a backup id, with its wraps; None: it is not encrypted.
    :param is_taken: whether a backup of this id lies in a storage that this one does not go to.
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
    missing: tuple[Copy, ...] = ()
    later: tuple[Storage, ...] = ()
    new_key: Callable[[str], tuple[DataKey, tuple[WrappedKey, ...]]] | None = None
    is_taken: Callable[[str], bool] = lambda _: False
    safety: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def max_object_bytes(self) -> int | None:
        """What one object holds at most in all storages, also in those that fail on the way; None: no limit."""
        limits = [storage.max_object_bytes for storage in (*self.storages, *self.later)]
        return min((limit for limit in limits if limit is not None), default=None)


class Made(NamedTuple):
    """A backup that was published. ``warnings``: what the manifest, which does not change, does not say."""

    manifest: Manifest
    state: State
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

    def publish(self) -> Made:
        """All of it; leaving by an exception leaves nothing in the storages."""
        entry = self.plan.entry.name
        request = DumpRequest(entry, self.plan.type, self.plan.entry.exclude_tables, jobs=self.plan.jobs)
        placing = Placing(self.plan.storages, self.plan.missing)
        with placing.claimed(self._names(), entry) as backup_id:
            key, wraps = self.plan.new_key(backup_id) if self.plan.new_key else (None, ())
            self.progress.stage(f"connecting to {entry}")
            with self.source.open(request, self.cancellation) as dump:
                refuse_what_outgrew(self.plan, dump.preflight.estimated_plain_bytes)
                leave_out_without_room(self.plan, placing, dump.preflight.estimated_plain_bytes)
                self.progress.stage(f"dumping {entry}", dump.preflight.estimated_plain_bytes)
                parts, summary = self._store(dump, backup_id, key, placing)
                placing.commit_parts()
                manifest = self._describe(backup_id, dump, summary, parts)
                state = placing.publish(manifest, State(id=backup_id, wrapped_keys=wraps))
        return Made(manifest, state, (*missing_warnings(state), *placing.remarks))

    def _names(self) -> Iterator[str]:
        """The ids of this second (DESIGN, "On storage")."""
        for serial in range(1, _ID_TRIES):
            name = naming.BackupName(self.plan.entry.name, self.plan.type, self.created_at.astimezone(UTC), serial)
            if not self.plan.is_taken(str(name)):
                yield str(name)

    def _store(
        self, dump: Dump, backup_id: str, key: DataKey | None, placing: Placing
    ) -> tuple[tuple[Part, ...], DumpSummary]:
        """Every stream through the pipeline into every storage, under temporary names.

        What lies there decrypts as complete only once the dump has said that it is whole: a process that is killed
        before leaves nothing that could be taken for a backup.
        """
        suffixes = tuple(stream.suffix for stream in dump.streams)
        names = naming.PartNames(backup_id, suffixes, self.plan.compression, encrypted=key is not None)

        def open_part(stream: int, piece: int) -> Target:
            name = names.name(stream, piece)
            largest = self.plan.max_object_bytes
            return Target(
                (placing.open_part(name),),
                partial(key.encryptor, backup_id=backup_id, part=name) if key else None,
                None if largest is None else most_plain_bytes(largest),
            )

        carried = pump_all(
            [
                Route(stream, partial(open_part, number), partial(dump.stream_ended, number - 1))
                for number, stream in enumerate(dump.streams, 1)
            ],
            compression=self.plan.compression,
            level=self.plan.level,
            limits=self.plan.limits,
            progress=self.progress,
            cancellation=self.cancellation,
            database=self.plan.entry.name,
        )
        summary = dump.complete()
        self.cancellation.check()
        parts = tuple(
            self._part(names.name(number, piece), stream.name, digest, key)
            for number, (stream, unended) in enumerate(zip(dump.streams, carried, strict=True), 1)
            for piece, digest in enumerate(unended.end(), 1)
        )
        return parts, summary

    def _part(self, name: str, stream: str, digest: StreamDigest, key: DataKey | None) -> Part:
        return Part(
            path=name,
            stream=stream,
            stored_bytes=digest.stored_bytes,
            stored_sha256=digest.stored_sha256,
            plain_bytes=digest.plain_bytes,
            plain_sha256=digest.plain_sha256,
            compression=self.plan.compression,
            level=self.plan.level,
            cipher=Cipher(name=CIPHER, key_id=key.fingerprint) if key else None,
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
        as_written = physical or self.plan.type is BackupType.INCREMENTAL
        return (SECRETS,) if self.source.scope is Scope.SERVER and as_written and self.plan.new_key is None else ()


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


def leave_out_without_room(plan: Plan, placing: Placing, estimated_plain_bytes: int | None) -> None:
    """Leave out, before the dump, the storages that have no room for the backup.

    :raises StorageFull: none has, with the estimate, the first storage and what it has left.
    """
    expected = _expected_bytes(plan, estimated_plain_bytes)
    if expected is None:
        return

    def look(storage: Storage) -> None:
        free = storage.free_bytes()
        if free is not None and expected > free:
            raise StorageFull(
                f"{_expectation(plan, expected)}, and the storage '{storage.name}' has {human_bytes(free)} left.",
                hint="Make room (`db-backup cleanup --dry-run` shows what may go), or compress more.",
                database=plan.entry.name,
            )

    placing.in_each(look)


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
