"""How a backup stands: what proofs add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db_backup import standing
from db_backup.manifest import Copy, Proof, State, Tombstone
from db_backup.model import BackupStatus, BackupType, ProofResult, VerificationLevel
from support.factories import MORNING, make_manifest, make_proof, make_state

pytestmark = pytest.mark.unit

CHECKSUM, ARCHIVE, RESTORE = VerificationLevel
PASSED, FAILED, INCONCLUSIVE = ProofResult


def proof(
    minute: int, level: VerificationLevel, result: ProofResult, reached: VerificationLevel | None = None
) -> Proof:
    """A proof at that minute; ``reached`` is what it passed on the way to another result."""
    return make_proof(
        level=level,
        result=result,
        reached=level if result is PASSED else reached,
        checked_at=MORNING + timedelta(minutes=minute),
    )


def standing_of(
    *proofs: Proof, required: VerificationLevel = RESTORE
) -> tuple[BackupStatus, bool, VerificationLevel | None]:
    manifest = make_manifest(required_proof=required)
    state = make_state(manifest, *proofs)
    return standing.status(manifest, state), standing.is_verified(manifest, state), standing.proof_level(state)


def test_a_backup_without_proofs_is_unverified() -> None:
    assert standing_of() == (BackupStatus.UNVERIFIED, False, None)


def test_a_proof_at_the_required_level_makes_it_good() -> None:
    assert standing_of(proof(1, RESTORE, PASSED)) == (BackupStatus.GOOD, True, RESTORE)


def test_a_proof_below_the_required_level_does_not() -> None:
    assert standing_of(proof(1, ARCHIVE, PASSED)) == (BackupStatus.UNVERIFIED, False, ARCHIVE)


def test_a_proof_above_the_required_level_does() -> None:
    assert standing_of(proof(1, RESTORE, PASSED), required=ARCHIVE) == (BackupStatus.GOOD, True, RESTORE)


def test_a_later_proof_at_a_lower_level_takes_nothing_away() -> None:
    assert standing_of(proof(1, RESTORE, PASSED), proof(2, CHECKSUM, PASSED)) == (BackupStatus.GOOD, True, RESTORE)


def test_an_inconclusive_proof_takes_nothing_away() -> None:
    proofs = (proof(1, RESTORE, PASSED), proof(2, RESTORE, INCONCLUSIVE, reached=ARCHIVE))

    assert standing_of(*proofs) == (BackupStatus.GOOD, True, RESTORE)


def test_an_inconclusive_proof_counts_for_what_it_reached() -> None:
    tried = proof(1, RESTORE, INCONCLUSIVE, reached=ARCHIVE)

    assert standing_of(tried) == (BackupStatus.UNVERIFIED, False, ARCHIVE)
    assert standing_of(tried, required=ARCHIVE) == (BackupStatus.GOOD, True, ARCHIVE)


def test_a_failure_takes_everything_away() -> None:
    proofs = (proof(1, RESTORE, PASSED), proof(2, CHECKSUM, FAILED))

    assert standing_of(*proofs) == (BackupStatus.FAILED_VERIFICATION, False, None)


def test_a_checksum_refutes_no_failed_restore() -> None:
    proofs = (proof(1, RESTORE, FAILED, reached=ARCHIVE), proof(2, CHECKSUM, PASSED))

    assert standing_of(*proofs) == (BackupStatus.FAILED_VERIFICATION, False, CHECKSUM)


def test_an_archive_check_refutes_no_failed_restore_even_where_it_would_have_sufficed() -> None:
    proofs = (proof(1, RESTORE, FAILED, reached=ARCHIVE), proof(2, ARCHIVE, PASSED))

    assert standing_of(*proofs, required=ARCHIVE) == (BackupStatus.FAILED_VERIFICATION, False, ARCHIVE)


def test_passing_the_step_that_failed_refutes_the_failure() -> None:
    proofs = (proof(1, RESTORE, FAILED, reached=ARCHIVE), proof(2, RESTORE, PASSED))

    assert standing_of(*proofs) == (BackupStatus.GOOD, True, RESTORE)


def test_a_restore_that_failed_at_its_checksum_is_refuted_by_a_checksum() -> None:
    proofs = (proof(1, RESTORE, FAILED, reached=None), proof(2, CHECKSUM, PASSED))

    assert standing_of(*proofs) == (BackupStatus.UNVERIFIED, False, CHECKSUM)


def test_a_later_failure_at_a_lower_step_does_not_hide_the_higher_one() -> None:
    proofs = (
        proof(1, RESTORE, FAILED, reached=ARCHIVE),
        proof(2, CHECKSUM, FAILED),
        proof(3, CHECKSUM, PASSED),
    )

    assert standing_of(*proofs) == (BackupStatus.FAILED_VERIFICATION, False, CHECKSUM)


def test_an_inconclusive_proof_does_not_hide_a_failure() -> None:
    proofs = (proof(1, RESTORE, FAILED, reached=ARCHIVE), proof(2, RESTORE, INCONCLUSIVE, reached=ARCHIVE))

    assert standing_of(*proofs) == (BackupStatus.FAILED_VERIFICATION, False, ARCHIVE)


def test_proofs_count_in_the_order_of_their_times() -> None:
    proofs = (proof(2, RESTORE, PASSED), proof(1, RESTORE, FAILED))

    assert standing_of(*proofs) == (BackupStatus.GOOD, True, RESTORE)


def test_of_two_proofs_at_one_moment_the_one_written_last_is_the_newest() -> None:
    passed, failed = proof(1, RESTORE, PASSED), proof(1, RESTORE, FAILED)
    manifest = make_manifest()

    assert standing.newest_proof(make_state(manifest, passed, failed)) is failed
    assert standing.newest_proof(make_state(manifest, failed, passed)) is passed
    assert standing_of(passed, failed)[0] is BackupStatus.FAILED_VERIFICATION
    assert standing_of(failed, passed)[0] is BackupStatus.GOOD


def test_no_proof_is_the_newest_of_none() -> None:
    assert standing.newest_proof(make_state(make_manifest())) is None


def test_suspicion_outweighs_a_proof_and_deletion_outweighs_both() -> None:
    manifest = make_manifest()
    suspect = make_state(manifest, proof(1, RESTORE, PASSED), suspect_reason="its disk reports errors")
    tombstone = Tombstone(marked_at=MORNING, reason="expired", actor="ada")

    assert standing.status(manifest, suspect) is BackupStatus.SUSPECT
    deleting = suspect.model_copy(update={"tombstone": tombstone})
    assert standing.status(manifest, deleting) is BackupStatus.DELETING


@pytest.mark.parametrize(
    ("backup_type", "configured", "required"),
    [
        (BackupType.FULL, RESTORE, RESTORE),
        (BackupType.FULL, CHECKSUM, CHECKSUM),
        (BackupType.STRUCTURE, RESTORE, RESTORE),
        (BackupType.DATA, RESTORE, ARCHIVE),
        (BackupType.DATA, CHECKSUM, CHECKSUM),
        (BackupType.INCREMENTAL, RESTORE, CHECKSUM),
    ],
)
def test_each_type_has_its_required_level(
    backup_type: BackupType, configured: VerificationLevel, required: VerificationLevel
) -> None:
    assert standing.required_level(backup_type, configured) is required


def test_a_backup_expires_after_its_days() -> None:
    assert standing.expires_at(make_manifest(retention_days=30)) == datetime(2026, 3, 2, 3, 0, 0, tzinfo=UTC)


def test_days_beyond_the_calendar_mean_its_end() -> None:
    manifest = make_manifest(retention_days=10**12)

    assert standing.expires_at(manifest) == datetime.max.replace(tzinfo=UTC)


def restored(*proofs: Proof) -> Proof | None:
    return standing.newest_restore(make_state(make_manifest(), *proofs))


def test_the_newest_restore_is_the_last_proof_that_went_that_far() -> None:
    first, second = proof(1, RESTORE, PASSED), proof(2, RESTORE, PASSED)

    assert restored() is None
    assert restored(proof(1, ARCHIVE, PASSED)) is None
    assert restored(second, first, proof(3, CHECKSUM, PASSED), proof(4, RESTORE, INCONCLUSIVE, ARCHIVE)) == second


def test_a_failure_ends_what_a_restore_has_proven() -> None:
    before, failure, after = proof(1, RESTORE, PASSED), proof(2, CHECKSUM, FAILED), proof(3, RESTORE, PASSED)

    assert restored(before, failure) is None
    assert restored(before, failure, proof(3, CHECKSUM, PASSED)) is None
    assert restored(before, failure, after) == after


def in_storage(storage: str, minute: int, result: ProofResult, reached: VerificationLevel | None) -> Proof:
    level = RESTORE if reached is RESTORE else CHECKSUM
    return make_proof(
        level=level, result=result, reached=reached, storage=storage, checked_at=MORNING + timedelta(minutes=minute)
    )


def spread(*proofs: Proof, **state: object) -> State:
    """The state of a backup with a copy in `local` and one in `s3`."""
    manifest = make_manifest()
    copies = tuple(Copy(storage=name, storage_id="", created_at=manifest.finished_at) for name in ("local", "s3"))
    return make_state(manifest, *proofs, copies=copies, **state)


def test_a_damaged_copy_takes_nothing_from_a_backup_that_stands_by_another() -> None:
    restored = in_storage("local", 1, PASSED, RESTORE)
    whole, damaged = in_storage("s3", 2, PASSED, CHECKSUM), in_storage("local", 3, FAILED, None)
    state = spread(restored, whole, damaged)

    assert standing.status(make_manifest(), state) is BackupStatus.GOOD
    assert standing.proof_level(state) is RESTORE
    assert standing.newest_restore(state) == restored
    assert dict(standing.damaged_copies(state)) == {"local": damaged}
    assert standing.newest_proof(state) == whole


def test_what_was_proven_of_a_copy_says_nothing_of_one_that_was_never_read() -> None:
    state = spread(in_storage("local", 1, PASSED, RESTORE), in_storage("local", 2, FAILED, None))

    assert standing.status(make_manifest(), state) is BackupStatus.UNVERIFIED
    assert standing.proof_level(state) is None


def test_a_backup_all_of_whose_copies_are_damaged_has_failed() -> None:
    state = spread(in_storage("local", 1, FAILED, None), in_storage("s3", 2, FAILED, None))

    assert standing.status(make_manifest(), state) is BackupStatus.FAILED_VERIFICATION


def test_a_copy_that_was_mended_stands_again() -> None:
    state = spread(in_storage("s3", 1, FAILED, None), in_storage("s3", 2, PASSED, CHECKSUM))

    assert dict(standing.damaged_copies(state)) == {}


def test_reading_another_copy_mends_none() -> None:
    state = spread(in_storage("s3", 1, FAILED, None), in_storage("local", 2, PASSED, RESTORE))

    assert list(standing.damaged_copies(state)) == ["s3"]


def test_what_fails_in_itself_fails_in_every_copy() -> None:
    failed = in_storage("local", 2, FAILED, ARCHIVE)
    state = spread(in_storage("s3", 1, PASSED, RESTORE), failed, in_storage("s3", 3, PASSED, CHECKSUM))

    assert standing.status(make_manifest(), state) is BackupStatus.FAILED_VERIFICATION
    assert dict(standing.damaged_copies(state)) == {}
    assert standing.fails_to_replay(state)


def test_a_copy_that_is_not_there_can_neither_stand_nor_fall() -> None:
    passed, damaged = in_storage("local", 1, PASSED, RESTORE), in_storage("s3", 2, FAILED, None)
    gone = Copy(storage="s3", storage_id="", created_at=MORNING, missing="it is gone")
    here = Copy(storage="local", storage_id="", created_at=MORNING)
    manifest = make_manifest()

    assert standing.status(manifest, make_state(manifest, passed, damaged, copies=(here, gone))) is BackupStatus.GOOD
    assert dict(standing.damaged_copies(make_state(manifest, damaged, copies=(here, gone)))) == {}
