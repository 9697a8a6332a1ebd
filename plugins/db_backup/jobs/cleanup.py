"""Delete what is no longer to be kept: gather, plan, apply, record, one entry after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta

from db_backup import lineage, retention
from db_backup.catalog import Attempt, AttemptOutcome, AuditAct, BackupQuery
from db_backup.errors import BackupError, EntryLocked, Interrupted, Refused, UnknownBackup
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.copies import bring_states_in_line, locate
from db_backup.jobs.deletion import erase
from db_backup.jobs.failures import FailedBackup
from db_backup.jobs.holdings import EntryHoldings, Holdings
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo, Tombstone
from db_backup.model import BackupStatus, BackupType, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.retention import Backup, Deletion, Policy, Rule
from db_backup.summary import BackupSummary

_LONGEST_RUN = timedelta(days=7)
_WORTH_A_WARNING = frozenset({Rule.LOCK, Rule.FUTURE, Rule.ABSENT})


@dataclass(frozen=True)
class CleanupRequest:
    """What is cleaned up.

    :param entries: only these; None: every entry that is configured or has a backup.
    :param types: only backups of these types.
    :param days: to be kept for this cleanup, instead of each backup's own days.
    :param wait_seconds: how long to wait for an entry at which a backup is at work, before it is left alone.
    """

    entries: tuple[str, ...] | None = None
    types: tuple[BackupType, ...] = tuple(BackupType)
    days: int | None = None
    wait_seconds: float = 0.0

    def policy(self, workspace: Workspace, entry: str) -> Policy:
        """How this entry is cleaned up."""
        return replace(
            usual_policy(workspace, entry),
            days=dict.fromkeys(self.types, self.days) if self.days else {},
            types=self.types,
        )


class KeptBackup(FrozenModel):
    backup_id: str
    reasons: tuple[str, ...]


class DeletedBackup(FrozenModel):
    backup_id: str
    reason: str


class CleanupReport(FrozenModel):
    """Every backup once. Of a dry run ``delete`` is what would go, and otherwise what has gone.

    ``failed``: what should be gone and may be there still, whole or in part. ``warnings``: which entries were left
    alone, and what is strange about a backup.
    """

    keep: tuple[KeptBackup, ...] = ()
    delete: tuple[DeletedBackup, ...] = ()
    failed: tuple[FailedBackup, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_cleanup(workspace: Workspace, request: CleanupRequest, *, run: RunInfo) -> CleanupReport:
    """What :func:`clean_up` would do now; deletes nothing.

    :raises StorageNotMounted, StorageError, CatalogError:
    """
    holdings = Holdings(workspace)
    left_alone = _spoiled_in(workspace, run)
    left_alone |= {lock.entry: f"'{lock.entry}' is at work: {lock}" for lock in workspace.catalog.locks()}
    tally = _Tally()
    for entry in _entries(workspace, request, holdings):
        _, plan = planned(workspace, holdings, entry, request.policy(workspace, entry), left_alone)
        tally.keep(plan.keep)
        tally.deleted += plan.delete
    return tally.report()


def clean_up(
    workspace: Workspace, request: CleanupRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> CleanupReport:
    """Delete what the plan lets go; each deletion is audited.

    An entry at which a backup is at work, or whose backup went wrong in this run, is left alone. A backup that somebody
    has begun to use since the plan is kept. One that cannot be deleted stops no other: it is in the report.

    :raises StorageNotMounted: a storage is not there; nothing was deleted.
    :raises StorageError, CatalogError, Interrupted:
    """
    named = request.entries[0] if request.entries and len(request.entries) == 1 else None
    with audited(workspace, AuditAct.CLEANUP, run, entry=named) as act:
        holdings = Holdings(workspace)
        left_alone = _spoiled_in(workspace, run)
        tally = _Tally()
        for entry in _entries(workspace, request, holdings):
            with ExitStack() as held:
                try:
                    held.enter_context(
                        workspace.catalog.entry_lock(
                            entry, "cleanup", wait_seconds=request.wait_seconds, cancellation=cancellation
                        )
                    )
                except EntryLocked as locked:
                    left_alone[entry] = locked.message.removesuffix(".")
                progress.stage(f"cleaning up {entry}")
                found, plan = planned(workspace, holdings, entry, request.policy(workspace, entry), left_alone)
                tally.keep(plan.keep)
                _Application(workspace, found.backups, tally, run, cancellation).apply(plan.delete)
                if entry not in left_alone:
                    _unmark_the_undeleted(workspace, entry, found.backups)
        report = tally.report()
        act.detail = f"deleted {len(report.delete)}, kept {len(report.keep)}, failed {len(report.failed)}"
    return report


def _unmark_the_undeleted(workspace: Workspace, entry: str, backups: Mapping[str, Backup]) -> None:
    """A deletion that was killed between the catalogue's mark and the last tombstone never happened: all learn that.

    The caller holds the entry's lock, so that no deletion is under way.
    """
    marked = [
        summary.id
        for summary in workspace.catalog.newest_first(BackupQuery(database=entry))
        if summary.status is BackupStatus.DELETING
    ]
    for backup_id in marked:
        stored = backups.get(backup_id)
        if stored is not None and stored.status is not BackupStatus.DELETING:
            bring_states_in_line(workspace, backup_id)


def leap_to(workspace: Workspace, backup: BackupSummary) -> str | None:
    """Why nothing should be deleted by itself after this backup: its days reach back to no other of its type.

    Days count up to the newest good backup. After a long outage, or under a clock that is far ahead, that is this very
    one, and everything before it would go at once; a safety backup in between is no step on the way. A person who runs
    the cleanup has looked at the plan.
    """
    query = BackupQuery(database=backup.database, type=backup.type)
    others = (other for other in workspace.catalog.newest_first(query) if other.id != backup.id)
    before = next((other for other in others if not other.safety), None)
    if before is None or before.created_at >= backup.created_at - (backup.expires_at - backup.created_at):
        return None
    return (
        f"nothing was deleted after {backup.id}, for the one before it, {before.id}, is older than the days that "
        "backups are kept; if the clock is right, run `db-backup cleanup`"
    )


def delete_backup(
    workspace: Workspace, backup: str, *, force: bool, run: RunInfo, wait_seconds: float, cancellation: Cancellation
) -> CleanupReport:
    """Delete one backup because somebody asks for it: its days need not be over.

    What protects it otherwise is what protects it from cleanup. ``force`` overrides the count floor, "the last verified
    full" and "not verified, and no newer verified full"; nothing overrides a pin, a legal hold, a lease, or a chain.

    :param backup: an id or an artefact's file name.
    :raises Refused: something protects it; the error says what.
    :raises UnknownBackup, EntryLocked, StorageError, ManifestError:
    """
    manifest = locate(workspace, backup).manifest
    with (
        audited(workspace, AuditAct.DELETE, run, entry=manifest.entry, backup_id=manifest.id) as act,
        workspace.catalog.entry_lock(manifest.entry, "deletion", wait_seconds=wait_seconds, cancellation=cancellation),
    ):
        policy = usual_policy(workspace, manifest.entry)
        found, plan = planned(workspace, Holdings(workspace), manifest.entry, policy, {})
        reasons = _reasons(manifest.id, found.backups, plan)
        _refuse_if_protected(manifest.id, reasons, force)
        reason = "forced by a person" if force else "asked for by a person"
        erase(workspace, manifest.id, _tombstone(reason, run), cancellation)
        overridden = "; ".join(kept.text for kept in reasons)
        act.detail = f"{reason}; overridden: {overridden}" if overridden else reason
    return CleanupReport(delete=(DeletedBackup(backup_id=manifest.id, reason=reason),))


def _reasons(backup_id: str, backups: Mapping[str, Backup], plan: retention.Plan) -> Sequence[retention.Reason]:
    """Why this one should stay. What needs it counts as long as it is there, though its own days may be over."""
    reasons = next((kept.reasons for kept in plan.keep if kept.backup_id == backup_id), ())
    needing = [
        other
        for other in sorted(lineage.dependents(backup_id, backups))
        if backups[other].status is not BackupStatus.DELETING
    ]
    if not needing:
        return reasons
    return [*(reason for reason in reasons if reason.rule is not Rule.CHAIN), retention.needed_by(needing)]


def _refuse_if_protected(backup_id: str, reasons: Sequence[retention.Reason], force: bool) -> None:
    overridden = retention.ONLY_FOR_CLEANUP | (retention.UNLESS_FORCED if force else set())
    standing = [reason for reason in reasons if reason.rule not in overridden]
    if standing:
        hints = dict.fromkeys(_HINTS.get(reason.rule, _FORCE) for reason in standing)
        raise Refused(
            f"{backup_id} is kept: {'; '.join(reason.text for reason in standing)}.",
            hint=" ".join(hints).format(backup_id=backup_id),
            backup_id=backup_id,
        )


_FORCE = "Delete it all the same with --force."
_HINTS: Mapping[Rule, str] = {
    Rule.PINNED: "Run `db-backup unpin {backup_id}` first.",
    Rule.LEGAL_HOLD: "Ask whoever put the hold on it to take it off.",
    Rule.LEASE: "Wait for that to end.",
    Rule.LOCKED: "Nobody can delete it before that.",
    Rule.LOCK: "Mend that first: `db-backup catalog check` names files, `db-backup storages --check` storages.",
    Rule.CHAIN: "Delete those first, the last of the chain before the others.",
    Rule.ABSENT: "Run `db-backup catalog check`.",
}


@dataclass
class _Tally:
    """What has come of each backup so far."""

    kept: list[KeptBackup] = field(default_factory=list)
    deleted: list[Deletion] = field(default_factory=list)
    failed: list[FailedBackup] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def keep(self, kept: Sequence[retention.Keep]) -> None:
        self.kept += [
            KeptBackup(backup_id=one.backup_id, reasons=tuple(reason.text for reason in one.reasons)) for one in kept
        ]
        strange = ((one.backup_id, reason) for one in kept for reason in one.reasons if reason.rule in _WORTH_A_WARNING)
        told = (
            f"left alone: {reason.text}" if reason.rule is Rule.LOCK else f"{backup_id}: {reason.text}"
            for backup_id, reason in strange
        )
        self.warnings += dict.fromkeys(told)

    def report(self) -> CleanupReport:
        return CleanupReport(
            keep=tuple(self.kept),
            delete=tuple(DeletedBackup(backup_id=one.backup_id, reason=one.reason) for one in self.deleted),
            failed=tuple(self.failed),
            warnings=tuple(self.warnings),
        )


class _Application:
    """The deletions of one entry, in the plan's order."""

    def __init__(
        self,
        workspace: Workspace,
        backups: Mapping[str, Backup],
        tally: _Tally,
        run: RunInfo,
        cancellation: Cancellation,
    ) -> None:
        self.workspace = workspace
        self.backups = backups
        self.tally = tally
        self.run = run
        self.cancellation = cancellation
        self.needed: dict[str, str] = {}  # what a backup that stayed after all needs, and its id

    def apply(self, deletions: Sequence[Deletion]) -> None:
        for deletion in deletions:
            self.cancellation.check()
            if deletion.backup_id in self.needed:
                self._keep(deletion, f"needed by {self.needed[deletion.backup_id]}")
                continue
            try:
                self._delete(deletion)
            except Interrupted:
                raise
            except Refused as refused:
                self._keep(deletion, refused.message.removesuffix("."))
            except BackupError as error:
                self._spare_ancestors(deletion)
                self.tally.failed.append(FailedBackup.of(deletion.backup_id, error))
            else:
                self.tally.deleted.append(deletion)

    def _delete(self, deletion: Deletion) -> None:
        entry = self.backups[deletion.backup_id].entry
        with audited(self.workspace, AuditAct.DELETE, self.run, entry=entry, backup_id=deletion.backup_id) as act:
            act.detail = deletion.reason
            erase(self.workspace, deletion.backup_id, _tombstone(deletion.reason, self.run), self.cancellation)

    def _keep(self, deletion: Deletion, reason: str) -> None:
        self._spare_ancestors(deletion)
        self.tally.kept.append(KeptBackup(backup_id=deletion.backup_id, reasons=(reason,)))

    def _spare_ancestors(self, deletion: Deletion) -> None:
        for needed in lineage.ancestors(self.backups[deletion.backup_id], self.backups):
            self.needed.setdefault(needed, deletion.backup_id)


