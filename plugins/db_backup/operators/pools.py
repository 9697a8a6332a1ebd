"""The pools that the DAGs name, made by Airflow's scheduler as it starts where nobody has made them.

A task in a pool that does not exist waits for ever: Airflow 3.3's scheduler logs "Tasks using non-existent pool … will
not be scheduled", and the DAG shows a warning. Pools that exist are left as they are.
"""

from __future__ import annotations

from airflow.listeners import hookimpl

BACKUP_POOL = "backup"
CRITICAL_POOL = "backup_critical"
RESTORE_POOL = "backup_restore"
SCRATCH_POOL = "backup_scratch"

# airflow_settings.yaml has the same, for `astro dev start`.
POOLS = (
    (BACKUP_POOL, 2, "Backups at work at the same time"),
    (CRITICAL_POOL, 4, "Five-minute increments at work at the same time, which wait for no other backups"),
    (RESTORE_POOL, 1, "Restores at work at the same time"),
    (SCRATCH_POOL, 1, "Verifications that restore into a scratch server at the same time"),
)


@hookimpl
def on_starting(component: object) -> None:
    """Scheduler, DAG processor and triggerer call this with their ``Job``, task runners with something else.

    A ``Job`` has no type yet at that moment, so whichever of the three comes first makes the pools. Task runners may
    not touch the metadata database, and need not import its models to find that out.
    """
    if type(component).__name__ != "Job":
        return
    from airflow.models.pool import Pool
    from sqlalchemy.exc import IntegrityError

    for name, slots, description in POOLS:
        if Pool.get_pool(name) is not None:
            continue
        try:
            Pool.create_or_update_pool(name, slots=slots, description=description, include_deferred=False)
        except IntegrityError:  # another process of this Airflow made it in between
            if Pool.get_pool(name) is None:
                raise
