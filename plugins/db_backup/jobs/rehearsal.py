"""A restore into a scratch server that is thrown away: compared, checked and timed. Nothing else is touched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from db_backup.comparison import compare
from db_backup.config import Check
from db_backup.engines import engine_for, open_scratch
from db_backup.engines.base import Engine, EngineOptions
from db_backup.errors import FeatureNotAvailable
from db_backup.jobs.checks import CheckResult, applicable, failed_checks, run_checks
from db_backup.jobs.contents import FetchClock, plain_streams
from db_backup.jobs.replay import rebuild_full
from db_backup.jobs.sidecars import Located
from db_backup.manifest import Difference, Inventory, Manifest
from db_backup.model import BackupType, ConnectionInfo, EngineName, Scope
from db_backup.progress import Cancellation, Progress


@dataclass(frozen=True)
class Rehearsal:
    """What came of it. Of the seconds, ``restore_seconds`` is the whole, with the scratch server's start.

    ``fetch_seconds``: what loading waited for the storage; ``load_seconds``: the rest of loading; ``check_seconds``:
    inventory and application checks.
    """

    found: Inventory
    differences: tuple[Difference, ...]
    checks: tuple[CheckResult, ...]
    warnings: tuple[str, ...]
    fetch_seconds: float
    load_seconds: float
    check_seconds: float
    restore_seconds: float

    @property
    def evidence(self) -> dict[str, object]:
        """What a proof keeps of it."""
        return {
            "tables": len(self.found.tables),
            "rows": self.found.rows,
            "objects": len(self.found.objects),
            "restore_warnings": list(self.warnings),
            "fetch_seconds": self.fetch_seconds,
            "load_seconds": self.load_seconds,
            "check_seconds": self.check_seconds,
            "restore_seconds": self.restore_seconds,
        }


def rehearse(
    located: Located,
    options: EngineOptions,
    *,
    checks: Sequence[Check] = (),
    progress: Progress,
    cancellation: Cancellation,
) -> Rehearsal:
    """Restore a backup into a scratch server of its own engine and major version, and compare everything.

    The caller holds the backup's lease.

    :param checks: of the configuration; those that fail are among the differences. A structure backup is asked none.
    :raises FeatureNotAvailable: it holds rows and no tables.
    :raises ScratchUnavailable, ToolError, StorageFull: no scratch server, or no room in it.
    :raises ArtefactError, LoadFailed, Interrupted: the backup could not be restored.
    """
    manifest = located.manifest
    if manifest.type is BackupType.DATA:
        raise FeatureNotAvailable(
            f"{manifest.id} holds rows and no tables, and a scratch server has none that they could go into.",
            hint=f"Restore a structure backup of '{manifest.entry}' into a new database (--as NAME), "
            "then the rows into that.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    began = time.monotonic()
    if manifest.scope is Scope.SERVER:
        return _rehearse_server(located, options, began, progress, cancellation)
    with open_scratch(manifest.server, options.scratch_path, cancellation) as scratch:
        target = engine_for(scratch, options).create_database(_database_in(scratch, manifest))
        loading = time.monotonic()
        clock, warnings = _load(target, located, progress, cancellation)
        loaded = time.monotonic()
        progress.stage(f"comparing {len(manifest.inventory.tables)} tables")
        found = target.take_inventory(manifest, cancellation)
        results = run_checks(target, applicable(checks, manifest.type), cancellation)
        checked = time.monotonic()
    fetch_seconds = min(clock.seconds, loaded - loading)
    return Rehearsal(
        found=found,
        differences=(*compare(manifest.inventory, found), *failed_checks(results)),
        checks=results,
        warnings=warnings,
        fetch_seconds=round(fetch_seconds, 3),
        load_seconds=round(loaded - loading - fetch_seconds, 3),
        check_seconds=round(checked - loaded, 3),
        restore_seconds=round(time.monotonic() - began, 3),
    )


def _rehearse_server(
    located: Located, options: EngineOptions, began: float, progress: Progress, cancellation: Cancellation
) -> Rehearsal:
    """Of a server's full, which no application checks are about."""
    rebuilt = rebuild_full(located, options, progress=progress, cancellation=cancellation)
    return Rehearsal(
        found=rebuilt.found,
        differences=rebuilt.differences,
        checks=(),
        warnings=rebuilt.warnings,
        fetch_seconds=rebuilt.fetch_seconds,
        load_seconds=rebuilt.load_seconds,
        check_seconds=rebuilt.check_seconds,
        restore_seconds=round(time.monotonic() - began, 3),
    )


def _load(
    target: Engine, located: Located, progress: Progress, cancellation: Cancellation
) -> tuple[FetchClock, tuple[str, ...]]:
    clock = FetchClock()
    progress.stage(f"restoring {located.manifest.id} into a scratch server", located.manifest.plain_bytes)
    return clock, target.load(plain_streams(located, progress, clock), located.manifest, cancellation)


def _database_in(scratch: ConnectionInfo, manifest: Manifest) -> str:
    """The name it had, so that names inside routines resolve; for SQLite the file that scratch offers."""
    return scratch.database if manifest.engine is EngineName.SQLITE else manifest.databases[0]
