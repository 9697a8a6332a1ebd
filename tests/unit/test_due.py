"""What the daily check verifies: all that nobody has proven, and in turn everything else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest

from db_backup.jobs.due import DueReport, choose_due
from db_backup.manifest import Manifest, Proof, State
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
