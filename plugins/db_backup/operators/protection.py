"""The tasks that the DAGs share: every entry backed up and proved on its own, and at the end what came of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, TriggerRule, XComArg, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from db_backup.model import BackupType, Tier, VerificationLevel
from db_backup.operators.archive import ArchiveOperator
from db_backup.operators.backup import BACKUP_ID_KEY, BackupOperator
from db_backup.operators.cleanup import CleanupOperator
from db_backup.operators.health import HealthScoreOperator
from db_backup.operators.outcome import OutcomeOperator
from db_backup.operators.pools import BACKUP_POOL, SCRATCH_POOL
from db_backup.operators.replicate import ReplicateOperator
from db_backup.operators.scheduling import entries_taking
from db_backup.operators.verify import VerifyOperator

LOCK_WAIT_SECONDS = 60
"""How long a DAG's task waits for another one of the same entry, before it leaves that alone."""

DAILY_WAIT_SECONDS = 600
"""The daily full waits longer: five-minute increments begin with it, and it must not lose to them night after night."""


@task(retries=0)
def select_databases(backup_type: str, tier: str | None = None) -> list[str]:
    """The entries whose ``types`` hold this one; of this tier, where one is given.

    Every installation wants full backups: that no entry takes them is a failure. Other types are taken where an entry
    asks for them.
    """
    entries = entries_taking(BackupType(backup_type), Tier(tier) if tier else None)
    if not entries and backup_type == BackupType.FULL:
        raise AirflowFailException(
            f"No entry of backup.yaml takes {backup_type} backups, so there is nothing to back up. "
            f"Add {backup_type} to the types of an entry, or switch this schedule off."
        )
    return entries


def protect(
    databases: XComArg,
    *,
    type: str,
    verify: str | bool = True,
    proof_level: str | None = None,
    pool: str = BACKUP_POOL,
    proof_pool: str = SCRATCH_POOL,
    **backup: Any,
) -> Any:
    """The group ``protect``: backup → verify for each entry, none of which stops another.

    :param databases: the entries' names.
    :param type: of the backups. Templated, as ``verify`` and what is in ``backup``.
    :param verify: ``false``: nothing is verified.
    :param proof_level: how far to verify; None: as far as the backup's type requires.
    :param backup: more arguments of :class:`BackupOperator`.
    """

    @task_group(group_id="protect")
    def each(database: str) -> None:
        made: Any = BackupOperator(
            task_id="backup",
            database=database,
            type=type,
            pool=pool,
            map_index_template="{{ task.database }}",
            **{"wait_seconds": LOCK_WAIT_SECONDS, **backup},
        )
        VerifyOperator(
            task_id="verify",
            database=database,
            backup_id=made.output[BACKUP_ID_KEY],
            enabled=verify,
            level=proof_level,
            pool=proof_pool,
            map_index_template="{{ task.database }}",
        )

    return each.expand(database=databases)


def protect_by_increments(databases: XComArg, *, pool: str) -> Any:
    """The group ``protect`` of the DAGs that come every few minutes: increment → checksum for each entry.

    Nothing in it waits for a scratch server: a full that was made instead of an increment is proved by restoring it in
    ``backup_verification``, and so are the increments in their chain's weekly replay. A backup that comes late and
    finds a newer one is skipped.

    :param pool: of both tasks.
    """
    return protect(
        databases,
        type=BackupType.INCREMENTAL,
        proof_level=VerificationLevel.CHECKSUM,
        pool=pool,
        proof_pool=pool,
        skip_when_overtaken=True,
    )


def replicate(**arguments: Any) -> ReplicateOperator:
    """The task ``replicate``, whatever came of the backups before it: copies that were missed are made."""
    return ReplicateOperator(task_id="replicate", trigger_rule=TriggerRule.ALL_DONE, **arguments)


def cleanup(**arguments: Any) -> CleanupOperator:
    """The task ``cleanup``, whatever came of the backups before it: it leaves alone what failed."""
    return CleanupOperator(
        task_id="cleanup", trigger_rule=TriggerRule.ALL_DONE, wait_seconds=LOCK_WAIT_SECONDS, **arguments
    )


def archive() -> ArchiveOperator:
    """The task ``archive``, whatever came before it: what it moves was verified long ago."""
    return ArchiveOperator(task_id="archive", trigger_rule=TriggerRule.ALL_DONE)


def health_score() -> HealthScoreOperator:
    """The task ``health_score``, whatever came before it."""
    return HealthScoreOperator(task_id="health_score", trigger_rule=TriggerRule.ALL_DONE)


def outcome(databases: XComArg, *, follow_ups: Sequence[BaseOperator]) -> OutcomeOperator:
    """The last task: what came of :func:`protect` and of the tasks after it; it carries every failure."""
    return OutcomeOperator(
        task_id="outcome",
        databases=databases,
        backup_task_id="protect.backup",
        verify_task_id="protect.verify",
        follow_up_task_ids=[follow_up.task_id for follow_up in follow_ups],
    )