def planned(
    workspace: Workspace, holdings: Holdings, entry: str, policy: Policy, left_alone: Mapping[str, str]
) -> tuple[EntryHoldings, retention.Plan]:
    """The entry's backups, and what retention makes of them; where they are not all known, everything is kept.

    :param left_alone: entries that nothing is deleted of, and why.
    :raises StorageError, CatalogError:
    """
    held = holdings.read(entry)
    leases: dict[str, list[str]] = {}
    for lease in workspace.catalog.leases():
        leases.setdefault(lease.backup_id, []).append(str(lease))
    return held, retention.plan(
        held.backups.values(),
        policies={entry: policy},
        leases=leases,
        locks={**left_alone, entry: held.unreadable} if held.unreadable else left_alone,
        now=utc_now(),
    )


def usual_policy(workspace: Workspace, entry: str) -> Policy:
    """By the configuration; an entry that is not there any more keeps what its backups themselves say."""
    configured = workspace.config.entries.get(entry)
    return Policy(window_days=configured.retention[BackupType.INCREMENTAL] if configured else 0)


def _entries(workspace: Workspace, request: CleanupRequest, holdings: Holdings) -> tuple[str, ...]:
    """:raises UnknownDatabase: one is not configured, and has no backup either."""
    known = holdings.entries()
    return (
        known
        if request.entries is None
        else tuple(name if name in known else workspace.config.entry(name).name for name in request.entries)
    )


