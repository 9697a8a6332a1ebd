"""What has changed in every critical entry, every five minutes, each on its own."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.pools import CRITICAL_POOL
from db_backup.operators.protection import outcome, protect_by_increments, select_databases
from db_backup.operators.scheduling import critical_plan

PLAN = critical_plan()

DOC = """
### Five-minute increments of critical entries

For each entry of `include/backup.yaml` with `tier: critical`: what has changed since its last backup (**backup**),
every stored byte read back (**verify**), so that no more than 15 minutes are lost with the server. One entry's failure
stops no other; **outcome** prints what came of each, and fails the run when a task failed.

- When: every five minutes, as long as there is such an entry; without one this DAG has no schedule. No setting stops
  it: pause the DAG to do without. `BACKUP_ENABLED=false` skips the backups of scheduled runs.
- Where no increment can follow (there is no full yet, or the server's history is lost), a full is made instead, and
  says why. It is proved by restoring it in `backup_verification`, as is, once a week, every chain.
- One run at a time, so that a full that is made here holds back the increments of the others until it has ended. A run
  that had to wait skips an entry of which a backup has begun since the run was due: runs do not pile up.
- No retries, which would hold the others back as well: the next run is the retry.
- An entry at which another backup is at work is waited for, for a minute, and then skipped with the reason.
- Pool: `backup_critical`, so that no increment waits for the fulls of others.
- Cleanup of increments is that of `backup_daily`.
"""


@dag(**PLAN.dag_arguments, doc_md=DOC)
def backup_critical() -> None:
    databases = select_databases("incremental", tier="critical")
    protect_by_increments(databases, pool=CRITICAL_POOL) >> outcome(databases, follow_ups=[])


backup_critical()
