"""A drill: the newest good backup of an entry, restored into a scratch server, compared and timed."""

from __future__ import annotations

from db_backup.catalog import AuditAct
from db_backup.config import Entry
from db_backup.errors import ArtefactError, LoadFailed, ScratchUnavailable, StorageFull, ToolError, UnknownBackup
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.copies import leased, locate, update_state
from db_backup.jobs.fallback import Fallback, PassedOver, with_proof
from db_backup.jobs.objectives import recovery_time
from db_backup.jobs.rehearsal import Rehearsal, rehearse
from db_backup.jobs.sidecars import Located
from db_backup.jobs.verify import verify_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Difference, Proof, RunInfo
from db_backup.model import BackupType, ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.summary import BackupSummary

_DRILLED = (BackupType.FULL, BackupType.STRUCTURE)  # what restores a database by itself
_CHECK = "check"  # the kind of a difference that an application check found

_MEGABYTE = 1 << 20


class DrillReport(FrozenModel):
    """What came of one drill. Of the seconds, ``restore_seconds`` is the whole, with the scratch server's start.

    ``result``: inconclusive where nothing could be restored here, which says nothing against the backup; ``reason``
    says why it did not pass. ``differences``: also the application checks that failed.
    ``target_seconds``: how long it may take; None: this type has no target. ``read_from``: the storage that it was
    restored from; ``passed_over``: copies that could not be read.
    """

    backup_id: str
    database: str
    type: BackupType
    result: ProofResult
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    tables: int = 0
    rows: int = 0
    plain_bytes: int
    fetch_seconds: float | None = None
    load_seconds: float | None = None
    check_seconds: float | None = None
    restore_seconds: float | None = None
    target_seconds: float | None = None
    read_from: str = ""
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def speaks_against_backup(self) -> bool:
        """Whether more failed than application checks, which may be the checks' own fault."""
        of_checks = bool(self.differences) and all(found.kind == _CHECK for found in self.differences)
        return self.result is ProofResult.FAILED and not of_checks


def newest_good_backup(workspace: Workspace, entry: Entry, backup_type: BackupType) -> BackupSummary:
    """What a drill restores.

    :raises UnknownBackup: there is none, so that this entry cannot be restored from a backup of this type.
    """
    if newest := workspace.catalog.newest(entry.name, backup_type, verified_only=True):
        return newest
    raise UnknownBackup(
        f"'{entry.name}' has no good {backup_type} backup that could be restored.",
        hint=f"Run `db-backup create {entry.name} --type {backup_type}`, or verify one that is there.",
        database=entry.name,
    )


def drills(entry: Entry) -> tuple[BackupType, ...]:
    """The types whose backups are restored in this entry's drills: those that it takes."""
    return tuple(backup_type for backup_type in _DRILLED if backup_type in entry.types)


def drill(
    workspace: Workspace,
    database: str,
    backup_type: BackupType,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> DrillReport:
    """Restore the newest good backup of this type into a scratch server, and keep what was measured in its state.

    What passes is recorded as a proof at level restore, timed in its evidence. What fails is verified at once, level by
    level, and that proof says how far the backup can be relied on. Backups larger than
    BACKUP_VERIFICATION_RESTORE_MAX_MB are not restored.

    :raises UnknownDatabase, UnknownBackup: there is nothing to restore.
    :raises Refused, StorageError, ManifestError, Interrupted: no drill was made.
    """
    entry = workspace.config.entry(database)
    with audited(workspace, AuditAct.DRILL, run, entry=entry.name) as act:
        found = locate(workspace, newest_good_backup(workspace, entry, backup_type).id)
        act.backup_id = found.manifest.id
        with leased(workspace, found, "drill") as located:
            report = _Drill(workspace, entry, located, progress, cancellation).run()
        act.detail = f"{backup_type}: {report.result}" + (f" ({report.reason})" if report.reason else "")
    if report.speaks_against_backup:
        verify_backup(
            workspace,
            report.backup_id,
            VerificationLevel.RESTORE,
            run=run,
            progress=progress,
            cancellation=cancellation,
        )
    return report


class _Drill:
    def __init__(
        self, workspace: Workspace, entry: Entry, located: Located, progress: Progress, cancellation: Cancellation
    ) -> None:
        self.workspace = workspace
        self.entry = entry
        self.reading = Fallback(workspace, [located], cancellation)
        self.manifest = located.manifest
        self.progress = progress
        self.cancellation = cancellation
        self.checked_at = utc_now()

    def run(self) -> DrillReport:
        limit = self.workspace.settings.backup_verification_restore_max_mb
        if limit and self.manifest.plain_bytes > limit * _MEGABYTE:
            return self._report(
                ProofResult.INCONCLUSIVE,
                f"The dump is {self.manifest.plain_bytes / _MEGABYTE:.0f} MB, and BACKUP_VERIFICATION_RESTORE_MAX_MB "
                f"allows restores into scratch up to {limit} MB.",
            )
        try:
            rehearsal = self.reading.run(
                lambda copies: rehearse(
                    copies[0],
                    self.workspace.engine_options,
                    checks=self.entry.checks,
                    progress=self.progress,
                    cancellation=self.cancellation,
                )
            )
        except (ScratchUnavailable, StorageFull, ToolError) as error:
            self.cancellation.check()
            return self._report(ProofResult.INCONCLUSIVE, str(error))
        except (ArtefactError, LoadFailed) as error:
            self.cancellation.check()
            return self._report(ProofResult.FAILED, error.message)
        return self._judge(rehearsal)

    def _judge(self, rehearsal: Rehearsal) -> DrillReport:
        report = self._report(
            ProofResult.FAILED if rehearsal.differences else ProofResult.PASSED,
            "; ".join(str(difference) for difference in rehearsal.differences[:3]),
            differences=rehearsal.differences,
            tables=len(rehearsal.found.tables),
            rows=rehearsal.found.rows,
            fetch_seconds=rehearsal.fetch_seconds,
            load_seconds=rehearsal.load_seconds,
            check_seconds=rehearsal.check_seconds,
            restore_seconds=rehearsal.restore_seconds,
        )
        if not report.speaks_against_backup:
            self._record({**rehearsal.evidence, "drill": True, "checks_failed": len(report.differences)})
        return report

    def _record(self, evidence: dict[str, object]) -> None:
        """In the backup's state, beside it: what was measured survives the loss of the catalogue."""
        proof = Proof(
            level=VerificationLevel.RESTORE,
            reached=VerificationLevel.RESTORE,
            result=ProofResult.PASSED,
            checked_at=self.checked_at,
            duration_seconds=round((utc_now() - self.checked_at).total_seconds(), 3),
            storage=self.reading.copies[0].storage.name,
            evidence=evidence,
        )
        update_state(self.workspace, self.reading.copies[0], lambda state: with_proof(state, proof))

    def _report(self, result: ProofResult, reason: str, **measured: object) -> DrillReport:
        target = recovery_time(self.entry).get(self.manifest.type)
        return DrillReport.model_validate(
            {
                "backup_id": self.manifest.id,
                "database": self.entry.name,
                "type": self.manifest.type,
                "result": result,
                "reason": reason,
                "plain_bytes": self.manifest.plain_bytes,
                "target_seconds": target.total_seconds() if target else None,
                "read_from": self.reading.copies[0].storage.name,
                "passed_over": self.reading.passed_over,
                **measured,
            }
        )
