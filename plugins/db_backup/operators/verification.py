"""The tasks of ``backup_verification``: choose what is due, and verify each on its own."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import XComArg, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from db_backup.operators.base import opened_workspace, run_info
from db_backup.operators.pools import SCRATCH_POOL
from db_backup.operators.verify import VERIFIED_BACKUPS, VerifyOperator

log = logging.getLogger(__name__)


@task
def select_backups() -> list[dict[str, str | None]]:
    """The backups that are due, as arguments of :class:`VerifyOperator`; the log says why each is."""
    from db_backup.jobs.due import backups_due

    with opened_workspace() as workspace:
        report = backups_due(workspace)
    for due in report.due:
        log.info("%s: %s", due.backup_id, due.reason)
    if report.waiting:
        log.warning("%d more are due, and wait for the next run.", report.waiting)
    for unreliable in report.unreliable:
        log.warning("Not to be relied on: %s, %s", unreliable.backup_id, unreliable.reason)
    return [{"backup_id": due.backup_id, "database": due.database, "level": due.level} for due in report.due]


@task
def open_keys() -> dict[str, str]:
    """Entry → what came of opening the data key of its newest encrypted backup; fails where no key opens one."""
    from db_backup.jobs.canary import CanaryResult, try_keys

    with opened_workspace() as workspace:
        canaries = try_keys(workspace, run=run_info(get_current_context()))
    for canary in canaries:
        log.info("%s: %s: %s. %s", canary.entry, canary.backup_id, canary.result, canary.reason)
    if failed := [canary for canary in canaries if canary.result is CanaryResult.FAILED]:
        told = " ".join(f"{canary.entry}: {canary.reason}" for canary in failed)
        raise AirflowFailException(f"The newest encrypted backup cannot be opened. {told}")
    return {canary.entry: str(canary.result) for canary in canaries}


def verify_each(due: XComArg) -> Any:
    """The task ``verify`` for each of them, none of which stops another."""
    return VerifyOperator.partial(
        task_id="verify",
        pool=SCRATCH_POOL,
        skip_deleted=True,
        outlets=[VERIFIED_BACKUPS],  # of a task that is mapped by itself Airflow knows only what it is told here
        map_index_template="{{ task.backup_id }}",
    ).expand_kwargs(due)
