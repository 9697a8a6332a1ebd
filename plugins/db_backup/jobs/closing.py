"""The last increment of a server's chain, taken after the full that begins the next one: no moment is between the two.

A chain that ended with the increment before the full would leave out what was written until the full's snapshot: for
hourly backups the whole night, every night. So the old chain's last increment ends after that snapshot. A file has no
history between its backups, and needs none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from db_backup.engines.chain import ChainEngine
from db_backup.errors import BackupError, ChainBroken, Interrupted
from db_backup.jobs.chains import link_of, newest_link, record_break
from db_backup.jobs.creation import Creation, Made, Plan
from db_backup.jobs.sources import IncrementSource
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType
from db_backup.progress import Cancellation, Progress, Silent


@dataclass(frozen=True)
class Closed:
    """The increment; or, where there is none, what a person should know of it."""

    increment: Made | None = None
    warnings: tuple[str, ...] = ()


def close_chain(
    workspace: Workspace,
    plan: Plan,
    engine: ChainEngine,
    full_id: str,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Closed:
    """Take it, before the server is told of the full; it is never told of this one. Whatever fails takes nothing from
    the full, and is a warning.

    :param plan: of the full, which begins the next chain.
    :raises Interrupted:
    """
    entry = plan.entry
    closing = replace(
        plan,
        type=BackupType.INCREMENTAL,
        retention_days=entry.retention[BackupType.INCREMENTAL],
        previous=None,
        warnings=(),
    )
    last = None
    try:
        last = newest_link(workspace, entry.name, besides=full_id)
        if last is None:
            return Closed()
        progress.stage(f"closing the chain of {entry.name} after {last.manifest.id}")
        engine.prove_chain(last.manifest)
        source = IncrementSource(engine, link_of(last, Silent()))
        return Closed(Creation(closing, source, run, progress, cancellation).publish())
    except Interrupted:
        raise
    except BackupError as error:
        if isinstance(error, ChainBroken) and not error.worth_a_full:
            record_break(workspace, entry.name, last.manifest.id if last else error.backup_id, error, run)
        end = f"ends at {last.manifest.recovery_point:%Y-%m-%d %H:%M:%S} UTC" if last else "could not be closed"
        return Closed(
            warnings=(
                f"The chain before this full {end}, and no moment between that and the full can be recovered: "
                f"{error.message}",
            )
        )
