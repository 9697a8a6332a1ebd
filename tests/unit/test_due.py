"""What the daily check verifies: all that nobody has proven, and in turn everything else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from db_backup.jobs.due import DueReport, choose_due
from db_backup.manifest import Chain, Manifest, Proof, State
from db_backup.model import BackupType, ProofResult, VerificationLevel, utc_now
from db_backup.summary import BackupSummary, summarise
from support.factories import make_manifest, make_proof, make_state

pytestmark = pytest.mark.unit

NOW = utc_now().replace(microsecond=0)


def backup(age_days: float, *proofs: Proof, entry: str = "shop", **more: Any) -> tuple[Manifest, State]:
    kind = more.pop("type", BackupType.FULL)
    manifest = make_manifest(entry=entry, type=kind, created_at=NOW - timedelta(days=age_days))
    return manifest, make_state(manifest, *proofs, **more)


def proof(age_days: float, **more: Any) -> Proof:
    return make_proof(checked_at=NOW - timedelta(days=age_days), **more)


def inconclusive(age_days: float) -> Proof:
    return proof(age_days, result=ProofResult.INCONCLUSIVE, reached=VerificationLevel.ARCHIVE, reason="no server")


def chosen(*backups: tuple[Manifest, State], now: datetime = NOW, **limits: int) -> DueReport:
    newest_first: Iterable[BackupSummary] = sorted(
        (summarise(*one) for one in backups), key=lambda summary: summary.created_at, reverse=True
    )
    return choose_due(newest_first, now=now, **limits)


def increments(base: Manifest, *ages_days: float) -> list[Manifest]:
    """A chain after this full, oldest first."""
    made: list[Manifest] = []
    for age in ages_days:
        chain = Chain(base_id=base.id, parent_id=(made or [base])[-1].id)
        created_at = NOW - timedelta(days=age)
        required = VerificationLevel.CHECKSUM
        made.append(
            make_manifest(type=BackupType.INCREMENTAL, created_at=created_at, chain=chain, required_proof=required)
        )
    return made


def checked(manifest: Manifest, *proofs: Proof) -> tuple[Manifest, State]:
    """Its bytes were read back as it was made, and then it was proved in these ways."""
    first = make_proof(level=VerificationLevel.CHECKSUM, checked_at=manifest.created_at)
    return manifest, make_state(manifest, first, *proofs)


def replays(report: DueReport) -> list[str]:
    return [due.backup_id for due in report.due if due.level is VerificationLevel.RESTORE]


def ids(*backups: tuple[Manifest, State]) -> list[str]:
    return [manifest.id for manifest, _ in backups]


def due_ids(report: DueReport) -> list[str]:
    return [due.backup_id for due in report.due]


def test_everything_that_was_never_verified_is_due_newest_first() -> None:
    never = [backup(age) for age in (0.1, 3, 90)]
    report = chosen(*never, backup(1, proof(1)))
    assert due_ids(report) == ids(*never)
    assert {due.reason for due in report.due} == {"never verified"}


def test_a_safety_backup_is_verified_like_any_other() -> None:
    """Whoever goes back to it, goes back to something that nobody else holds."""
    manifest = make_manifest(created_at=NOW - timedelta(hours=3), safety=True)
    report = chosen((manifest, make_state(manifest)), backup(1, proof(1)))
    assert due_ids(report) == [manifest.id]


def test_one_that_was_verified_to_a_lower_level_than_its_type_requires_is_due() -> None:
    lower = backup(0.2, proof(0.1, level=VerificationLevel.CHECKSUM))
    report = chosen(lower)
    assert due_ids(report) == ids(lower)
    assert report.due[0].reason == "verified only to level checksum"


def test_of_each_entry_the_one_whose_newest_proof_is_the_oldest_has_its_turn() -> None:
    once, twice = backup(20, proof(20)), backup(30, proof(30), proof(10))
    other = backup(15, proof(15), entry="crm")
    report = chosen(once, twice, backup(12, proof(12)), other)
    assert set(due_ids(report)) == {once[0].id, other[0].id}


def test_in_as_many_runs_as_there_are_backups_each_of_them_is_verified() -> None:
    proofs = {age: [proof(age)] for age in range(8, 28)}
    seen = []
    for day in range(20):
        now = NOW + timedelta(days=day)
        backups = {age: backup(age, *proofs[age]) for age in proofs}
        (due,) = due_ids(chosen(*backups.values(), now=now))
        age = next(age for age, (manifest, _) in backups.items() if manifest.id == due)
        proofs[age].append(make_proof(checked_at=now))
        seen.append(age)
    assert sorted(seen) == sorted(proofs)


def test_a_proof_of_this_week_is_not_repeated() -> None:
    assert due_ids(chosen(backup(40, proof(6.9)), backup(2, proof(2)))) == []
    assert len(due_ids(chosen(backup(40, proof(7))))) == 1


def test_the_sample_is_as_large_as_asked() -> None:
    backups = [backup(age, proof(age)) for age in range(10, 20)]
    assert due_ids(chosen(*backups, sample=3)) == ids(*reversed(backups[-3:]))


def test_one_that_could_not_be_tried_to_the_end_takes_its_turn_the_next_day() -> None:
    """A database that is too large to restore would otherwise be read in full, every backup, every day."""
    backups = [backup(age, inconclusive(age)) for age in (2, 3, 4)]
    assert due_ids(chosen(backup(0.5, inconclusive(0.5)), *backups)) == ids(backups[-1])


@pytest.mark.parametrize("suspect", [False, True])
def test_a_backup_that_failed_or_is_suspect_has_its_turn_and_is_always_named(suspect: bool) -> None:
    failed = proof(9, result=ProofResult.FAILED, reason="orders: 3 rows are missing")
    bad = backup(9, proof(9), suspect_reason="its disk was replaced") if suspect else backup(9, failed)
    assert due_ids(chosen(bad, backup(8, proof(8)))) == ids(bad)

    report = chosen(bad, backup(30, proof(30)))
    assert due_ids(report) != ids(bad)
    assert [one.backup_id for one in report.unreliable] == ids(bad)
    assert report.unreliable[0].reason == ("suspect" if suspect else "failed_verification: orders: 3 rows are missing")


def test_what_is_being_deleted_is_left_out() -> None:
    tombstone = {"marked_at": NOW, "reason": "old", "actor": "airflow"}
    report = chosen(backup(9, tombstone=tombstone), backup(9, proof(9), entry="crm", tombstone=tombstone))
    assert (report.due, report.unreliable) == ((), ())


def test_more_than_a_run_takes_wait_for_the_next_one() -> None:
    backups = [backup(age) for age in (1, 2, 3)]
    report = chosen(*backups, most=2)
    assert (due_ids(report), report.waiting) == (ids(*backups[:2]), 1)


def test_types_of_an_entry_share_its_sample() -> None:
    full, structure = backup(10, proof(10)), backup(12, proof(12), type=BackupType.STRUCTURE)
    assert due_ids(chosen(full, structure)) == ids(structure)


def test_a_chain_that_has_ended_is_replayed_from_its_newest_increment_once_a_week() -> None:
    base, newer = backup(1.2, proof(1.2)), backup(0.2, proof(0.2))
    chain = increments(base[0], 1.1, 1.0, 0.9)

    report = chosen(base, newer, *map(checked, chain))
    assert replays(report) == [chain[-1].id]
    assert (report.due[0].reason, len(report.due)) == ("its chain was never replayed", 1)

    replayed = (base, newer, *map(checked, chain[:-1]), checked(chain[-1], proof(0)))
    assert replays(chosen(*replayed, now=NOW + timedelta(days=6.9))) == []
    assert replays(chosen(*replayed, now=NOW + timedelta(days=7))) == [chain[-1].id]


def test_a_chain_whose_last_increment_is_younger_than_the_next_full_has_ended_all_the_same() -> None:
    base, newer = backup(0.9, proof(0.9)), backup(0.2, proof(0.2))
    first, closing = increments(base[0], 0.5, 0.1)
    after = increments(newer[0], 0.05)
    report = chosen(base, newer, checked(first, proof(0.15)), checked(closing), *map(checked, after))
    assert replays(report) == [closing.id]


def test_a_chain_that_still_grows_is_replayed_after_a_day_and_again_once_it_has_ended() -> None:
    base = backup(3, proof(3))
    assert replays(chosen(base, *map(checked, increments(base[0], 0.9, 0.1)))) == []

    first, second = increments(base[0], 1.0, 0.1)
    assert replays(chosen(base, checked(first), checked(second))) == [second.id]
    assert replays(chosen(base, checked(first, proof(0.2)), checked(second))) == []
    assert replays(chosen(base, checked(first, proof(7)), checked(second))) == [second.id]
    assert replays(chosen(base, checked(first, proof(0.2)), checked(second), backup(0, proof(0)))) == [second.id]


def test_one_chain_of_an_entry_is_replayed_a_run_those_first_that_wait_longest() -> None:
    bases = [backup(age, proof(age)) for age in (5, 4, 3, 2)]
    chains = [increments(base[0], age) for base, age in zip(bases, (4.5, 3.5, 2.5, 1.5), strict=True)]
    oldest, second, *_ = (one.id for (one,) in chains)

    assert replays(chosen(*bases, *(checked(one) for (one,) in chains))) == [oldest]
    once_replayed = [checked(chains[0][0], proof(1)), *(checked(one) for (one,) in chains[1:])]
    assert replays(chosen(*bases, *once_replayed)) == [second]


def test_a_chain_is_replayed_up_to_what_cannot_be_relied_on() -> None:
    base = backup(3, proof(3))
    first, bad, after = increments(base[0], 2.5, 2.4, 2.3)
    failed = proof(1, level=VerificationLevel.CHECKSUM, result=ProofResult.FAILED, reason="a byte changed")
    assert replays(chosen(base, checked(first), checked(bad, failed), checked(after))) == [first.id]


def test_a_chain_that_went_on_beside_a_bad_increment_is_replayed_to_its_end() -> None:
    base = backup(3, proof(3))
    first, bad, orphan = increments(base[0], 2.5, 2.4, 2.3)
    chain = Chain(base_id=base[0].id, parent_id=first.id)
    again = make_manifest(
        type=BackupType.INCREMENTAL,
        created_at=NOW - timedelta(days=2.2),
        chain=chain,
        required_proof=VerificationLevel.CHECKSUM,
    )
    failed = proof(1, level=VerificationLevel.CHECKSUM, result=ProofResult.FAILED, reason="a byte changed")
    report = chosen(base, checked(first), checked(bad, failed), checked(orphan), checked(again))
    assert replays(report) == [again.id]


def test_a_replay_that_could_not_be_tried_to_the_end_waits_for_the_next_day() -> None:
    base = backup(3, proof(3))
    (only,) = increments(base[0], 2.5)
    tried = (base, checked(only, proof(0.5, result=ProofResult.INCONCLUSIVE, reason="no scratch server")))
    assert replays(chosen(*tried)) == []
    assert replays(chosen(*tried, now=NOW + timedelta(days=0.5))) == [only.id]


def test_an_increment_that_nobody_has_verified_is_due_once_and_as_far_as_its_type_requires() -> None:
    base = backup(3, proof(3))
    first, second = increments(base[0], 0.5, 0.4)
    report = chosen(base, (first, make_state(first)), (second, make_state(second)))
    assert [(due.backup_id, due.level) for due in report.due] == [(second.id, None), (first.id, None)]

    old = increments(base[0], 2.5)[0]
    report = chosen(base, (old, make_state(old)))
    assert [(due.backup_id, due.level) for due in report.due] == [(old.id, VerificationLevel.RESTORE)]


def archived(one: tuple[Manifest, State], **more: str) -> tuple[Manifest, State]:
    """Its copy lies in a class of S3."""
    manifest, state = one
    copies = tuple(copy.model_copy(update=more) for copy in state.copies)
    return manifest, state.model_copy(update={"copies": copies})


def test_what_would_have_to_be_thawed_is_not_chosen() -> None:
    cold = archived(backup(40, proof(40)), storage_class="DEEP_ARCHIVE")
    never_tried = archived(backup(50), storage_class="GLACIER")

    assert chosen(cold, never_tried).due == ()


def test_a_colder_class_that_can_be_read_at_once_is_verified_like_any_other() -> None:
    (due,) = chosen(archived(backup(40, proof(40)), storage_class="GLACIER_IR")).due

    assert "last verified" in due.reason


def test_a_chain_whose_full_is_cold_is_not_replayed() -> None:
    base = make_manifest(created_at=NOW - timedelta(days=20))
    (link,) = increments(base, 15)
    full = archived(checked(base, proof(20)), storage_class="GLACIER")

    assert VerificationLevel.RESTORE in {due.level for due in chosen(checked(base, proof(20)), checked(link)).due}
    assert {due.level for due in chosen(full, checked(link)).due} == {None}, "it is read, and not replayed"
