"""What has changed in every entry that takes increments, every hour of the working day, each on its own."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.pools import BACKUP_POOL
from db_backup.operators.protection import outcome, protect_by_increments, select_databases
from db_backup.operators.scheduling import hourly_plan

PLAN = hourly_plan()

DOC = """
### Hourly increments

For each entry of `include/backup.yaml` whose `types` hold `incremental`: what has changed since its last backup
(**backup**), every stored byte read back (**verify**). One entry's failure stops no other; **outcome** prints what came
of each, and fails the run when a task failed. Entries with `tier: critical` are left to `backup_critical`.

- When: at the full hours of `BACKUP_HOURLY_WINDOW`, both included, Monday to Friday, in `BACKUP_TIMEZONE`, with
  `BACKUP_HOURLY_ENABLED=true`; otherwise only when a person starts it. `BACKUP_ENABLED=false` skips the backups of
  scheduled runs.
- Where no increment can follow (there is no full yet, or the server's history is lost), a full is made instead, and
  says why. It is proved by restoring it in `backup_verification`, as is, once a week, every chain.
- One run at a time. A run that had to wait skips an entry of which a backup has begun since the run was due.
- An entry at which another backup is at work is waited for, for a minute, and then skipped with the reason.
- Cleanup of increments is that of `backup_daily`.
"""


@dag(**PLAN.dag_arguments, doc_md=DOC)
def backup_hourly() -> None:
    databases = select_databases("incremental", tier="standard")
    protect_by_increments(databases, pool=BACKUP_POOL) >> outcome(databases, follow_ups=[])


backup_hourly()
