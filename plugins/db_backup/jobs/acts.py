"""Every act is audited from its start to what came of it: in the catalogue and, as JSON lines, beside the backups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from db_backup.catalog import AuditAct, AuditOutcome, AuditRecord
from db_backup.errors import ActUnaudited, BackupError, CatalogError, EntryLocked, Interrupted, Refused, StorageError
from db_backup.jobs.reach import Unanswered, ask
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import utc_now
from db_backup.storage import Storage


@dataclass
class Act:
    """One audited act; what becomes known on the way is filled in before it ends."""

    name: AuditAct
    entry: str | None = None
    backup_id: str | None = None
    detail: str = ""


@contextmanager
def audited(
    workspace: Workspace, name: AuditAct, run: RunInfo, *, entry: str | None = None, backup_id: str | None = None
) -> Iterator[Act]:
    """Record that the act started, and then that it was done, refused, failed or interrupted."""
    act = Act(name, entry, backup_id)
    workspace.catalog.audit(_record(act, run, AuditOutcome.STARTED))
    try:
        yield act
    except BaseException as error:
        act.detail = str(error) if isinstance(error, BackupError) else type(error).__name__
        _close(workspace, _record(act, run, _outcome(error)), error)
        raise
    _close(workspace, _record(act, run, AuditOutcome.DONE), None)


def _outcome(error: BaseException) -> AuditOutcome:
    if isinstance(error, Refused | EntryLocked):
        return AuditOutcome.REFUSED
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return AuditOutcome.INTERRUPTED
    return AuditOutcome.FAILED


def _close(workspace: Workspace, record: AuditRecord, error: BaseException | None) -> None:
    """Write the outcome to both places, to the one even when the other fails.

    The act's own failure is what the person must read: that a line is missing is added to it. With a break-glass kit
    the storage may be one that this user can only read.
    """
    missing: list[BackupError] = []
    try:
        workspace.catalog.audit(record)
    except CatalogError as unwritten:
        missing.append(unwritten)
    unstored = _unstored(workspace, record)
    if unstored is not None and workspace.break_glass:
        workspace.warnings.append(f"The storage's own audit trail lacks this act: {unstored.message}")
    elif unstored is not None:
        missing.append(unstored)
    for lost in missing:
        if error is None:
            raise ActUnaudited(
                f"{_words(record)} was done, but its audit line could not be written: {lost.message}",
                hint=lost.hint,
                database=record.entry,
                backup_id=record.backup_id,
            ) from lost
        error.add_note(f"The audit line could not be written: {lost}")


def _unstored(workspace: Workspace, record: AuditRecord) -> BackupError | None:
    """Write the line into BACKUP_STORAGE_DISK, or where that takes none, into the next storage that does.

    :return: why the first one did not take it, where none did.
    """
    usual = workspace.settings.backup_storage_disk
    refusals: list[BackupError] = []
    for name in (usual, *(other for other in workspace.storages if other != usual)):
        try:
            answer = ask(workspace, workspace.storage(name), partial(_append, record))
        except StorageError as error:
            refusals.append(error)
            continue
        if not isinstance(answer, Unanswered):
            return None
        refusals.append(answer.error)
    return refusals[0]


def _append(record: AuditRecord, storage: Storage) -> None:
    storage.append_record(f"audit/{record.at:%Y-%m}.jsonl", record.to_json_line().encode())


def _words(record: AuditRecord) -> str:
    words = record.act.replace("_", " ").capitalize()
    subject = record.backup_id or record.entry or ("the catalogue" if record.act is AuditAct.CATALOG else "")
    return f"{words} of {subject}" if subject else words


def _record(act: Act, run: RunInfo, outcome: AuditOutcome) -> AuditRecord:
    return AuditRecord(
        at=utc_now(),
        act=act.name,
        actor=run.actor,
        host=run.host,
        origin=run.origin,
        entry=act.entry,
        backup_id=act.backup_id,
        outcome=outcome,
        detail=act.detail,
    )
