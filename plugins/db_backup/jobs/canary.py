"""The daily canary of keys: the newest encrypted backup of every entry is really opened, as far as its data key.

A key that is lost, or may no longer be used, is to be noticed the day it happens, not the day a restore needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from db_backup.catalog import AuditAct, AuditOutcome, BackupQuery
from db_backup.errors import ActUnaudited, BackupError, EncryptionKeyError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.copies import locate
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupStatus, utc_now
from db_backup.naming import parse_backup_id

_OFFLINE = "Only an offline private key opens it: this worker holds the public half alone."
_ENOUGH = 10  # acts, of which one at least has ended


class CanaryResult(StrEnum):
    """``offline``: nobody could try it here, as it is meant to be."""

    OPENED = "opened"
    OFFLINE = "offline"
    FAILED = "failed"


class Canary(FrozenModel):
    """What came of opening one backup's data key. ``reason``: a sentence, unless it was opened."""

    entry: str
    backup_id: str
    checked_at: datetime
    result: CanaryResult
    reason: str = ""


def try_keys(workspace: Workspace, *, run: RunInfo, stored: Iterable[str] = ()) -> tuple[Canary, ...]:
    """Unwrap the data key of every entry's newest encrypted backup; what came of it is kept in the audit trail.

    :param stored: encrypted backups that lie in storages: they stand in for entries that the catalogue knows none of.
    """
    workspace.keyring.keys.forget()
    newest: dict[str, str] = {}
    for summary in workspace.catalog.newest_first(BackupQuery()):
        if summary.encrypted and summary.status is not BackupStatus.DELETING:
            newest.setdefault(summary.database, summary.id)
    for name in sorted(map(parse_backup_id, stored), key=lambda name: (name.moment, name.serial), reverse=True):
        newest.setdefault(name.entry, str(name))
    return tuple(_tried(workspace, entry, backup_id, run) for entry, backup_id in sorted(newest.items()))


def _tried(workspace: Workspace, entry: str, backup_id: str, run: RunInfo) -> Canary:
    result, reason = CanaryResult.OPENED, ""
    try:
        with audited(workspace, AuditAct.CANARY, run, entry=entry, backup_id=backup_id) as act:
            located = locate(workspace, backup_id)
            try:
                workspace.keyring.unwrap(located.manifest, located.state)
            except EncryptionKeyError:
                if not workspace.keyring.is_offline(located.state):
                    raise
                result, reason = CanaryResult.OFFLINE, _OFFLINE
            act.detail = reason or "its data key was unwrapped"
    except ActUnaudited as unaudited:
        workspace.warnings.append(str(unaudited))
    except BackupError as error:
        result, reason = CanaryResult.FAILED, str(error)
    return Canary(entry=entry, backup_id=backup_id, checked_at=utc_now(), result=result, reason=reason)


def last_canary(workspace: Workspace, entry: str) -> Canary | None:
    """The entry's newest, as far as this catalogue knows."""
    for record in workspace.catalog.audit_trail(entry=entry, act=AuditAct.CANARY, limit=_ENOUGH):
        if record.outcome is AuditOutcome.STARTED:
            continue
        result = CanaryResult.FAILED
        if record.outcome is AuditOutcome.DONE:
            result = CanaryResult.OFFLINE if record.detail == _OFFLINE else CanaryResult.OPENED
        return Canary(
            entry=entry,
            backup_id=record.backup_id or "",
            checked_at=record.at,
            result=result,
            reason="" if result is CanaryResult.OPENED else record.detail,
        )
    return None
