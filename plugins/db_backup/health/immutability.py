"""Whether the newest backup has a copy that nobody can delete, where a storage is to keep such copies."""

from __future__ import annotations

from db_backup.health.history import Expectations, History
from db_backup.health.report import Control, ControlResult
from db_backup.health.wording import moment


def immutable_copy(history: History, expectations: Expectations) -> Control:
    name = "immutable copy"
    locking = sorted(storage.name for storage in expectations.storages if storage.locks)
    if not locking:
        evidence = "No storage of it locks objects (object_lock in backup.yaml)."
        return Control(name=name, result=ControlResult.NOT_APPLICABLE, evidence=evidence)
    where = ", ".join(f"'{storage}'" for storage in locking)
    if not history.restorable:
        evidence = f"There is no backup to restore from, so none is locked in {where}."
        return Control(name=name, result=ControlResult.FAIL, evidence=evidence)
    newest = history.restorable[0]
    locks = {storage: until for storage, until in newest.locked_until.items() if until > history.now}
    if not locks:
        evidence = f"{newest.id} has no copy that is locked; {where} should lock it."
        return Control(name=name, result=ControlResult.FAIL, evidence=evidence)
    told = ", ".join(f"in '{storage}' until {moment(until)}" for storage, until in sorted(locks.items()))
    return Control(name=name, result=ControlResult.PASS, evidence=f"{newest.id} cannot be deleted {told}.")
