"""Prove a backup: read it back, read it with its own tool, restore it and compare (DESIGN, "Verification levels")."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from db_backup.comparison import compare_tables
from db_backup.engines import engine_for
from db_backup.engines.base import Engine
from db_backup.engines.chain import ChainEngine, refuse_gaps
from db_backup.errors import (
    ArtefactError,
    BackupError,
    ChainBroken,
    LoadFailed,
    ObjectCold,
    PointOutOfReach,
    ScratchUnavailable,
    StorageFull,
    ToolError,
)
from db_backup.jobs.acts import audited
from db_backup.jobs.chains import lineage_of, link_of
from db_backup.jobs.contents import plain_streams, stored_bytes
from db_backup.jobs.copies import leased, locate, update_state
from db_backup.jobs.rehearsal import rehearse
from db_backup.jobs.replay import chain_reader, replay
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Difference, Manifest, Proof, RunInfo, State
from db_backup.model import BackupType, ConnectionInfo, ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Progress
from db_backup.standing import newest_restore
from db_backup.stream.reader import check_stored

_MEGABYTE = 1 << 20


def verify_backup(
    workspace: Workspace,
    backup: str,
    level: VerificationLevel | None,
    *,
    run: RunInfo,
    progress: Progress,
    cancellation: Cancellation,
) -> Proof:
    """Prove one backup and record the proof, whatever it is: look at its ``result``.

    An increment is restored by replaying its whole chain up to it. Where that fails, other backups of the chain get
    proofs of their own: one that turns out to be damaged; or else those that tell where the replay first fails.

    :param backup: an id or an artefact's file name.
    :param level: how far to go; None: as far as this backup's type requires.
    :raises UnknownBackup, StorageError, ManifestError, Interrupted: no proof was made.
    :raises Refused: it is being deleted.
    """

    def prove(backup: str, level: VerificationLevel | None) -> tuple[Proof, _Proving]:
        with audited(workspace, "verify", run, backup_id=backup) as act:
            found = locate(workspace, backup)
            act.entry, act.backup_id = found.manifest.entry, found.manifest.id
            with leased(workspace, found, "verification") as located:
                asked = level or located.manifest.required_proof
                proving = _Proving(workspace, located, progress, cancellation)
                proof = proving.prove(asked)
                update_state(workspace, located, lambda state: _with_proof(state, proof))
            act.detail = f"{proof.level}: {proof.result}" + (f" ({proof.reason})" if proof.reason else "")
        return proof, proving

    proof, proving = prove(backup, level)
    if proving.damaged is not None:
        prove(proving.damaged, VerificationLevel.ARCHIVE)
    if proving.failed_to_replay(proof):
        _find_first_failing(workspace, proving.located, lambda link: prove(link, VerificationLevel.RESTORE)[0].result)
    return proof


def _find_first_failing(workspace: Workspace, failed: Located, restored: Callable[[str], ProofResult]) -> None:
    """Halve the part of the chain that was never replayed, until it is known which link is the first to fail."""
    try:
        line = lineage_of(workspace, failed)
    except ChainBroken:  # another backup of it is known to be at fault
        return
    replayed = [place for place, link in enumerate(line[:-1]) if newest_restore(link.state) is not None]
    passing, failing = max(replayed, default=-1), len(line) - 1
    while failing - passing > 1:
        middle = (passing + failing) // 2
        result = restored(line[middle].manifest.id)
        if result is ProofResult.INCONCLUSIVE:
            return
        passing, failing = (middle, failing) if result is ProofResult.PASSED else (passing, middle)


def _with_proof(state: State, proof: Proof) -> State:
    return state.model_copy(update={"proofs": (*state.proofs, proof)})


@dataclass
class _Findings:
    """What the steps have found so far."""

    reached: VerificationLevel | None = None
    result: ProofResult = ProofResult.PASSED
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    evidence: dict[str, object] = field(default_factory=dict)


class _Inconclusive(Exception):
    """This level cannot be tried here; says why. What was reached before stands."""


class _Different(Exception):
    """What was found is not what the manifest says."""

    def __init__(self, differences: tuple[Difference, ...]) -> None:
        super().__init__("; ".join(str(difference) for difference in differences[:3]))
        self.differences = differences


class _Proving:
    """One verification: its levels in order, until one is not passed.

    ``damaged``: another backup, which the proof failed because of.
    """

    def __init__(self, workspace: Workspace, located: Located, progress: Progress, cancellation: Cancellation) -> None:
        self.workspace = workspace
        self.settings = workspace.settings
        self.options = workspace.engine_options
        self.located = located
        self.manifest = located.manifest
        self.progress = progress
        self.cancellation = cancellation
        self.evidence: dict[str, object] = {}
        self.damaged: str | None = None

    def failed_to_replay(self, proof: Proof) -> bool:
        """Whether it is an increment whose own bytes are as they were written, and whose chain could not be rebuilt."""
        whole = proof.reached is VerificationLevel.ARCHIVE
        return whole and proof.result is ProofResult.FAILED and self.manifest.type is BackupType.INCREMENTAL

    def prove(self, level: VerificationLevel) -> Proof:
        checked_at = utc_now()
        started = time.monotonic()
        findings = _Findings(evidence=self.evidence)
        steps: dict[VerificationLevel, Callable[[], None]] = {
            VerificationLevel.CHECKSUM: self._checksum,
            VerificationLevel.ARCHIVE: self._archive,
            VerificationLevel.RESTORE: self._restore,
        }
        for step, check in steps.items():
            if step.rank > level.rank or not self._passes(check, findings):
                break
            findings.reached = step
        if self.manifest.type is BackupType.INCREMENTAL and findings.result is ProofResult.PASSED:
            self._passes(self._line, findings)
        return Proof(
            level=level,
            reached=findings.reached,
            result=findings.result,
            checked_at=checked_at,
            duration_seconds=round(time.monotonic() - started, 3),
            storage=self.located.storage.name,
            reason=findings.reason,
            differences=findings.differences,
            evidence=findings.evidence,
        )

    def _passes(self, check: Callable[[], None], findings: _Findings) -> bool:
        """Run one level; what it raises becomes the proof's result. A stop or an unreadable storage is no proof."""
        self.cancellation.check()
        try:
            check()
        except _Different as error:
            findings.result, findings.reason, findings.differences = ProofResult.FAILED, str(error), error.differences
        except (ArtefactError, LoadFailed, ChainBroken, PointOutOfReach) as error:
            self.cancellation.check()
            if error.backup_id not in (None, self.manifest.id) and isinstance(error, ArtefactError):
                self.damaged = error.backup_id
            findings.result, findings.reason = ProofResult.FAILED, error.message
            findings.differences = (_artefact_difference(self.manifest, error),)
        except (ScratchUnavailable, ObjectCold, StorageFull, ToolError, _Inconclusive) as error:
            self.cancellation.check()
            findings.result, findings.reason = ProofResult.INCONCLUSIVE, str(error)
        else:
            return True
        return False

    def _checksum(self) -> None:
        """Every stored byte, read back."""
        self.progress.stage(f"checksums of {self.manifest.id}", self.manifest.size_bytes)
        for part in self.manifest.parts:
            check_stored(stored_bytes(self.located, part), part, progress=self.progress)
        self.evidence["stored_bytes"] = self.manifest.size_bytes

    def _archive(self) -> None:
        """The dump, read to its end by its own tool; its tables against the manifest's."""
        self.progress.stage(f"reading the archive of {self.manifest.id}", self.manifest.plain_bytes)
        engine: Engine | ChainEngine
        if self.manifest.chain is not None:
            engine = chain_reader(self.manifest, self.options)
        else:
            engine = engine_for(ConnectionInfo(conn_id="", engine=self.manifest.engine), self.options)
        found = engine.read_archive(plain_streams(self.located, self.progress), self.manifest, self.cancellation)
        if differences := compare_tables(self.manifest.inventory, found):
            raise _Different(differences)
        self.evidence["archive_rows"] = found.rows

    def _restore(self) -> None:
        """Into a scratch server of the same engine and major version; everything compared."""
        if self.manifest.type is BackupType.DATA:
            raise _Inconclusive("A data backup holds no tables that its rows could be restored into.")
        if self.manifest.type is BackupType.INCREMENTAL:
            line = lineage_of(self.workspace, self.located)
            self._refuse_too_large(sum(link.manifest.plain_bytes for link in line))
            evidence = replay(self.workspace, line, progress=self.progress, cancellation=self.cancellation)
            self.evidence.update(evidence)
            return
        self._refuse_too_large(self.manifest.plain_bytes)
        rehearsal = rehearse(self.located, self.options, progress=self.progress, cancellation=self.cancellation)
        if rehearsal.differences:
            raise _Different(rehearsal.differences)
        self.evidence.update(rehearsal.evidence)

    def _refuse_too_large(self, plain_bytes: int) -> None:
        limit = self.settings.backup_verification_restore_max_mb
        if limit and plain_bytes > limit * _MEGABYTE:
            raise _Inconclusive(
                f"What is to be restored is {plain_bytes / _MEGABYTE:.0f} MB, and BACKUP_VERIFICATION_RESTORE_MAX_MB "
                f"allows restores for proof up to {limit} MB."
            )

    def _line(self) -> None:
        """Whether an increment that is whole itself can be restored at all: what it follows must stand."""
        try:
            refuse_gaps([link_of(link, self.progress) for link in lineage_of(self.workspace, self.located)])
        except ChainBroken as broken:
            raise _Inconclusive(f"Its own bytes are as they were written. {broken}") from broken


def _artefact_difference(manifest: Manifest, error: BackupError) -> Difference:
    return Difference(kind="artefact", name=manifest.id, expected="complete and unchanged", found=error.message)
