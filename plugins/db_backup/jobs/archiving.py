"""Which backups may go to a colder class, and why the others stay: a pure plan, without clock, disk or network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from db_backup import lineage, retention
from db_backup.model import BackupStatus, BackupType
from db_backup.retention import Backup, Presence, Rule

#: What retention keeps for these reasons may be wanted at once, or nobody can tell what it is. A pin is none of them:
#: it says for how long, and not how soon.
_WANTED_AT_ONCE = frozenset(
    {Rule.WINDOW, Rule.LAST_VERIFIED_FULL, Rule.LEASE, Rule.LOCK, Rule.FUTURE, Rule.ABSENT, Rule.UNPROVEN}
)


def old_enough(backups: Mapping[str, Backup], *, older_than: timedelta, now: datetime) -> list[Backup]:
    """Those made before that, the oldest first."""
    old = (backup for backup in backups.values() if backup.created_at <= now - older_than)
    return sorted(old, key=lambda backup: backup.age_key)


def reasons_to_stay(
    backups: Mapping[str, Backup], plan: retention.Plan, *, older_than: timedelta, now: datetime
) -> Mapping[str, str]:
    """Of the backups of one entry that are old enough, why each that stays as it is does: half a sentence.

    :param backups: all of the entry, by id.
    :param plan: what retention says of the same backups.
    """
    old = old_enough(backups, older_than=older_than, now=now)
    reasons = {backup.id: reason for backup in old if (reason := _own_reason(backup, backups, plan))}
    candidates = {backup.id for backup in old} - reasons.keys()
    for stays in sorted(backups.keys() - candidates):
        if backups[stays].status is BackupStatus.DELETING:
            continue
        for needed in lineage.ancestors(backups[stays], backups) & candidates:
            reasons.setdefault(needed, f"needed by {stays}, which stays")
    return reasons


def _own_reason(backup: Backup, backups: Mapping[str, Backup], plan: retention.Plan) -> str:
    doomed = {deletion.backup_id for deletion in plan.delete}
    if backup.status is BackupStatus.DELETING or backup.id in doomed:
        return "cleanup deletes it"
    if not backup.good:
        return (
            f"it stands as {backup.status.replace('_', ' ')}" if backup.presence is Presence.WHOLE else "is not whole"
        )
    if backup.id == _newest_good(backups, backup.type):
        return f"the newest verified {backup.type} backup of '{backup.entry}'"
    return next(_of_rules(backup, plan), "")


def _newest_good(backups: Mapping[str, Backup], backup_type: BackupType) -> str | None:
    good = [one for one in backups.values() if one.good and one.type is backup_type and not one.safety]
    return max(good, key=lambda one: one.age_key).id if good else None


def _of_rules(backup: Backup, plan: retention.Plan) -> Iterator[str]:
    for kept in plan.keep:
        if kept.backup_id == backup.id:
            yield from (reason.text for reason in kept.reasons if reason.rule in _WANTED_AT_ONCE)
