"""A restore that somebody asks for, and that somebody approves before anything that exists is changed."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.restore_form import restore_params
from db_backup.operators.restore_run import restore_tasks
from db_backup.operators.scheduling import restore_plan

PLAN = restore_plan()

DOC = """
### Restore

**plan** finds out what will happen and changes nothing; the backups that it takes are kept from deletion from here on.
**approval** shows the plan to whoever may answer in Airflow (Browse, Required Actions), for 24 hours: rejected, the run
ends and nothing was changed; unanswered, it fails. Nobody is asked where the restore makes a new database or goes into
a scratch server. **thaw** asks for backups that lie in a cold class and nowhere else, and waits for them, for hours, in
the triggerer and without a worker's slot. **restore** looks whether the plan still holds, makes a safety backup of what
will be replaced, loads beside it, compares with the manifest, and puts it in place. **report** says what came of it,
and fails the run when a task failed.

- **to_time** goes back to a moment: `2026-01-31 14:05:00` is one of `BACKUP_TIMEZONE`, and the plan repeats it in UTC.
  What held the database is rebuilt in a scratch server first; `db-backup list --recovery` shows the moments there are.
- `BACKUP_RESTORE_FOUR_EYES=true`: whoever started the run cannot approve it.
- An approval holds for 24 hours, and for one restore. Clear no task of a run that has restored: start a new one.
- **before_restore** and **after_restore** run the DAGs of `hooks` in `backup.yaml`, and wait for them; the second also
  when the restore failed, but not when what is in place now differs from the backup: look at it, then run that DAG by
  hand. They must not be paused.
- Who may start a run or answer is Airflow's to say: whoever may run DAGs; viewers may not.
- Pool: `backup_restore`. Runs that wait for approval hold back no other.

Over REST, with only the keys that are wanted:

    POST /api/v2/dags/backup_restore/dagRuns
    {"logical_date": null, "conf": {"database": "shop", "force": true, "to_time": "2026-01-31T14:05:00+01:00"}}
    PATCH /api/v2/dags/backup_restore/dagRuns/<run>/taskInstances/approval/-1/hitlDetails
    {"chosen_options": ["Approve"], "params_input": {}}
"""


@dag(**PLAN.dag_arguments, params=restore_params(), doc_md=DOC)
def backup_restore() -> None:
    restore_tasks()


backup_restore()
