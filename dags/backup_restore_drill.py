"""Every database, restored into a scratch server: does it come back, and how long does it take?"""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.drill import DrillOutcomeOperator, drill_each, drill_params, select_drills
from db_backup.operators.scheduling import drill_plan

PLAN = drill_plan()

DOC = """
### Restore drills

**select_drills** lists the entries of `include/backup.yaml`, or those that the form names, with the types that restore
them (full, structure). **drill** restores the newest good backup of each into a scratch server, compares everything
with the manifest, runs the entry's `checks`, and measures how long fetching, loading and checking took. One that fails
stops no other. **report** prints the times beside their targets, and fails the run when a drill failed.

- When: on the first of the month at 05:00 in `BACKUP_TIMEZONE`. No setting stops it: pause the DAG to do without.
- What is measured is kept in each backup's state, beside the backup; `db-backup health` holds it against the targets,
  and predicts the time for today's size.
- A backup larger than `BACKUP_VERIFICATION_RESTORE_MAX_MB`, or that finds no scratch server or no room, is skipped with
  the reason. A database without any good backup of a type that it takes fails its drill.
- Pool: `backup_scratch` (how many restores at once).
"""


@dag(**PLAN.dag_arguments, params=drill_params(), doc_md=DOC)
def backup_restore_drill() -> None:
    drills = select_drills()
    drill_each(drills) >> DrillOutcomeOperator(task_id="report", drills=drills)


backup_restore_drill()
