"""A database as it was at a point, as an ordinary full backup in a temporary storage: what every restore can take."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.config import Entry
from db_backup.engines import engine_for
from db_backup.engines.base import EngineOptions
from db_backup.engines.chain import Rebuilt
from db_backup.errors import UsageError
from db_backup.jobs.chains import link_of
from db_backup.jobs.creation import Creation, Plan
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.replay import chain_reader
from db_backup.jobs.restore.moments import Recovery
from db_backup.jobs.restore.request import Recovered
from db_backup.jobs.sidecars import Located
from db_backup.jobs.sources import DatabaseSource
from db_backup.manifest import Manifest, RunInfo
from db_backup.model import BackupType, Compression, ConnectionInfo, EngineName, Scope, Tier, VerificationLevel
from db_backup.progress import Cancellation, Progress
from db_backup.storage import LocalStorage
from db_backup.stream.pipeline import Limits
from db_backup.stream.private_folder import make_last_folder, private_folder

# Read back once, on the same disk: as little work as saves more room than it costs.
_COMPRESSION, _LEVEL = Compression.ZSTD, 1


@dataclass(frozen=True)
class TakenOut:
    """The backup that was made of what was rebuilt, which lives as long as its block. It goes by the last link's id.

    ``reading``: which copies of the links it was rebuilt of. ``warnings``: what was passed over is among them.
    """

    located: Located
    recovered: Recovered
    reading: Fallback
    warnings: tuple[str, ...]


@contextmanager
def taken_out(
    recovery: Recovery,
    reading: Fallback,
    options: EngineOptions,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Iterator[TakenOut]:
    """Rebuild the source in a scratch server, and back up the one database in it. The caller leases every link.

    :param reading: the links; where a copy of one cannot be read, the rebuilding begins again with the next.

    Nothing but BACKUP_SCRATCH_PATH is touched; the scratch server is gone when the block begins.

    :raises ChainBroken, PointOutOfReach: the links do not lead there after all.
    :raises UsageError: the database was not there at that point.
    :raises ScratchUnavailable, ToolError, StorageFull: it cannot be rebuilt here.
    :raises ArtefactError, LoadFailed, SourceError, Interrupted: it could not be rebuilt.
    """
    make_last_folder(options.scratch_path, "BACKUP_SCRATCH_PATH")
    engine = chain_reader(recovery.base, options)
    plain_bytes = sum(link.manifest.plain_bytes for link in recovery.links)

    def rebuild(copies: Sequence[Located]) -> tuple[Rebuilt, Located]:
        links = [link_of(located, progress) for located in copies]
        progress.stage(f"rebuilding '{recovery.base.entry}' of {len(links)} backups", plain_bytes)
        with engine.open_rebuilt(links, recovery.point, cancellation) as rebuilt:
            _refuse_absent(recovery, rebuilt)
            progress.stage(f"taking '{recovery.database}' out of it")
            located = _backed_up(recovery, rebuilt, options, folder, run, _OneStage(progress), cancellation)
        return rebuilt, located

    with private_folder(options.scratch_path, "recovery") as folder:
        began = time.monotonic()
        rebuilt, located = reading.run(rebuild)
        yield TakenOut(
            located,
            Recovered(
                asked=recovery.words,
                time=recovery.asked.time,
                reached=rebuilt.time,
                position=rebuilt.position,
                source=recovery.base.entry,
                source_database=recovery.database,
                links=tuple(link.manifest.id for link in recovery.links),
                rebuild_seconds=round(time.monotonic() - began, 3),
            ),
            reading,
            (*reading.warnings, *rebuilt.warnings, *located.manifest.warnings),
        )


class _OneStage(Progress):
    """Keeps the stage: those of a backup would sound as if the live database was dumped."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        """Nothing."""

    def advance(self, plain_bytes: int) -> None:
        self._progress.advance(plain_bytes)


def _refuse_absent(recovery: Recovery, rebuilt: Rebuilt) -> None:
    if recovery.database not in rebuilt.databases:
        raise UsageError(
            f"'{recovery.base.entry}' had no database '{recovery.database}' at {recovery.words}.",
            hint=f"It had: {', '.join(rebuilt.databases) or 'none'}. Name another moment, or another database.",
            database=recovery.entry,
            backup_id=recovery.last.id,
        )


def _backed_up(
    recovery: Recovery,
    rebuilt: Rebuilt,
    options: EngineOptions,
    folder: Path,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Located:
    storage = LocalStorage("recovery", folder / "backups")
    storage.initialise()
    connection = rebuilt.connection
    if connection.engine is not EngineName.SQLITE:
        connection = dataclasses.replace(connection, database=recovery.database)
    # Whatever else backups are made like: of an archive single tables, owners and grants can be had.
    options = dataclasses.replace(
        options,
        postgres_format="custom",
        postgres_no_owner=False,
        postgres_no_privileges=False,
        mysql_routines=True,
        mysql_triggers=True,
        mysql_events=True,
        sqlite_vacuum=False,
    )
    plan = Plan(
        entry=_whole(recovery.entry, connection),
        type=BackupType.FULL,
        compression=_COMPRESSION,
        level=_LEVEL,
        jobs=1,
        retention_days=0,
        storages=(storage,),
        limits=Limits(),
        previous=None,
    )
    source = DatabaseSource(engine_for(connection, options))
    manifest, state, _ = Creation(plan, source, run, progress, cancellation).publish()
    return Located(storage, _as_of_the_source(manifest, recovery, rebuilt), state, recovery.links[-1].keyring)


def _as_of_the_source(manifest: Manifest, recovery: Recovery, rebuilt: Rebuilt) -> Manifest:
    """What it says of the scratch server, it says of the server that was rebuilt there."""
    base = recovery.base.server
    address = f"{base.address.rpartition('/')[0]}/{recovery.database}"
    server = {
        "flavour": base.flavour,
        "version": base.version,
        "identity": base.identity,
        "address": address if recovery.base.scope is Scope.SERVER else base.address,
    }
    return manifest.model_copy(
        update={
            "id": recovery.last.id,
            "databases": (recovery.database,),
            "recovery_point": rebuilt.time,
            "server": manifest.server.model_copy(update=server),
        }
    )


def _whole(name: str, connection: ConnectionInfo) -> Entry:
    """An entry that leaves nothing out."""
    return Entry(
        name=name,
        scope=Scope.DATABASE,
        conn_id=connection.conn_id,
        engine=connection.engine,
        tier=Tier.STANDARD,
        types=(BackupType.FULL,),
        compression=_COMPRESSION,
        level=_LEVEL,
        encrypt=False,
        jobs=1,
        verify=VerificationLevel.ARCHIVE,
        retention={},
        storages=(),
    )
