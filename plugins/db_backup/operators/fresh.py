"""``require_fresh_backup``: a task that guards a migration."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import task

from db_backup.operators.base import opened_workspace


@task(retries=0)
def require_fresh_backup(database: str, within: timedelta) -> dict[str, Any]:
    """Pass only when verified backups lead to data of this entry that are younger than ``within``.

    That is a full, or an increment with its full and every increment between; of the entry, or of its ``server``.

    ::

        require_fresh_backup("shop", within=timedelta(hours=24)) >> migrate()

    Called in a DAG like any function under ``@task``, with ``.override(…)`` and ``.expand(…)``. Returns the backup's
    ``id``, ``database``, ``recovery_point`` and ``proof_level``. It fails at once, with the reason and what to do.
    """
    from db_backup.jobs.freshness import fresh_backup

    with opened_workspace() as workspace:
        backup = fresh_backup(workspace, database, within)
    return backup.model_dump(mode="json", include={"id", "database", "recovery_point", "proof_level"})
