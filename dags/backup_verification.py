"""Stored backups, verified again: those that nobody has proven, and a rotating sample of the others."""

from __future__ import annotations

from airflow.sdk import dag

from db_backup.operators.scheduling import verification_plan
from db_backup.operators.verification import open_keys, select_backups, verify_each

PLAN = verification_plan()

DOC = """
### The daily check of what is stored

**select_backups** chooses all backups that were never verified as far as their type requires and, of each entry, the
one whose newest proof is the oldest (and older than a week), so that every backup has its turn; its log says why each
was chosen, and names those that cannot be relied on. **verify** proves each; one that fails turns the run red, and one
that was deleted meanwhile is skipped.

Of an entry that takes increments it also chooses one chain, whose newest increment is verified at level `restore`: the
full and all increments up to it are replayed in a scratch server. Every chain has its turn once a week, and once more
when a newer full has ended it.

**open_keys** really opens the newest encrypted backup of every entry, as far as its data key: a key that is lost turns
the run red the day it happens. Where only an offline private key could open it, it says so.

- When: `BACKUP_VERIFICATION_TIME` in `BACKUP_TIMEZONE`; `BACKUP_VERIFICATION_DAILY_CHECK=false` or
  `BACKUP_VERIFICATION_ENABLED=false` leaves only runs that a person starts.
- Pool: `backup_scratch` (how many restores at once).
"""


@dag(**PLAN.dag_arguments, doc_md=DOC)
def backup_verification() -> None:
    verify_each(select_backups())
    open_keys()


backup_verification()
