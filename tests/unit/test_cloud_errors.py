"""What object storages say, told as one sentence with what to do about it."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError

from db_backup.connections.access import GoogleAccess
from db_backup.errors import BackupError, ObjectCold, StorageAccessDenied, StorageError
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.object_store.explaining import Place, may_pass
from db_backup.storage.object_store.gcs_classes import GcsClasses

pytestmark = pytest.mark.unit

_PLACE = Place("s3", StorageAddress.parse("s3://bucket/backups"))
_REDIRECT = GenericError(
    "Generic S3 error: Error performing GET http://host/bucket/key in 720.8µs - Received redirect without LOCATION, "
    "this normally indicates an incorrectly configured region\n\nDebug source:\nGeneric { secret }"
)
_MALFORMED = GenericError(
    "Generic S3 error: Error performing GET https://host/key in 1s - Server returned non-2xx status code: 400 Bad "
    "Request: <Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the "
    "region 'us-east-1' is wrong; expecting 'eu-central-1'</Message></Error>"
)
_FROZEN = GenericError("status code: 403 Forbidden: <Error><Code>InvalidObjectState</Code></Error>")


@pytest.mark.parametrize("error", [_REDIRECT, _MALFORMED])
def test_a_bucket_in_another_region_is_said_to_be_there_and_not_asked_again(error: Exception) -> None:
    told = _PLACE.explain(error, "key", "read")

    assert "region" in told.message
    assert "region_name" in told.hint
    assert "Received" not in told.message
    assert not may_pass(error)


@pytest.mark.parametrize(
    ("key", "fix"), [("database/part", "restore` has it thawed"), ("metadata/a.json", "rule of the bucket")]
)
def test_only_parts_are_thawed_by_a_restore(key: str, fix: str) -> None:
    told = _PLACE.explain(_FROZEN, key, "read")

    assert isinstance(told, ObjectCold)
    assert fix in told.hint


@pytest.mark.parametrize(("status", "kind"), [(403, StorageAccessDenied), (503, StorageError)])
def test_only_whoever_is_denied_is_told_to_get_rights(status: int, kind: type[BackupError]) -> None:
    access = GoogleAccess("google", "bucket", "", token=lambda: {"token": "t", "expires_at": None})
    told = GcsClasses(access, "storage 'gs'")._refusal(status, "key", "be looked at")

    assert type(told) is kind
    assert ("role" in told.hint) == (status == 403)
