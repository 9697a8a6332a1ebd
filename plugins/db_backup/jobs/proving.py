"""Prove one copy of a backup: read it back, read it with its own tool, restore it and compare.

The levels are those of DESIGN, "Verification levels".
"""

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
    EncryptionKeyError,
    LoadFailed,
    ObjectCold,
    PointOutOfReach,
    ScratchUnavailable,
    StorageError,
    StorageFull,
    ToolError,
)
from db_backup.jobs.chains import lineage_of, link_of
from db_backup.jobs.contents import check_copy, plain_streams
from db_backup.jobs.rehearsal import rehearse
from db_backup.jobs.replay import chain_reader, replay
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Difference, Manifest, Proof
from db_backup.model import BackupType, ConnectionInfo, ProofResult, VerificationLevel, utc_now
from db_backup.progress import Cancellation, Progress

_MEGABYTE = 1 << 20
_MADE_HERE = "the data key was at hand from the making; this worker holds no key that opens the backup"


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


class Proving:
    """One verification of one copy: its levels in order, until one is not passed.

    ``damaged``: another backup, which the proof failed because of. ``silence``: why the storage could not be read,
    which says nothing about what it holds. ``cold``: it must be thawed first.
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
        self.silence: StorageError | None = None
        self.cold = False

    def failed_to_replay(self, proof: Proof) -> bool:
        """Whether it is an increment whose own bytes are as they were written, and whose chain could not be rebuilt."""
        whole = proof.reached is VerificationLevel.ARCHIVE
        return whole and proof.result is ProofResult.FAILED and self.manifest.type is BackupType.INCREMENTAL

    def prove(self, level: VerificationLevel, *, bytes_alone: bool = False) -> Proof:
        """As far as this level, or until one level is not passed.

        :param bytes_alone: of what it leans on nothing is asked: that is proven with another copy.
        """
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
            if step is not VerificationLevel.CHECKSUM:
                self._tell_of_key()
        if self.manifest.type is BackupType.INCREMENTAL and not bytes_alone and findings.result is ProofResult.PASSED:
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
        """Run one level; what it raises becomes the proof's result. A stop is no proof."""
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
        except (ScratchUnavailable, StorageFull, ToolError, EncryptionKeyError, _Inconclusive) as error:
            self.cancellation.check()
            findings.result, findings.reason = ProofResult.INCONCLUSIVE, str(error)
        except StorageError as error:
            self.cancellation.check()
            self.cold = isinstance(error, ObjectCold)
            self.silence = None if self.cold else error
            findings.result, findings.reason = ProofResult.INCONCLUSIVE, str(error)
        else:
            return True
        return False

    def _checksum(self) -> None:
        """Every stored byte, read back."""
        self.progress.stage(f"checksums of {self.manifest.id} in {self.located.storage.name}", self.manifest.size_bytes)
        unread = check_copy(self.located, self.progress, self.cancellation)
        self.evidence["stored_bytes"] = self.manifest.size_bytes
        if unread:
            self.evidence["cipher_not_authenticated"] = unread
        elif unread is not None:
            self.evidence["cipher"] = "authenticated"

    def _tell_of_key(self) -> None:
        """Whoever relies on the proof must know that this worker cannot open the backup again."""
        keyring = self.located.keyring
        if keyring.is_made_here(self.manifest) and not keyring.can_open(self.manifest, self.located.state):
            self.evidence["encryption_key"] = _MADE_HERE

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
            line = self._lineage()
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
            refuse_gaps([link_of(link, self.progress) for link in self._lineage()])
        except ChainBroken as broken:
            raise _Inconclusive(f"Its own bytes are as they were written. {broken}") from broken

    def _lineage(self) -> tuple[Located, ...]:
        try:
            return lineage_of(self.workspace, self.located)
        except StorageError as error:  # of another backup: this one's storage answers
            raise _Inconclusive(str(error)) from error


def _artefact_difference(manifest: Manifest, error: BackupError) -> Difference:
    return Difference(kind="artefact", name=manifest.id, expected="complete and unchanged", found=error.message)
