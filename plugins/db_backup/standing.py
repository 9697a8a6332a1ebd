"""How a backup stands, from its manifest and state alone: pure rules (SPEC §3, "Verified means")."""

from __future__ import annotations

from datetime import datetime, timedelta

from db_backup.manifest import Manifest, Proof, State
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel


def required_level(backup_type: BackupType, configured: VerificationLevel) -> VerificationLevel:
    """The level whose passed proof makes a backup of this type verified."""
    if backup_type is BackupType.DATA:
        return min(configured, VerificationLevel.ARCHIVE, key=lambda level: level.rank)
    if backup_type is BackupType.INCREMENTAL:
        return VerificationLevel.CHECKSUM
    return configured


def newest_proof(state: State) -> Proof | None:
    return max(state.proofs, key=lambda proof: proof.checked_at, default=None)


def proof_level(state: State) -> VerificationLevel | None:
    """The level that stands: the highest one reached since the last failure; an inconclusive proof lowers nothing."""
    reached: VerificationLevel | None = None
    for proof in sorted(state.proofs, key=lambda proof: proof.checked_at):
        if proof.result is ProofResult.FAILED:
            reached = None
        elif proof.reached is not None and (reached is None or proof.reached.rank > reached.rank):
            reached = proof.reached
    return reached


def is_verified(manifest: Manifest, state: State) -> bool:
    reached = proof_level(state)
    return reached is not None and reached.rank >= manifest.required_proof.rank


def status(manifest: Manifest, state: State) -> BackupStatus:
    if state.tombstone is not None:
        return BackupStatus.DELETING
    if state.suspect_reason is not None:
        return BackupStatus.SUSPECT
    conclusive = [proof for proof in state.proofs if proof.result is not ProofResult.INCONCLUSIVE]
    latest = max(conclusive, key=lambda proof: proof.checked_at, default=None)
    if latest is not None and latest.result is ProofResult.FAILED:
        return BackupStatus.FAILED_VERIFICATION
    return BackupStatus.GOOD if is_verified(manifest, state) else BackupStatus.UNVERIFIED


def expires_at(manifest: Manifest) -> datetime:
    """When its days are over; cleanup has more rules than this one (SPEC §10)."""
    return manifest.created_at + timedelta(days=manifest.retention_days)
