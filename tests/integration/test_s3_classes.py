"""What moving an object on S3 must not lose, and what S3 answers where the whole product is not tested."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from db_backup.errors import ObjectMissing, StorageAccessDenied, StorageError
from db_backup.storage.object_store import s3_classes
from db_backup.storage.object_store.s3_classes import S3Classes
from support.moto_server import S3Server

pytestmark = pytest.mark.integration

_PATH = "backups/database/backup_shop_full_2026-01-31_03-00-00.sql.gz"
_BIG = bytes(range(256)) * 50_000  # 12.8 MB


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def client(s3_server: S3Server) -> Any:
    return s3_server.client()


@pytest.fixture
def classes(client: Any, bucket: str) -> S3Classes:
    return S3Classes(lambda: client, bucket, "storage 's3' (s3://bucket/backups)")


def test_an_object_too_large_for_one_copy_is_copied_in_parts_and_keeps_its_metadata(
    classes: S3Classes, client: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_classes, "_LARGEST_SINGLE_COPY", 6 << 20)
    monkeypatch.setattr(s3_classes, "_COPIED_PART", 6 << 20)
    client.put_object(Bucket=bucket, Key=_PATH, Body=_BIG, ContentType="application/gzip", Metadata={"made-by": "us"})

    classes.archive(_PATH, "GLACIER_IR")

    found = client.get_object(Bucket=bucket, Key=_PATH)
    assert (found["ContentType"], found["Metadata"]) == ("application/gzip", {"made-by": "us"})
    assert found["ETag"].strip('"').endswith("-3"), "it was copied in three parts"
    assert found["Body"].read() == _BIG
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_an_object_that_changes_meanwhile_is_not_overwritten(classes: S3Classes, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key=_PATH, Body=b"old")
    head = client.head_object(Bucket=bucket, Key=_PATH)
    client.put_object(Bucket=bucket, Key=_PATH, Body=b"new, by somebody else")

    with mock.patch.object(classes, "_head", return_value=head), pytest.raises(StorageError):
        classes.archive(_PATH, "GLACIER_IR")

    assert client.get_object(Bucket=bucket, Key=_PATH)["Body"].read() == b"new, by somebody else"


def test_what_comes_out_otherwise_is_told(classes: S3Classes, client: Any, bucket: str) -> None:
    client.put_object(Bucket=bucket, Key=_PATH, Body=b"bytes")

    def copied_wrongly(*_: object) -> None:
        client.put_object(Bucket=bucket, Key=_PATH, Body=b"shorter", StorageClass="GLACIER_IR")

    with mock.patch.object(classes, "_copy", copied_wrongly), pytest.raises(StorageError, match="not what it was"):
        classes.archive(_PATH, "GLACIER_IR")


@pytest.mark.parametrize(
    ("head", "readable", "thawing"),
    [
        ({}, True, False),
        ({"StorageClass": "GLACIER_IR"}, True, False),
        ({"StorageClass": "GLACIER"}, False, False),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, False, True),
        (
            {
                "StorageClass": "DEEP_ARCHIVE",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"',
            },
            True,
            False,
        ),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"}, False, False),
        ({"StorageClass": "INTELLIGENT_TIERING"}, True, False),
    ],
)
def test_what_s3_says_of_an_object_is_understood(
    classes: S3Classes, head: dict[str, str], readable: bool, thawing: bool
) -> None:
    with mock.patch.object(classes, "_head", return_value=head):
        found = classes.temperature(_PATH)

    assert (found.readable, found.thawing) == (readable, thawing)


def test_what_is_denied_says_which_right_is_missing(s3_server: S3Server, bucket: str) -> None:
    from botocore.exceptions import ClientError

    denied = mock.Mock()
    answer: Any = {"Error": {"Code": "AccessDenied", "Message": "no"}}
    denied.head_object.side_effect = ClientError(answer, "HeadObject")
    classes = S3Classes(lambda: denied, bucket, "storage 's3' (s3://bucket/backups)")

    with pytest.raises(StorageAccessDenied, match="access is denied") as raised:
        classes.temperature(_PATH)

    assert "HeadObject" in raised.value.hint


def test_what_is_gone_is_missing(classes: S3Classes) -> None:
    with pytest.raises(ObjectMissing, match=_PATH):
        classes.thaw(_PATH, days=1)
