"""Addresses of storages."""

from __future__ import annotations

from pathlib import Path

import pytest

from db_backup.settings.addresses import StorageAddress, StorageKind
from db_backup.settings.problems import WrongValue

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", StorageAddress(StorageKind.S3, "bucket")),
        ("s3://my.bucket-1/some/folder/", StorageAddress(StorageKind.S3, "my.bucket-1", "some/folder")),
        ("gs://my_bucket/db", StorageAddress(StorageKind.GCS, "my_bucket", "db")),
        ("azure://container/db", StorageAddress(StorageKind.AZURE, "container", "db")),
        ("wasbs://container", StorageAddress(StorageKind.AZURE, "container")),
        (
            "abfss://container@account1.dfs.core.windows.net/db",
            StorageAddress(StorageKind.AZURE, "container", "db", "account1"),
        ),
        ("file:///mnt/my%20nas/", StorageAddress(StorageKind.DISK, folder=Path("/mnt/my nas"))),
    ],
)
def test_an_address_is_taken_apart(url: str, expected: StorageAddress) -> None:
    assert StorageAddress.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("bucket/prefix", "an address such as s3://"),
        ("https://bucket.s3.amazonaws.com", "an address such as s3://"),
        ("s3://", "bucket has 3 to 63"),
        ("s3://Bucket", "bucket has 3 to 63"),
        ("s3://a..b", "bucket has 3 to 63"),
        ("s3://my_bucket", "bucket has 3 to 63"),
        ("gs://ab", "bucket has 3 to 63"),
        ("azure://a--b", "container has 3 to 63"),
        ("azure://con.tainer", "container has 3 to 63"),
        ("s3://bucket/a//b", "folders"),
        ("s3://bucket/../b", "folders"),
        ("s3://bucket/a\\b", "folders"),
        ("s3://bucket/a?versionId=1", "without ? and #"),
        ("s3://bucket@host/a", "without a login"),
        ("azure://container@example.com/a", "without a login"),
        ("file://relative", "an absolute folder"),
        ("file:///", "an absolute folder"),
    ],
)
def test_what_leads_to_no_storage_is_refused_with_the_rule(url: str, allowed: str) -> None:
    with pytest.raises(WrongValue, match=allowed.replace("?", r"\?")):
        StorageAddress.parse(url)


def test_the_scheme_that_was_meant_is_suggested_but_never_with_a_login() -> None:
    with pytest.raises(WrongValue) as refusal:
        StorageAddress.parse("gcs://bucket/db")
    assert refusal.value.nearest == "gs://bucket/db"
    with pytest.raises(WrongValue) as refusal:
        StorageAddress.parse("gcs://key:hunter2@bucket/db")
    assert "hunter2" not in f"{refusal.value} {refusal.value.nearest}"


def test_an_address_is_shown_without_its_account() -> None:
    assert str(StorageAddress.parse("wasbs://container@account1.blob.core.windows.net/db/")) == "azure://container/db"
    assert str(StorageAddress.parse("gs://bucket")) == "gs://bucket"
    assert str(StorageAddress.parse("file:///mnt/nas")) == "/mnt/nas"
