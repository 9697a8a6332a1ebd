"""Every database that takes full backups: backed up and verified, each on its own; then cleanup and health."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.protection import (
    DAILY_WAIT_SECONDS,
    cleanup,
    health_score,
    outcome,
    protect,
    replicate,
    select_databases,
)
from db_backup.operators.scheduling import daily_plan

PLAN = daily_plan()

DOC = """
### Daily full backups, proved by restoring them

For each entry of `include/backup.yaml` whose `types` hold `full`, databases and servers: **backup** dumps, compresses,
hashes and stores it;
**verify** restores it into a scratch server and compares it table by table. One entry's failure stops no other.
**replicate** makes copies that a storage misses, of all backups, and mends damaged ones.
**cleanup** deletes, of every entry and type, what is no longer to be kept; it leaves alone an entry whose backup went
wrong in this run. **health_score** says how well each entry is protected. **outcome** prints every entry's backup and
proof, and fails the run when a task failed.

- When: `BACKUP_DAILY_TIME` in `BACKUP_TIMEZONE`; `BACKUP_DAILY_ENABLED=false` leaves only runs that a person starts,
  and `BACKUP_ENABLED=false` skips the backups of scheduled runs.
- `BACKUP_VERIFICATION_ENABLED=false` skips **verify** in scheduled runs: their backups stay unproven.
- An entry at which another backup is at work is waited for, for ten minutes, and then skipped with the reason.
- Pools: `backup` (how many databases at once) and `backup_scratch` (how many restores at once). Airflow makes them as
  it starts when they are missing; in a pool that does not exist tasks would wait for ever.
- Retries: Airflow's `[core] default_task_retries`, at least one, after `default_task_retry_delay`; failures that only a
  person can heal (a wrong password, a wrong setting) are not retried.
- A proven backup updates the asset `x-backup://<entry>`.
"""


@dag(**PLAN.dag_arguments, doc_md=DOC)
def backup_daily() -> None:
    databases = select_databases("full")
    follow_ups = [replicate(), cleanup(), health_score()]
    protected = protect(databases, type="full", wait_seconds=DAILY_WAIT_SECONDS)
    protected >> follow_ups[0] >> follow_ups[1] >> follow_ups[2] >> outcome(databases, follow_ups=follow_ups)


backup_daily()
