"""The tasks that the DAGs share: every entry backed up and proved on its own, and at the end what came of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseOperator, TriggerRule, XComArg, task, task_group
from airflow.sdk.exceptions import AirflowFailException

from db_backup.model import BackupType
from db_backup.operators.backup import BACKUP_ID_KEY, BackupOperator
from db_backup.operators.cleanup import CleanupOperator
from db_backup.operators.health import HealthScoreOperator
from db_backup.operators.outcome import OutcomeOperator
from db_backup.operators.pools import BACKUP_POOL, SCRATCH_POOL
from db_backup.operators.scheduling import entries_taking
from db_backup.operators.verify import VerifyOperator

LOCK_WAIT_SECONDS = 60
"""How long a DAG's task waits for another one of the same entry, before it leaves that alone."""


@task(retries=0)
def select_databases(backup_type: str) -> list[str]:
    """The entries whose ``types`` hold this one.

    Every installation wants full backups: that no entry takes them is a failure. Other types are taken where an entry
    asks for them.
    """
    entries = entries_taking(BackupType(backup_type))
    if not entries and backup_type == BackupType.FULL:
        raise AirflowFailException(
            f"No entry of backup.yaml takes {backup_type} backups, so there is nothing to back up. "
            f"Add {backup_type} to the types of an entry, or switch this schedule off."
        )
    return entries


def protect(databases: XComArg, *, type: str, verify: str | bool = True, **backup: Any) -> Any:
    """The group ``protect``: backup → verify for each entry, none of which stops another.

    :param databases: the entries' names.
    :param verify: ``false``: nothing is verified. Templated, as are the others.
    :param backup: more arguments of :class:`BackupOperator`.
    """

    @task_group(group_id="protect")
    def each(database: str) -> None:
        made: Any = BackupOperator(
            task_id="backup",
            database=database,
            type=type,
            pool=BACKUP_POOL,
            wait_seconds=LOCK_WAIT_SECONDS,
            map_index_template="{{ task.database }}",
            **backup,
        )
        VerifyOperator(
            task_id="verify",
            database=database,
            backup_id=made.output[BACKUP_ID_KEY],
            enabled=verify,
            pool=SCRATCH_POOL,
            map_index_template="{{ task.database }}",
        )

    return each.expand(database=databases)


def cleanup(**arguments: Any) -> CleanupOperator:
    """The task ``cleanup``, whatever came of the backups before it: it leaves alone what failed."""
    return CleanupOperator(
        task_id="cleanup", trigger_rule=TriggerRule.ALL_DONE, wait_seconds=LOCK_WAIT_SECONDS, **arguments
    )


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
