"""What object storages say, told as one sentence with what to do about it."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from obstore.exceptions import GenericError

from db_backup.connections.access import GoogleAccess
from db_backup.errors import BackupError, ObjectCold, StorageAccessDenied, StorageError, StorageNotMounted
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.base import Temperature
from db_backup.storage.object_store.azure_tiers import AzureTiers
from db_backup.storage.object_store.explaining import Place, may_pass
from db_backup.storage.object_store.gcs_classes import GcsClasses
from support.cloud_server import CloudServer
from support.faulty_proxy import Fault, FaultyProxy
from support.moto_server import S3Server
from support.ports import free_port
from support.tls_proxy import tls_proxy

pytestmark = pytest.mark.integration

_PART = "database/backup_shop_full_2026-01-31_03-00-00.sql.gz"
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
_OF_AN_AUTHORITY = GenericError(
    "Generic S3 error: Error performing GET https://user:secret@host:9000/key?sig=secret in 1s - HTTP error: error "
    "sending request\n\nDebug source:\nInvalidCertificate(Other(OtherError(CaUsedAsEndEntity)))"
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
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:{closed}", "127.0.0.1:{closed} refuses the connection"),
        ("http://storage.invalid:9000", "no address was found for storage.invalid:9000"),
        ("https://127.0.0.1:{open}", "127.0.0.1:{open} does not speak TLS"),
    ],
)
def test_who_was_not_reached_is_named_and_why(s3_server: S3Server, endpoint: str, reason: str) -> None:
    ports = {"closed": free_port(), "open": s3_server.endpoint.rpartition(":")[2]}
    storage = S3Server.at(endpoint.format(**ports)).storage("bucket")

    with pytest.raises(StorageError) as raised:
        storage.stat("metadata/a.json")

    assert reason.format(**ports) in raised.value.message
    assert raised.value.hint


def test_an_authoritys_certificate_is_told_from_one_that_nobody_trusts(s3_server: S3Server, tmp_path: Path) -> None:
    with tls_proxy(s3_server.endpoint, tmp_path) as (endpoint, _), pytest.raises(StorageError) as raised:
        S3Server.at(endpoint).storage("bucket").stat("metadata/a.json")
    assert "signed by nobody whom this machine trusts" in raised.value.message

    told = _PLACE.explain(_OF_AN_AUTHORITY, "key", "read")
    assert "that of an authority" in told.message
    assert "secret" not in told.message
    assert not may_pass(_OF_AN_AUTHORITY)


def test_a_server_that_is_no_object_storage_is_not_taken_for_an_empty_one(s3_server: S3Server) -> None:
    with FaultyProxy.before(s3_server.endpoint) as proxy:
        storage = s3_server.storage(s3_server.new_bucket(), endpoint=proxy.endpoint)
        proxy.let(Fault(lambda request: True, status=404, times=None))

        with pytest.raises(StorageNotMounted, match="what answers is no object storage"):
            storage.initialise()


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


@pytest.mark.parametrize("server", ["azurite_server", "gcs_server", "s3_server"])
def test_a_redirect_is_no_answer_to_what_class_an_object_is_in(server: str, request: pytest.FixtureRequest) -> None:
    cloud: CloudServer = request.getfixturevalue(server)
    with FaultyProxy.before(cloud.endpoint) as proxy:
        storage = cloud.storage(cloud.new_bucket(), endpoint=proxy.endpoint)
        storage.initialise()
        storage.create(_PART, b"bytes")
        proxy.let(Fault(lambda request: _PART in request.name, status=301))
        proxy.let(Fault(lambda request: request.method == "HEAD", status=301))  # botocore asks for the bucket's region

        with pytest.raises(StorageError):
            storage.temperature(_PART)


def test_a_tier_that_was_not_taken_is_told() -> None:
    tiers = AzureTiers(mock.Mock(), mock.Mock(), "storage 'azure'")

    with (
        mock.patch.object(tiers, "temperature", return_value=Temperature("Hot")),
        mock.patch.object(tiers, "_set_tier"),
        pytest.raises(StorageError, match="is in Hot"),
    ):
        tiers.archive(_PART, "Cool")


def test_a_page_in_place_of_the_storages_id_is_not_repeated(s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    storage = s3_server.storage(bucket)
    storage.initialise()
    s3_server.client().put_object(Bucket=bucket, Key="backups/.storage-id", Body=b"<html>\n<p>Sign in</p>\n</html>")

    with pytest.raises(StorageNotMounted, match="holds something that is no id, not") as raised:
        storage.create(_PART, b"bytes")

    assert "html" not in raised.value.message
