"""A restore from its plan to its report: audited, leased, and alone on its target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace

from db_backup.catalog import AuditAct
from db_backup.errors import (
    ArtefactError,
    BackupError,
    EntryLocked,
    Interrupted,
    PublishedUnindexed,
    Refused,
    SizeLimitExceeded,
)
from db_backup.jobs.acts import Act, audited
from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.fallback import Fallback
from db_backup.jobs.rehearsal import rehearse
from db_backup.jobs.restore.filling import Filling
from db_backup.jobs.restore.outcome import Outcome
from db_backup.jobs.restore.planning import checks_for, load_options, make_plan, what_changed
from db_backup.jobs.restore.rebuilding import TakenOut, taken_out
from db_backup.jobs.restore.request import RestorePlan, RestoreReport, RestoreRequest, Way
from db_backup.jobs.restore.resolve import LATEST, Resolved, kept, resolve_backup
from db_backup.jobs.restore.targets import Destination, lock_name
from db_backup.jobs.sidecars import Located
from db_backup.jobs.thaw import thaw
from db_backup.jobs.verify import verify_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Progress

_LOCK_WAIT_SECONDS = 10.0  # for a backup of the target that is at work
_LONGEST_PURPOSE = 255  # characters that the catalogue keeps


@contextmanager
def planned_restore(
    workspace: Workspace, request: RestoreRequest, *, run: RunInfo, cancellation: Cancellation
) -> Iterator[PlannedRestore]:
    """Find out what a restore will do, and do it when the block says so; the backup is leased while the block runs.

    Audited from here on, whatever the block decides.

    :raises UsageError, UnknownBackup, UnknownDatabase: what is asked for is not there, or cannot be.
    :raises PointOutOfReach, ChainBroken: no backups lead to the point that is asked for.
    :raises TargetNotEmpty: the target holds something, and nobody said to replace it.
    :raises Refused: the backup is being deleted; or nothing could back up what would be replaced.
    :raises SourceError, LoadFailed, ToolError: the target is not fit for this backup.
    :raises StorageError, ManifestError:
    """
    named = None if request.backup == LATEST else request.backup
    with audited(workspace, AuditAct.RESTORE, run, entry=request.database, backup_id=named) as act:
        resolved = resolve_backup(workspace, request)
        act.entry, act.backup_id = resolved.located.manifest.entry, resolved.located.manifest.id
        with kept(workspace, resolved, "restore") as held:
            cancellation.check()
            restore = PlannedRestore(workspace, request, run, act, held)
            act.detail = f"planned: {restore.plan.way} {restore.plan.target_address}"
            yield restore


def restore_backup(
    workspace: Workspace, request: RestoreRequest, *, run: RunInfo, progress: Progress, cancellation: Cancellation
) -> RestoreReport:
    """Plan a restore and carry it out.

    :raises BackupError: what :func:`planned_restore` and :meth:`PlannedRestore.carry_out` raise.
    """
    with planned_restore(workspace, request, run=run, cancellation=cancellation) as restore:
        return restore.carry_out(progress, cancellation)


class PlannedRestore:
    """A restore that is planned, and waits to be carried out; made by :func:`planned_restore`."""

    def __init__(
        self, workspace: Workspace, request: RestoreRequest, run: RunInfo, act: Act, resolved: Resolved
    ) -> None:
        self._workspace = workspace
        self._request = request
        self._run = run
        self._act = act
        self._resolved = resolved
        self.plan, self._destination = make_plan(workspace, request, resolved)

    def refuse_if_changed(self, approved: RestorePlan) -> None:
        """:raises Refused: what would be done now is not what was said yes to; says in what."""
        if changed := what_changed(approved, self.plan):
            raise Refused(
                f"The restore of {approved.backup_id} is not the one that was agreed to any more: "
                f"{'; '.join(changed)}. Nothing was changed.",
                hint="Look at the new plan, and decide again.",
                database=approved.entry,
                backup_id=approved.backup_id,
            )

    def carry_out(self, progress: Progress, cancellation: Cancellation) -> RestoreReport:
        """Do what the plan says. Every error says in what state the target is left.

        A report with differences, or with checks that failed, is no error.

        :raises ObjectCold: a backup must be thawed first, which was asked for, and the request does not wait for it.
        :raises EntryLocked: another restore, or a backup, is at work on this target.
        :raises Refused: the target changed since the plan was made; or it is in use and cannot be freed.
        :raises TargetNotEmpty, LoadFailed, ArtefactError, SourceError, StorageError, Interrupted:
        :raises BackupError: also: the safety backup failed, and nothing was changed.
        """
        thawed = thaw(  # first of all: nobody is held off the target for hours
            self._workspace,
            self._resolved.needed,
            wait=self._request.wait_for_thaw,
            run=self._run,
            progress=progress,
            cancellation=cancellation,
        )
        with self._materialised(progress, cancellation) as made:
            if self._destination is None:
                report = self._rehearse(progress, cancellation)
            else:
                report = self._restore_to(self._destination, progress, cancellation)
        if made is not None:
            took = round(report.duration_seconds + made.recovered.rebuild_seconds, 3)
            report = report.model_copy(
                update={
                    "recovered": made.recovered,
                    "duration_seconds": took,
                    "read_from": made.reading.read_from,
                    "passed_over": made.reading.passed_over,
                }
            )
        if thawed.copies:
            report = report.model_copy(update={"thaw": thawed})
        self._act.detail = _detail(report)
        return report

    @contextmanager
    def _materialised(self, progress: Progress, cancellation: Cancellation) -> Iterator[TakenOut | None]:
        """See that there is a backup to restore: where a point is asked for, it is made of what is rebuilt first.

        Nobody is held off the target meanwhile, and a link that is damaged shows before anything is changed.
        """
        recovery = self._resolved.recovery
        if recovery is None:
            yield None
            return
        with ExitStack() as stack:
            with Outcome(self.plan).told() if self._destination else nullcontext():
                reading = self._reading(recovery.links, cancellation)
                options = self._workspace.engine_options
                made = stack.enter_context(
                    taken_out(recovery, reading, options, run=self._run, progress=progress, cancellation=cancellation)
                )
            warnings = (*self._resolved.warnings, *made.warnings)
            self._resolved = replace(self._resolved, located=made.located, warnings=warnings)
            yield made

    def _reading(self, backups: Sequence[Located], cancellation: Cancellation) -> Fallback:
        return Fallback(self._workspace, backups, cancellation, fixed=self._request.from_storage is not None)

    def _rehearse(self, progress: Progress, cancellation: Cancellation) -> RestoreReport:
        manifest = self._resolved.located.manifest
        reading = self._reading([self._resolved.located], cancellation)
        rehearsal = reading.run(
            lambda copies: rehearse(
                copies[0],
                self._workspace.engine_options,
                checks=checks_for(self._workspace, manifest, self._request),
                progress=progress,
                cancellation=cancellation,
            )
        )
        return RestoreReport(
            backup_id=manifest.id,
            target=self.plan.target_address,
            restored_to=self.plan.target_database,
            tables=len(rehearsal.found.tables),
            rows=rehearsal.found.rows,
            differences=rehearsal.differences,
            warnings=(*self._resolved.warnings, *reading.warnings, *rehearsal.warnings),
            duration_seconds=rehearsal.restore_seconds,
            way=Way.SCRATCH,
            checks=rehearsal.checks,
            fetch_seconds=rehearsal.fetch_seconds,
            load_seconds=rehearsal.load_seconds,
            check_seconds=rehearsal.check_seconds,
            plain_bytes=manifest.plain_bytes,
            read_from=reading.read_from,
            passed_over=reading.passed_over,
        )

    def _restore_to(self, destination: Destination, progress: Progress, cancellation: Cancellation) -> RestoreReport:
        manifest = self._resolved.located.manifest
        with self._alone(destination, cancellation):
            self._look_again()
            outcome = Outcome(self.plan)
            reading = self._reading([self._resolved.located], cancellation)
            filling = Filling(
                reading=reading,
                target=destination.target,
                plan=self.plan,
                options=load_options(self._request),
                checks=checks_for(self._workspace, manifest, self._request),
                replacing=self._request.force,
                outcome=outcome,
                progress=progress,
                cancellation=cancellation,
            )
            with outcome.told():
                self._back_up(outcome, progress, cancellation)
                filling.run()
        return outcome.report(reading)

    @contextmanager
    def _alone(self, destination: Destination, cancellation: Cancellation) -> Iterator[None]:
        """No other restore onto this target while the block runs, and no backup of it: that would be of a part.

        :raises EntryLocked: there is one.
        """
        name = lock_name(destination.target, destination.server)
        purpose = f"restore of {self.plan.backup_id} to {self.plan.target_address}"[:_LONGEST_PURPOSE]
        with ExitStack() as stack:
            try:
                stack.enter_context(self._workspace.catalog.entry_lock(name, purpose, cancellation=cancellation))
            except EntryLocked as error:
                held = next((str(lock) for lock in self._workspace.catalog.locks() if lock.entry == name), "another")
                raise EntryLocked(
                    f"A restore onto {self.plan.target_address} is at work already: {held}.",
                    hint="Wait for it to end. The lock of a process that died is released by itself.",
                    database=self.plan.entry,
                    backup_id=self.plan.backup_id,
                ) from error
            for entry in sorted(owner.name for owner in destination.owners.sure):  # the same order for everybody
                stack.enter_context(
                    self._workspace.catalog.entry_lock(
                        entry, purpose, wait_seconds=_LOCK_WAIT_SECONDS, cancellation=cancellation
                    )
                )
            yield

    def _look_again(self) -> None:
        """Now that nobody else restores to it: what was planned for the target must still be right."""
        now, _ = make_plan(self._workspace, self._request, self._resolved)
        approved, self.plan = self.plan, now
        self.refuse_if_changed(approved)

    def _back_up(self, outcome: Outcome, progress: Progress, cancellation: Cancellation) -> None:
        """The safety backup, where the plan has one; unless it can be read to its end, nothing goes on."""
        entry = self.plan.safety_backup_of
        if entry is None:
            return
        outcome.safety_backup_began = utc_now()
        try:
            backup_id = self._made(CreateRequest(entry=entry, safety=True), outcome, progress, cancellation)
            outcome.safety_backup_id = backup_id
            self._read_back(backup_id, progress, cancellation)
        except Interrupted:
            raise
        except BackupError as error:
            if isinstance(error, SizeLimitExceeded):
                error.hint += " A safety backup obeys BACKUP_MAX_SIZE_MB too."
            error.message = f"The safety backup of '{entry}' failed: {error.message}"
            error.hint = f"{error.hint} --no-safety-backup restores without one.".strip()
            raise

    def _made(self, request: CreateRequest, outcome: Outcome, progress: Progress, cancellation: Cancellation) -> str:
        """The id of the safety backup."""
        try:
            made = create_backup(self._workspace, request, run=self._run, progress=progress, cancellation=cancellation)
        except PublishedUnindexed as error:
            outcome.warnings.append(error.message)
            return error.backup_id or ""
        return made.id

    def _read_back(self, backup_id: str, progress: Progress, cancellation: Cancellation) -> None:
        """:raises ArtefactError: the safety backup is not what was written, or that cannot be found out."""
        proof = verify_backup(
            self._workspace,
            backup_id,
            VerificationLevel.ARCHIVE,
            run=self._run,
            progress=progress,
            cancellation=cancellation,
        )
        if proof.result is not ProofResult.PASSED:
            raise ArtefactError(
                f"{backup_id} was read back, with the result '{proof.result}': {proof.reason}",
                hint="Check the storage, and run it again.",
                backup_id=backup_id,
            )


def _detail(report: RestoreReport) -> str:
    """What the audit trail says of it."""
    count = len(report.differences)
    words = [f"{report.way} {report.target}", f"{count or 'no'} difference{'' if count == 1 else 's'}"]
    if not report.in_place:
        words.append(f"not put in place, left as {report.restored_to}")
    if report.recovered:
        words.append(f"as it was at {report.recovered.asked}, by {len(report.recovered.links)} backups")
    if report.safety_backup_id:
        words.append(f"safety backup {report.safety_backup_id}")
    return "; ".join(words)
