"""A chain rebuilt in a scratch server that is thrown away: proof of a full of a server, and of what increments hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from db_backup.comparison import compare
from db_backup.engines import chain_engine_for
from db_backup.engines.base import EngineOptions
from db_backup.engines.chain import ChainEngine
from db_backup.jobs.chains import link_of
from db_backup.jobs.contents import FetchClock
from db_backup.jobs.copies import leased_all
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Difference, Inventory, Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation, Progress
from db_backup.recovery import Point


@dataclass(frozen=True)
class Rebuild:
    """What came of a full that was rebuilt by itself; seconds as in ``Rehearsal``."""

    found: Inventory
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    fetch_seconds: float
    load_seconds: float
    check_seconds: float


def chain_reader(manifest: Manifest, options: EngineOptions) -> ChainEngine:
    """The chain engine of this backup, bound to no source: for what needs none."""
    return chain_engine_for(ConnectionInfo(conn_id="", engine=manifest.engine), options)


def rebuild_full(
    located: Located, options: EngineOptions, *, progress: Progress, cancellation: Cancellation
) -> Rebuild:
    """Rebuild a full of a whole server, and compare everything. The caller holds its lease.

    :raises ScratchUnavailable, ToolError, StorageFull, ArtefactError, LoadFailed, Interrupted:
    """
    manifest, clock = located.manifest, FetchClock()
    engine = chain_reader(manifest, options)
    progress.stage(f"rebuilding {manifest.id} in a scratch server", manifest.plain_bytes)
    began = time.monotonic()
    with engine.open_rebuilt([link_of(located, progress, clock)], Point(), cancellation) as rebuilt:
        loaded = time.monotonic()
        progress.stage(f"comparing {len(manifest.inventory.tables)} tables")
        found = engine.take_inventory(rebuilt, manifest, cancellation)
        checked = time.monotonic()
    fetch_seconds = min(clock.seconds, loaded - began)
    return Rebuild(
        found=found,
        differences=compare(manifest.inventory, found),
        warnings=rebuilt.warnings,
        fetch_seconds=round(fetch_seconds, 3),
        load_seconds=round(loaded - began - fetch_seconds, 3),
        check_seconds=round(checked - loaded, 3),
    )


def replay(
    workspace: Workspace, line: Sequence[Located], *, progress: Progress, cancellation: Cancellation
) -> dict[str, object]:
    """Rebuild a chain up to the last of ``line``, whose lease the caller holds; returns what a proof keeps of it.

    :param line: the base and the increments that follow it, in order.
    :raises ChainBroken: the links do not follow each other.
    :raises Refused, UnknownBackup: one of them is being deleted.
    :raises ScratchUnavailable, ToolError, StorageFull, ArtefactError, LoadFailed, Interrupted:
    """
    last, clock = line[-1].manifest, FetchClock()
    engine = chain_reader(last, workspace.engine_options)
    with ExitStack() as stack:
        links = stack.enter_context(leased_all(workspace, line[:-1], f"replay up to {last.id}"))
        progress.stage(
            f"replaying {len(line)} backups up to {last.id} in a scratch server",
            sum(link.manifest.plain_bytes for link in line),
        )
        began = time.monotonic()
        reading = Fallback(workspace, (*links, line[-1]), cancellation)
        rebuilt = reading.run(
            lambda copies: stack.enter_context(
                engine.open_rebuilt([link_of(copy, progress, clock) for copy in copies], Point(), cancellation)
            )
        )
        took = time.monotonic() - began
    fetch_seconds = min(clock.seconds, took)
    return {
        "links": len(line),
        "base_id": line[0].manifest.id,
        "databases": len(rebuilt.databases),
        "replayed_to": rebuilt.time.isoformat(),
        "replayed_to_position": rebuilt.position,
        "restore_warnings": [*reading.warnings, *rebuilt.warnings],
        "read_from": reading.read_from,
        "passed_over": [passed.model_dump() for passed in reading.passed_over],
        "fetch_seconds": round(fetch_seconds, 3),
        "load_seconds": round(took - fetch_seconds, 3),
        "restore_seconds": round(time.monotonic() - began, 3),
    }
