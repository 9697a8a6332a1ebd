"""Controls about encryption: what is stored as plain text, how old the keys are, whether they still open anything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from db_backup.health import BackupRecord, CanaryRecord, ControlResult, KeyRecord
from support.health_records import NOW, backup, control, health_of

pytestmark = pytest.mark.unit

PASS, WARNING, FAIL, NOT_APPLICABLE = ControlResult
ENCRYPTED, ROTATED, OPENS = "encrypted", "key rotated within 365 days", "encryption key opens the newest backup"
YEAR = timedelta(days=365)
SECRET = backup(1, encrypted=True)


@pytest.mark.parametrize(
    ("backups", "asked_for", "result"),
    [
        ([], True, NOT_APPLICABLE),
        ([SECRET], True, PASS),
        ([SECRET], False, PASS),
        ([SECRET, backup(30)], False, FAIL),
        ([SECRET, backup(30)], True, WARNING),
        ([backup(0.5), SECRET], True, FAIL),
    ],
)
def test_plain_backups_from_before_encryption_warn_and_later_ones_fail(
    backups: list[BackupRecord], asked_for: bool, result: ControlResult
) -> None:
    assert control(ENCRYPTED, health_of(backups, encrypted=asked_for)).result is result


def test_a_plain_backup_is_named_with_what_is_wrong_about_it() -> None:
    assert control(ENCRYPTED, health_of([backup(0.5), SECRET], encrypted=True)).evidence == (
        "1 of 2 are stored as plain text: full-0.5h. Encryption is asked for, and the newest has none."
    )


def key(name: str, age: timedelta | None) -> KeyRecord:
    return KeyRecord(name, None if age is None else NOW - age)


@pytest.mark.parametrize(
    ("age", "result"), [(timedelta(0), PASS), (YEAR, PASS), (YEAR + timedelta(microseconds=1), FAIL)]
)
def test_a_key_is_to_be_rotated_after_a_year(age: timedelta, result: ControlResult) -> None:
    assert control(ROTATED, health_of([SECRET], keys=(key("main", age),))).result is result


def test_the_oldest_key_decides_and_what_to_do_is_said() -> None:
    keys = (key("escrow", YEAR * 2), key("main", YEAR / 5), key("kms", None))
    found = control(ROTATED, health_of([SECRET], keys=keys))

    assert found.result is FAIL
    assert "The key 'escrow' is 730d 0h old" in found.evidence
    assert "The age of 'kms' is known to its keeper alone." in found.evidence
    assert "`db-backup keys rotate`" in found.evidence


def test_a_key_counts_before_the_first_encrypted_backup_and_none_without_encryption() -> None:
    old = (key("main", YEAR * 2),)

    assert control(ROTATED, health_of([backup()], keys=old)).result is NOT_APPLICABLE
    assert control(ROTATED, health_of([backup()], keys=old, encrypted=True)).result is FAIL
    assert control(ROTATED, health_of([SECRET], keys=(key("kms", None),))).result is NOT_APPLICABLE


def test_a_key_that_is_not_to_be_had_fails() -> None:
    lost = KeyRecord("main", None, missing="There is no file main.json.")
    found = control(ROTATED, health_of([SECRET], keys=(key("escrow", YEAR / 5), lost)))

    assert found.result is FAIL
    assert found.evidence.endswith("not to be had. 'main': There is no file main.json.")


def canary(opened: bool | None, ago: timedelta = timedelta(hours=6), reason: str = "") -> CanaryRecord:
    return CanaryRecord(NOW - ago, "full-1h", opened, reason)


@pytest.mark.parametrize(
    ("last", "result", "told"),
    [
        (canary(True), PASS, "The key of full-1h, 6h 00m ago, was really opened."),
        (canary(True, timedelta(days=2)), PASS, "really opened"),
        (canary(True, timedelta(days=3)), WARNING, "The daily DAG backup_verification tries it"),
        (canary(False, reason="No key 'main' opens it."), FAIL, "was not to be opened: No key 'main' opens it."),
        (canary(None, reason="It is escrowed."), NOT_APPLICABLE, "Not tried of full-1h, 6h 00m ago: It is escrowed."),
    ],
)
def test_the_canary_tells_whether_the_key_is_still_there(last: CanaryRecord, result: ControlResult, told: str) -> None:
    found = control(OPENS, health_of([SECRET], canary=last))

    assert found.result is result
    assert told in found.evidence


def test_a_key_that_was_never_tried_is_due_after_two_days() -> None:
    assert control(OPENS, health_of([backup()])).result is NOT_APPLICABLE
    assert control(OPENS, health_of([SECRET])).result is NOT_APPLICABLE
    assert control(OPENS, health_of([backup(49, encrypted=True)])).result is WARNING
