"""The structure of every database whose entry asks for it: backed up and verified; then cleanup and archive."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.protection import archive, cleanup, outcome, protect, select_databases
from db_backup.operators.scheduling import weekly_plan

PLAN = weekly_plan()

DOC = """
### Weekly structure backups

For each entry of `include/backup.yaml` whose `types` hold `structure`: its schema without rows, backed up (**backup**)
and restored into a scratch server for proof (**verify**). **cleanup** deletes, of every entry and type, what is no
longer to be kept; **archive** moves old backups of every type to a colder class, where a storage of `backup.yaml` has
`archive`, and is skipped where none has. **outcome** prints what came of each entry, and fails the run when a task
failed. Where no entry asks for structure backups, there is nothing to do, which is no failure.

- When: `BACKUP_WEEKLY_DAY` at `BACKUP_WEEKLY_TIME` in `BACKUP_TIMEZONE`; `BACKUP_WEEKLY_ENABLED=false` leaves only runs
  that a person starts, and `BACKUP_ENABLED=false` skips the backups of scheduled runs.
- An entry at which another backup is at work is waited for, for a minute, and then skipped with the reason.
- Everything else is as in `backup_daily`.
"""


@dag(**PLAN.dag_arguments, doc_md=DOC)
def backup_weekly() -> None:
    databases = select_databases("structure")
    follow_ups = [cleanup(), archive()]
    protected = protect(databases, type="structure")
    protected >> follow_ups[0] >> follow_ups[1] >> outcome(databases, follow_ups=follow_ups)


backup_weekly()
