"""Move old backups to colder classes of their storages: planned, shown, done and recorded, one copy after the other.

Only parts are moved: manifests and states stay where everybody reads them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from db_backup import naming, retention, standing
from db_backup.catalog import AuditAct
from db_backup.errors import BackupError, Interrupted, ObjectCold, Refused, UsageError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.archiving import old_enough, reasons_to_stay
from db_backup.jobs.cleanup import planned, usual_policy
from db_backup.jobs.copies import leased, update_state
from db_backup.jobs.failures import FailedCopy
from db_backup.jobs.holdings import Holdings
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Copy, RunInfo, State
from db_backup.model import utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.storage import Storage
from db_backup.storage_classes import STORAGE_CLASSES


@dataclass(frozen=True)
class ArchiveRequest:
    """What is archived; what is not given is as each storage's ``archive:`` in backup.yaml says.

    :param entries: only these; None: every entry that is configured or has a backup.
    :param storages: only copies in these; None: in every storage that has a policy, or the class that is given.
    """

    entries: tuple[str, ...] | None = None
    storages: tuple[str, ...] | None = None
    older_than_days: int | None = None
    storage_class: str | None = None


class ArchivedCopy(FrozenModel):
    """A copy that is moved, or that was. ``remark``: what else there is to know, such as what it costs all the same."""

    backup_id: str
    storage: str
    storage_class: str
    size_bytes: int
    remark: str = ""


class KeptCopy(FrozenModel):
    """A copy that is old enough and stays where it is, and why."""

    backup_id: str
    storage: str
    reason: str


class ArchiveReport(FrozenModel):
    """Of a dry run ``archive`` is what would be moved, and otherwise what was.

    A copy that was moved before is not told of. ``failed``: these may have been moved in part. ``warnings``: which
    entries were left alone.
    """

    archive: tuple[ArchivedCopy, ...] = ()
    keep: tuple[KeptCopy, ...] = ()
    failed: tuple[FailedCopy, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Rule:
    """What becomes of old copies in one storage."""

    storage: Storage
    older_than: timedelta
    storage_class: str


@dataclass(frozen=True)
class _Move:
    copy: Located
    told: ArchivedCopy


@dataclass(frozen=True)
class _Plan:
    moves: tuple[_Move, ...]
    keep: tuple[KeptCopy, ...]
    warnings: tuple[str, ...]


def has_policy(workspace: Workspace) -> bool:
    """Whether any storage is to be archived by itself."""
    return any(storage.archive is not None for storage in workspace.config.storages.values())


def plan_archive(workspace: Workspace, request: ArchiveRequest) -> ArchiveReport:
    """What :func:`archive_backups` would do now; moves nothing.

    :raises UsageError: nothing says what to move where.
    :raises UnknownStorage, UnknownDatabase, FeatureNotAvailable, StorageError, CatalogError:
    """
    plan = _plan(workspace, request)
    return ArchiveReport(archive=tuple(move.told for move in plan.moves), keep=plan.keep, warnings=plan.warnings)


def archive_backups(
    workspace: Workspace, request: ArchiveRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> ArchiveReport:
    """Move what the plan says; each backup is audited. One that cannot be moved stops no other: it is in the report.

    :raises UsageError: nothing says what to move where.
    :raises UnknownStorage, UnknownDatabase, FeatureNotAvailable, StorageError, CatalogError, Interrupted:
    """
    plan = _plan(workspace, request)
    done: list[ArchivedCopy] = []
    keep = list(plan.keep)
    failed: list[FailedCopy] = []
    for move in plan.moves:
        cancellation.check()
        backup_id, storage = move.told.backup_id, move.told.storage
        progress.stage(f"archiving {backup_id} in {storage}")
        try:
            remarks = _carry_out(workspace, move, run, cancellation)
        except Interrupted:
            raise
        except Refused as refused:
            keep.append(KeptCopy(backup_id=backup_id, storage=storage, reason=refused.message.removesuffix(".")))
        except BackupError as error:
            failed.append(FailedCopy.of(backup_id, storage, error))
        else:
            remark = "; ".join(filter(None, (move.told.remark, *remarks)))
            done.append(move.told.model_copy(update={"remark": remark}))
    return ArchiveReport(archive=tuple(done), keep=tuple(keep), failed=tuple(failed), warnings=plan.warnings)


def _plan(workspace: Workspace, request: ArchiveRequest) -> _Plan:
    rules = _rules(workspace, request)
    holdings = Holdings(workspace)
    moves: list[_Move] = []
    keep: list[KeptCopy] = []
    warnings: list[str] = []
    for entry in holdings.entries() if request.entries is None else request.entries:
        if entry not in holdings.entries():
            workspace.config.entry(entry)  # raises, with the nearest name
        held, plan = planned(workspace, holdings, entry, usual_policy(workspace, entry), {})
        if held.unreadable:
            warnings.append(f"'{entry}' was left alone: {held.unreadable}")
            continue
        for rule in rules:
            found, stays = _of_entry(workspace, rule, held.backups, plan)
            moves += found
            keep += stays
    return _Plan(tuple(moves), tuple(keep), tuple(warnings))


def _rules(workspace: Workspace, request: ArchiveRequest) -> list[_Rule]:
    """:raises UsageError, UnknownStorage, FeatureNotAvailable:"""
    if request.storage_class is not None and request.storage_class not in STORAGE_CLASSES:
        raise UsageError(
            f"There is no storage class '{request.storage_class}'.",
            hint=f"There are: {', '.join(STORAGE_CLASSES)}.",
        )
    named = None if request.storages is None else [workspace.storage(name) for name in request.storages]
    rules = []
    for storage in workspace.storages.values() if named is None else named:
        configured = workspace.config.storages.get(storage.name)
        policy = configured.archive if configured else None
        storage_class = request.storage_class or (policy.storage_class if policy else None)
        days = request.older_than_days or (policy.after_days if policy else None)
        if storage_class is None or days is None:
            continue
        if storage_class in storage.archive_classes:
            rules.append(_Rule(storage, timedelta(days=days), storage_class))
        elif named is not None or (policy is not None and request.storage_class is None):
            raise _without_class(storage, storage_class)
    if not rules:
        raise UsageError(
            "Nothing says which backups to archive, and to which class.",
            hint="Give a storage archive: {after_days: 30, storage_class: GLACIER} in backup.yaml, or give "
            "--older-than and --storage-class, of a storage that has that class.",
        )
    return rules


def _without_class(storage: Storage, storage_class: str) -> UsageError:
    classes = ", ".join(storage.archive_classes)
    return UsageError(
        f"The storage '{storage.name}' ({storage.location}) has no class '{storage_class}'.",
        hint=f"It has: {classes}." if classes else "It has none: archive in S3, Google Cloud Storage or Azure.",
    )


def _of_entry(
    workspace: Workspace, rule: _Rule, backups: Mapping[str, retention.Backup], plan: retention.Plan
) -> tuple[list[_Move], list[KeptCopy]]:
    now = utc_now()
    reasons = reasons_to_stay(backups, plan, older_than=rule.older_than, now=now)
    moves: list[_Move] = []
    keep: list[KeptCopy] = []
    old = [backup.id for backup in old_enough(backups, older_than=rule.older_than, now=now)]
    for backup_id, look in copies_ahead(workspace, old, lambda _: [rule.storage]):
        copies = look().found
        known = (
            next((one for one in copies[0].state.present if one.storage == rule.storage.name), None) if copies else None
        )
        if known is None or known.storage_class:
            continue
        reason = reasons.get(backup_id) or _lock_reason(known)
        if reason:
            keep.append(KeptCopy(backup_id=backup_id, storage=rule.storage.name, reason=reason))
        else:
            moves.append(_move(copies[0], rule))
    return moves, keep


def _lock_reason(copy: Copy) -> str:
    """A locked object cannot be replaced: a second one would lie beside it, and both would cost."""
    if copy.locked_until is None or copy.locked_until <= utc_now():
        return ""
    return f"locked until {copy.locked_until:%Y-%m-%d %H:%M} UTC; a lifecycle rule of the bucket can move it"


def _move(copy: Located, rule: _Rule) -> _Move:
    told = ArchivedCopy(
        backup_id=copy.manifest.id,
        storage=rule.storage.name,
        storage_class=rule.storage_class,
        size_bytes=copy.manifest.size_bytes,
        remark=_billed_longer(copy, rule.storage_class),
    )
    return _Move(copy, told)


def _billed_longer(copy: Located, storage_class: str) -> str:
    """A warning where its days are over before those that the class bills for at least."""
    minimum = STORAGE_CLASSES[storage_class].minimum_days
    expires = standing.expires_at(copy.manifest)
    if copy.state.pinned or copy.state.legal_hold or expires >= utc_now() + timedelta(days=minimum):
        return ""
    return f"its days end on {expires:%Y-%m-%d}, and {storage_class} bills for {minimum} days at least"


def _carry_out(workspace: Workspace, move: _Move, run: RunInfo, cancellation: Cancellation) -> list[str]:
    """Move one copy's parts and write it down; returns what there is to know of them.

    Interrupted in between, what was moved stays so, and the next run goes on.

    :raises Refused: somebody uses it now, or it is being deleted.
    """
    manifest, storage, storage_class = move.copy.manifest, move.copy.storage, move.told.storage_class
    with audited(workspace, AuditAct.ARCHIVE, run, entry=manifest.entry, backup_id=manifest.id) as act:
        if users := workspace.catalog.leases(manifest.id):
            raise Refused(f"in use: {users[0]}", hint="The next run moves it.", backup_id=manifest.id)
        with leased(workspace, move.copy, "archiving") as copy:
            remarks = []
            for part in manifest.parts:
                cancellation.check()
                key = naming.part_key(part.path)
                try:
                    remarks.append(storage.archive(key, storage_class))
                except ObjectCold:  # a rule of the bucket was faster, and chose another class
                    storage_class = storage.temperature(key).storage_class
                    remarks.append(f"it lay in {storage_class} already")
            update_state(workspace, copy, lambda state: _archived(state, storage.name, storage_class))
        act.detail = f"to {storage_class} in '{storage.name}'"
    return list(dict.fromkeys(filter(None, remarks)))


def _archived(state: State, storage: str, storage_class: str) -> State:
    moved = {"storage_class": storage_class, "archived_at": utc_now()}
    return state.model_copy(
        update={
            "copies": tuple(copy.model_copy(update=moved) if copy.storage == storage else copy for copy in state.copies)
        }
    )
