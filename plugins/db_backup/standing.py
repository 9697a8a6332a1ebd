"""How a backup stands, from its manifest and state alone: pure rules (SPEC §3, "Verified means")."""

from __future__ import annotations

from collections.abc import Mapping
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
    """What the proofs add up to.

    A proof that failed before every stored byte was read damns the copy that was read, and no other. One that failed
    later damns what is in the backup, and so all of its copies.

    ``reached``: the highest level passed since the last failure that stands against all copies. ``restored``: the last
    proof that restored it and that no such failure has come after. ``failed``: no copy stands, or it fails in itself.
    ``content_failure``: the last one of the second kind that nothing has refuted. ``damaged``: the copies that stand
    damned, by storage, each with the proof that says so.
    """

    reached: VerificationLevel | None
    restored: Proof | None
    failed: bool
    content_failure: Proof | None
    damaged: Mapping[str, Proof]


def newest_proof(state: State) -> Proof | None:
    """The last word about the backup: not what is said of one copy alone while it stands by another.

    Of several made at the same moment, the one that was written down last.
    """
    proofs = _in_order(state)
    if len(_present(state)) > 1 and not _standing(state).failed:
        proofs = [proof for proof in proofs if not _of_one_copy_alone(proof)] or proofs
    return next(reversed(proofs), None)


def proof_level(state: State) -> VerificationLevel | None:
    """The level that stands: the highest one reached since the last failure; an inconclusive proof lowers nothing."""
    return _standing(state).reached


def newest_restore(state: State) -> Proof | None:
    """The last proof that restored and compared it, and that no failure has come after."""
    return _standing(state).restored


def fails_to_replay(state: State) -> bool:
    """Whether a failure stands that its own bytes do not explain: they were read to their end before it."""
    failure = _standing(state).content_failure
    return failure is not None and failure.reached is VerificationLevel.ARCHIVE


def damaged_copies(state: State) -> Mapping[str, Proof]:
    """The storages whose copy is not what was written, as its last reading showed, and the proof that says so."""
    present = _present(state)
    return {storage: proof for storage, proof in _standing(state).damaged.items() if storage in present}


def proof_of_copy(state: State, storage: str) -> Proof | None:
    """The last proof that this copy was read for."""
    return next((proof for proof in reversed(_in_order(state)) if proof.storage == storage), None)


def newest_reading(state: State, storage: str) -> Proof | None:
    """The last proof for which all bytes of this copy were read and found as they were written."""
    read = (proof for proof in reversed(_in_order(state)) if proof.storage == storage and proof.reached is not None)
    return next(read, None)


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


def _present(state: State) -> set[str]:
    """The storages that hold it; where no state ever said so, those that it was read from."""
    return {copy.storage for copy in state.present} or {proof.storage for proof in state.proofs}


def _of_one_copy_alone(proof: Proof) -> bool:
    """Not a byte of the content was told of."""
    return proof.reached is None and proof.result is not ProofResult.PASSED


def _standing(state: State) -> _Standing:
    """A failure stands until a later proof passes the very step that failed: a checksum refutes no failed restore.

    ``sound``: the copies that were read whole and not damned since; where none is left, nothing is proven any more.
    """
    present = _present(state)
    reached: VerificationLevel | None = None
    restored: Proof | None = None
    failure: Proof | None = None
    to_refute = _NOTHING
    sound: set[str] = set()
    damaged: dict[str, Proof] = {}
    for proof in _in_order(state):
        if proof.reached is not None:
            sound.add(proof.storage)
            damaged.pop(proof.storage, None)
        if proof.result is ProofResult.FAILED and proof.reached is None:
            sound.discard(proof.storage)
            damaged[proof.storage] = proof
            if not sound & present:
                reached, restored = None, None
        elif proof.result is ProofResult.FAILED and proof.reached is not None:
            reached, restored, failure = None, None, proof
            to_refute = max(to_refute, proof.reached.rank + 1)
        elif proof.reached is not None:
            reached = max(reached or proof.reached, proof.reached, key=lambda level: level.rank)
            restored = proof if proof.reached is VerificationLevel.RESTORE else restored
            if proof.reached.rank >= to_refute:
                to_refute, failure = _NOTHING, None
    if not sound & present:
        reached, restored = None, None
    return _Standing(
        reached=reached,
        restored=restored,
        failed=failure is not None or (bool(present) and present <= damaged.keys()),
        content_failure=failure,
        damaged=damaged,
    )
