"""Every database that takes full backups: backed up and verified, each on its own."""

from __future__ import annotations

from airflow.sdk import conf, dag, task, task_group

from db_backup.model import BackupType
from db_backup.operators import BackupOperator, OutcomeOperator, VerifyOperator
from db_backup.operators.pools import BACKUP_POOL, SCRATCH_POOL
from db_backup.operators.scheduling import daily_plan, entries_taking

PLAN = daily_plan()

DOC = """
### Daily full backups, proved by restoring them

For each entry of `include/backup.yaml` whose `types` hold `full`: **backup** dumps, compresses, hashes and stores it;
**verify** restores it into a scratch server and compares it table by table. One entry's failure stops no other.
**outcome** prints every entry's backup and proof, and fails the run when one of them failed.

- When: `BACKUP_DAILY_TIME` in `BACKUP_TIMEZONE`; `BACKUP_DAILY_ENABLED=false` leaves only runs that a person starts,
  and `BACKUP_ENABLED=false` skips the backups of scheduled runs.
- `BACKUP_VERIFICATION_ENABLED=false` skips **verify** in scheduled runs: their backups stay unproven.
- Pools: `backup` (how many databases at once) and `backup_scratch` (how many restores at once). Airflow makes them as
  it starts when they are missing; in a pool that does not exist tasks would wait for ever.
- Retries: Airflow's `[core] default_task_retries`, at least one, after `default_task_retry_delay`; failures that only a
  person can heal (a wrong password, a wrong setting) are not retried.
- A proven backup updates the asset `x-backup://<entry>`.
"""


@dag(
    dag_id="backup_daily",
    # No start_date: the timetable has the time zone, and with a date in the past unpausing the DAG would start the run
    # of the last time that went by ("run immediately has no effect if there is restriction on earliest", Airflow 3.3).
    schedule=PLAN.schedule,
    catchup=False,
    max_active_runs=1,
    tags=["backup"],
    doc_md=DOC,
    default_args={
        "execution_timeout": PLAN.execution_timeout,
        "retries": max(1, conf.getint("core", "default_task_retries")),
    },
)
def backup_daily() -> None:
    @task(retries=0)
    def select_databases() -> list[str]:
        return entries_taking(BackupType.FULL)

    @task_group
    def protect(database: str) -> None:
        backup = BackupOperator(
            task_id="backup",
            database=database,
            pool=BACKUP_POOL,
            map_index_template="{{ task.database }}",
        )
        VerifyOperator(
            task_id="verify",
            database=database,
            backup_id=backup.output["backup_id"],
            pool=SCRATCH_POOL,
            map_index_template="{{ task.database }}",
        )

    databases = select_databases()
    protected = protect.expand(database=databases)
    protected >> OutcomeOperator(
        task_id="outcome",
        databases=databases,
        backup_task_id="protect.backup",
        verify_task_id="protect.verify",
    )


backup_daily()