def _spoiled_in(workspace: Workspace, run: RunInfo) -> dict[str, str]:
    """Entries of whose backups in this Airflow run, at their last try, one is no reason to delete older ones, and why.

    It did not succeed; or it did not pass its proof; or it comes after so long that :func:`leap_to` speaks.
    """
    if run.run_id is None:
        return {}
    newest_first = workspace.catalog.attempts(since=utc_now() - _LONGEST_RUN)
    last = {
        (attempt.entry, attempt.type): attempt
        for attempt in reversed(newest_first)
        if (attempt.run.dag_id, attempt.run.run_id) == (run.dag_id, run.run_id)
    }
    reasons = ((attempt.entry, _spoilt(workspace, attempt)) for attempt in last.values())
    return {entry: reason for entry, reason in reasons if reason is not None}


def _spoilt(workspace: Workspace, attempt: Attempt) -> str | None:
    if attempt.outcome is AttemptOutcome.SKIPPED:
        return None
    if attempt.outcome is not AttemptOutcome.SUCCEEDED:
        return f"the {attempt.type} backup of '{attempt.entry}' did not succeed in this run"
    try:
        backup = workspace.catalog.get(str(attempt.backup_id))
    except UnknownBackup:
        return f"the catalogue does not know {attempt.backup_id}, which was made in this run"
    if backup.status is BackupStatus.FAILED_VERIFICATION:
        return f"{backup.id} did not pass its verification in this run"
    return leap_to(workspace, backup)


def _tombstone(reason: str, run: RunInfo) -> Tombstone:
    return Tombstone(marked_at=utc_now(), reason=reason, actor=run.actor or run.origin)
