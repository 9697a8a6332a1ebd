"""Where the copies lie: the rule 3-2-1, and whether every copy that is wanted is there."""

from __future__ import annotations

from datetime import timedelta

from db_backup.health.history import BackupRecord, Expectations, History
from db_backup.health.report import Control, ControlResult
from db_backup.health.wording import without_backups, words

_COPIES = 2  # beside the database itself, which is one more
_KINDS = 2
_MAY_BE_MISSING = timedelta(days=1)  # for which replication has a night
_NAMED = 3  # how many backups evidence names
_PASS, _WARNING, _FAIL, _NOT_APPLICABLE = ControlResult


def three_two_one(history: History, expectations: Expectations) -> Control:
    """Three copies on two kinds of storage, one of them off-site (CISA, "Data Backup Options").

    The database itself is the first copy; the others, their kinds and their places are those of the newest backup that
    can be restored. A damaged copy counts for nothing.
    """
    name = "3-2-1"
    if not history.restorable:
        evidence = "There is no backup that can be restored: the database itself is the only copy."
        return Control(name=name, result=_FAIL, evidence=evidence)
    newest = history.restorable[0]
    lacking = _lacking(newest, expectations)
    if not lacking:
        evidence = f"{newest.id} is in {_places(newest, expectations)}, and the database itself is one copy more."
        return Control(name=name, result=_PASS, evidence=evidence)
    told = (
        f"{newest.id} is in {_places(newest, expectations) or 'no storage whose copy is whole'}: {', '.join(lacking)}."
    )
    for backup in history.restorable[1:]:
        if not _lacking(backup, expectations):
            evidence = f"{told} {backup.id}, {words(history.age(backup.created_at))} old, has all that it takes."
            return Control(name=name, result=_WARNING, evidence=evidence)
    return Control(name=name, result=_FAIL, evidence=told)


def _lacking(backup: BackupRecord, expectations: Expectations) -> list[str]:
    """What there should be beside the database itself, in words."""
    whole = _counting(backup, expectations)
    kinds = {expectations.kinds[storage] for storage in whole}
    lacking = []
    if len(whole) < _COPIES:
        lacking.append(f"with the database itself that is {1 + len(whole)} of {1 + _COPIES} copies")
    if len(kinds) < _KINDS:
        lacking.append(f"{len(kinds)} of {_KINDS} kinds of storage")
    if not expectations.off_site.intersection(whole):
        lacking.append("none is off-site")
    return lacking


def _places(backup: BackupRecord, expectations: Expectations) -> str:
    told = [
        f"{storage} ({expectations.kinds[storage]}{', off-site' if storage in expectations.off_site else ''})"
        for storage in _counting(backup, expectations)
    ]
    return " and ".join(told)


def _counting(backup: BackupRecord, expectations: Expectations) -> list[str]:
    """The storages whose copy is whole, as far as is known; of one that is not configured any more nothing is."""
    return [storage for storage in backup.whole if storage in expectations.kinds]


def wanted_copies(history: History, expectations: Expectations) -> Control:
    """Every backup in every storage that is to hold it, and whole; one that was missed has a night to be made up."""
    name = "every wanted copy exists"
    if not history.stored:
        return without_backups(name)
    missing = [(backup, places) for backup in history.stored if (places := _missing(backup, expectations))]
    if not missing:
        return Control(name=name, result=_PASS, evidence=f"None of {len(history.stored)} backups misses a copy.")
    late = [backup for backup, _ in missing if history.age(backup.created_at) > _MAY_BE_MISSING]
    told = "; ".join(f"{backup.id}: {', '.join(places)}" for backup, places in missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    evidence = f"{len(missing)} of {len(history.stored)} backups: {told}{more}. Run `db-backup replicate`."
    return Control(name=name, result=_FAIL if late else _WARNING, evidence=evidence)


def _missing(backup: BackupRecord, expectations: Expectations) -> list[str]:
    """The storages that should hold it, each with what is wrong there."""
    absent = {*expectations.wanted, *(set(backup.missing) - expectations.unwanted)} - set(backup.storages)
    return [*(f"missing in {storage}" for storage in sorted(absent)), *(f"damaged in {one}" for one in backup.damaged)]
