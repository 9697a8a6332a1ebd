"""The health of every configured entry: gathered from catalogue and configuration, judged by ``db_backup.health``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from db_backup.catalog import Attempt, AttemptOutcome, AuditAct, AuditOutcome, BackupQuery
from db_backup.config import Entry
from db_backup.health import (
    TREND_WINDOW,
    AttemptRecord,
    BackupRecord,
    CanaryRecord,
    ChainBreak,
    EntryHealth,
    Expectations,
    Health,
    KeyRecord,
    KitRecord,
    StorageRecord,
    assess,
    overall,
)
from db_backup.jobs.canary import CanaryResult, last_canary
from db_backup.jobs.keys import key_records
from db_backup.jobs.kit import fingerprint_of, last_export
from db_backup.jobs.objectives import recovery_point, recovery_time
from db_backup.jobs.placement import wanted_storages
from db_backup.jobs.server_chain import server_backups
from db_backup.jobs.usage import storage_records
from db_backup.jobs.workspace import Workspace
from db_backup.model import BackupType, Compression, Scope, utc_now
from db_backup.summary import BackupSummary

_MEGABYTE = 1 << 20


def health_report(workspace: Workspace) -> Health:
    """Score and controls of every entry of the configuration, those without a backup too; changes nothing."""
    now = utc_now()
    abandoned = frozenset(attempt.id for attempt in workspace.catalog.abandoned_attempts())
    common = _Common(kit=_kit(workspace), storages=storage_records(workspace), keys=_keys(workspace))
    entries = workspace.config.entries.values()
    return overall((_entry(workspace, entry, abandoned, common, now) for entry in entries), now=now)


@dataclass(frozen=True)
class _Common:
    """What is the same for all entries."""

    kit: KitRecord | None
    storages: Mapping[str, StorageRecord]
    keys: tuple[KeyRecord, ...]


def _entry(
    workspace: Workspace, entry: Entry, abandoned: frozenset[str], common: _Common, now: datetime
) -> EntryHealth:
    attempts = workspace.catalog.attempts(entry.name, since=now - 2 * TREND_WINDOW)
    return assess(
        entry.name,
        (_backup(summary) for summary in workspace.catalog.newest_first(BackupQuery(database=entry.name))),
        _ended(attempts, abandoned),
        _expectations(workspace, entry, common, now),
        now=now,
        breaks=_breaks(workspace, entry, now),
        of_server=(_backup(summary) for summary in server_backups(workspace, entry)),
    )


def _breaks(workspace: Workspace, entry: Entry, now: datetime) -> Iterator[ChainBreak]:
    acts = workspace.catalog.audit_trail(since=now - TREND_WINDOW, entry=entry.name, act=AuditAct.CHAIN_BROKEN)
    return (ChainBreak(act.at, act.detail) for act in acts if act.outcome == AuditOutcome.DONE)


def _backup(summary: BackupSummary) -> BackupRecord:
    return BackupRecord(
        id=summary.id,
        type=summary.type,
        status=summary.status,
        created_at=summary.created_at,
        recovery_point=summary.recovery_point,
        duration_seconds=summary.duration_seconds,
        size_bytes=summary.size_bytes,
        plain_bytes=summary.plain_bytes,
        compressed=summary.compression is not Compression.NONE,
        encrypted=summary.encrypted,
        storages=summary.storages,
        base_id=summary.base_id,
        parent_id=summary.parent_id,
        restored_at=summary.restored_at,
        restore_seconds=summary.restore_seconds,
        restore_setup_seconds=summary.restore_setup_seconds,
        safety=summary.safety,
        of_server=summary.scope is Scope.SERVER,
        log_kept_seconds=summary.log_kept_seconds,
        warnings=summary.warnings,
        missing=summary.missing_copies,
        damaged=summary.damaged_copies,
        locked_until=summary.locked_until,
    )


def _ended(attempts: list[Attempt], abandoned: frozenset[str]) -> Iterator[AttemptRecord]:
    """Those whose process died without a word have ended too."""
    for attempt in attempts:
        if attempt.outcome is AttemptOutcome.SKIPPED or (attempt.outcome is None and attempt.id not in abandoned):
            continue
        yield AttemptRecord(attempt.started_at, failed=attempt.outcome is not AttemptOutcome.SUCCEEDED)


def _expectations(workspace: Workspace, entry: Entry, common: _Common, now: datetime) -> Expectations:
    target, window = recovery_point(entry, workspace.settings, now)
    wanted = wanted_storages(workspace, entry.name)
    return Expectations(
        recovery_point=target,
        window=window,
        increments=BackupType.INCREMENTAL in entry.types,
        recovery_time=recovery_time(entry),
        max_size_bytes=workspace.settings.backup_max_size_mb * _MEGABYTE or None,
        off_site=frozenset(name for name, storage in workspace.config.storages.items() if storage.off_site),
        kit=common.kit,
        storages=tuple(common.storages[name] for name in entry.storages if name in common.storages),
        encrypted=entry.encrypt,
        keys=common.keys,
        canary=_canary(workspace, entry),
        kinds={name: str(storage.kind) for name, storage in workspace.config.storages.items()},
        wanted=wanted,
        unwanted=frozenset(entry.storages) - set(wanted),
    )


def _keys(workspace: Workspace) -> tuple[KeyRecord, ...]:
    """The recipients of new backups' keys, where an entry is to have any."""
    if not any(entry.encrypt for entry in workspace.config.entries.values()):
        return ()
    recipients = (key for key in key_records(workspace) if key.is_recipient)
    return tuple(KeyRecord(key.name, key.created_at, missing=key.error) for key in recipients)


def _canary(workspace: Workspace, entry: Entry) -> CanaryRecord | None:
    last = last_canary(workspace, entry.name)
    if last is None:
        return None
    opened = None if last.result is CanaryResult.OFFLINE else last.result is CanaryResult.OPENED
    return CanaryRecord(last.checked_at, last.backup_id, opened, last.reason)


def _kit(workspace: Workspace) -> KitRecord | None:
    """None where nobody wrote a backup.yaml: the demo's one connection is built in."""
    if workspace.config.path is None:
        return None
    last = last_export(workspace.catalog)
    if last is None:
        return KitRecord(exported_at=None)
    return KitRecord(last.at, outdated=last.configuration != fingerprint_of(workspace.config))
