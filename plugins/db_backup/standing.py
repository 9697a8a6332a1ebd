"""How a backup stands, from its manifest and state alone: pure rules (SPEC §3, "Verified means")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db_backup.manifest import Manifest, Proof, State
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel

_NOTHING = -1  # below the rank of every level


def required_level(backup_type: BackupType, configured: VerificationLevel) -> VerificationLevel:
    """The level whose passed proof makes a backup of this type verified."""
    if backup_type is BackupType.DATA:
        return min(configured, VerificationLevel.ARCHIVE, key=lambda level: level.rank)
    if backup_type is BackupType.INCREMENTAL:
        return VerificationLevel.CHECKSUM
    return configured


@dataclass(frozen=True)
class _Standing:
    """``reached``: the highest level passed since the last failure. ``failed``: a failure stands."""

    reached: VerificationLevel | None
    failed: bool


def newest_proof(state: State) -> Proof | None:
    """Of several made at the same moment, the one that was written down last."""
    return next(reversed(_in_order(state)), None)


def proof_level(state: State) -> VerificationLevel | None:
    """The level that stands: the highest one reached since the last failure; an inconclusive proof lowers nothing."""
    return _standing(state).reached


def newest_restore(state: State) -> Proof | None:
    """The last proof that restored and compared it, and that no failure has come after."""
    newest = None
    for proof in _in_order(state):
        if proof.result is ProofResult.FAILED:
            newest = None
        elif proof.reached is VerificationLevel.RESTORE:
            newest = proof
    return newest


def fails_to_replay(state: State) -> bool:
    """Whether a failure stands that its own bytes do not explain: they were read to their end before it."""
    failures = [proof for proof in _in_order(state) if proof.result is ProofResult.FAILED]
    return _standing(state).failed and failures[-1].reached is VerificationLevel.ARCHIVE


def is_verified(manifest: Manifest, state: State) -> bool:
    """Whether the required level was reached, and no failure stands."""
    standing = _standing(state)
    return (
        not standing.failed and standing.reached is not None and standing.reached.rank >= manifest.required_proof.rank
    )


def status(manifest: Manifest, state: State) -> BackupStatus:
    if state.tombstone is not None:
        return BackupStatus.DELETING
    if state.suspect_reason is not None:
        return BackupStatus.SUSPECT
    if _standing(state).failed:
        return BackupStatus.FAILED_VERIFICATION
    return BackupStatus.GOOD if is_verified(manifest, state) else BackupStatus.UNVERIFIED


def expires_at(manifest: Manifest) -> datetime:
    """When its days are over, at the end of the calendar at the latest; cleanup has more rules (SPEC §10)."""
    try:
        return manifest.created_at + timedelta(days=manifest.retention_days)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _in_order(state: State) -> list[Proof]:
    return sorted(state.proofs, key=lambda proof: proof.checked_at)


def _standing(state: State) -> _Standing:
    """A failure stands until a later proof passes the very step that failed: a checksum refutes no failed restore."""
    reached: VerificationLevel | None = None
    to_refute = _NOTHING
    for proof in _in_order(state):
        passed = _NOTHING if proof.reached is None else proof.reached.rank
        if proof.result is ProofResult.FAILED:
            reached = None
            to_refute = max(to_refute, passed + 1)
        elif proof.reached is not None:
            reached = max(reached or proof.reached, proof.reached, key=lambda level: level.rank)
            if passed >= to_refute:
                to_refute = _NOTHING
    return _Standing(reached, failed=to_refute != _NOTHING)
