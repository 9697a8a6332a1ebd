"""The controls of where copies lie: 3-2-1, and every copy that is wanted."""

from __future__ import annotations

from typing import Any

import pytest

from db_backup.health import BackupRecord, Control, ControlResult
from support.health_records import backup, control, health_of

pytestmark = pytest.mark.unit

PASS, WARNING, FAIL, NOT_APPLICABLE = ControlResult
KINDS = {"local": "disk", "usb": "disk", "s3": "s3", "gcs": "gcs"}


def three_two_one(*backups: BackupRecord, **wanted: Any) -> Control:
    return control("3-2-1", health_of(backups, kinds=KINDS, **wanted))


def wanted_copies(*backups: BackupRecord, **wanted: Any) -> Control:
    return control("every wanted copy exists", health_of(backups, kinds=KINDS, **{"wanted": ("local", "s3"), **wanted}))


@pytest.mark.parametrize(
    ("storages", "off_site", "lacking"),
    [
        (("local", "s3"), {"s3"}, []),
        (("s3", "gcs"), {"gcs"}, []),
        (("local", "usb"), {"usb"}, ["1 of 2 kinds of storage"]),
        (("local", "s3"), set(), ["none is off-site"]),
        (("s3",), {"s3"}, ["2 of 3 copies", "1 of 2 kinds of storage"]),
        (("local",), {"s3"}, ["2 of 3 copies", "1 of 2 kinds of storage", "none is off-site"]),
    ],
)
def test_3_2_1_counts_the_database_two_kinds_and_one_place_elsewhere(
    storages: tuple[str, ...], off_site: set[str], lacking: list[str]
) -> None:
    found = three_two_one(backup(storages=storages), off_site=frozenset(off_site))

    assert found.result is (FAIL if lacking else PASS)
    assert [
        words for words in ("2 of 3 copies", "1 of 2 kinds of storage", "none is off-site") if words in found.evidence
    ] == lacking
    assert "database itself" in found.evidence or "2 of 3 copies" not in lacking


def test_a_damaged_copy_counts_for_nothing_in_3_2_1() -> None:
    found = three_two_one(backup(storages=("local", "s3"), damaged=("s3",)))

    assert found.result is FAIL
    assert "2 of 3 copies" in found.evidence


def test_a_storage_that_is_not_configured_any_more_counts_for_nothing() -> None:
    assert three_two_one(backup(storages=("local", "s3", "gone"))).result is PASS
    assert "2 of 3 copies" in three_two_one(backup(storages=("local", "gone")), off_site=frozenset({"gone"})).evidence


def test_an_older_backup_that_has_all_makes_3_2_1_a_warning() -> None:
    found = three_two_one(backup(1, storages=("local",)), backup(25, storages=("local", "s3")))

    assert found.result is WARNING
    assert "full-25h" in found.evidence


def test_without_a_backup_3_2_1_fails() -> None:
    assert three_two_one().result is FAIL


def test_a_wanted_copy_may_be_missing_for_a_day() -> None:
    assert wanted_copies(backup(1, storages=("local", "s3"))).result is PASS
    assert wanted_copies(backup(23, missing=("s3",))).result is WARNING
    late = wanted_copies(backup(25, missing=("s3",)), backup(1, storages=("local", "s3")))
    assert late.result is FAIL
    assert "1 of 2 backups: full-25h: missing in s3." in late.evidence


def test_a_storage_that_was_configured_later_misses_what_is_older() -> None:
    found = wanted_copies(backup(48), wanted=("local", "s3"))

    assert (found.result, "missing in s3" in found.evidence) == (FAIL, True)


def test_a_damaged_copy_is_one_that_is_wanted() -> None:
    found = wanted_copies(backup(48, storages=("local", "s3"), damaged=("local",)))

    assert (found.result, "damaged in local" in found.evidence) == (FAIL, True)


def test_a_local_copy_that_is_not_to_stay_is_not_missed() -> None:
    let_go = {"wanted": ("s3",), "unwanted": frozenset({"local"})}

    assert wanted_copies(backup(48, storages=("s3",), missing=("local",)), **let_go).result is PASS


def test_without_backups_no_copy_is_wanted() -> None:
    assert wanted_copies().result is NOT_APPLICABLE
