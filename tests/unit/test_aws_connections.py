"""Which fields of an ``aws`` connection say what of the access to a bucket. No network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError
from botocore.stub import Stubber

import db_backup
from db_backup.connections import S3Access, aws_client, storage_access
from db_backup.connections.aws import _expiry
from db_backup.errors import ConfigurationError, ConnectionNotFound, StorageAccessDenied
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.opening import OpenedAccess

pytestmark = pytest.mark.unit

SECRETS = ("hunter2", "s3cret", "t0ken")
KEYS = {"conn_type": "aws", "login": "AKIA1", "password": "s3cret"}
ENDPOINT = {"endpoint_url": "http://kms:1"}
IN_FRANKFURT = {"region_name": "eu-central-1"}


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_DEFAULT_REGION", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def access(
    fields: dict[str, Any] | str | None = None, *, url: str = "s3://bucket/db", conn_id: str | None = None
) -> S3Access:
    """By a connection of that id (None: the usual one), which is in the environment alone."""
    text = fields if isinstance(fields, str) else json.dumps(fields)
    environment = {"AIRFLOW_HOME": "/nowhere"}
    if fields is not None:
        environment[f"AIRFLOW_CONN_{(conn_id or 'aws_default').upper()}"] = text
    found = storage_access(StorageAddress.parse(url), conn_id, environment=environment)
    assert isinstance(found, S3Access)
    return found


def refused(fields: dict[str, Any] | str | None = None, **how: Any) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        access(fields, **how)
    assert refusal.value.hint
    said = str(refusal.value)
    assert not any(secret in said for secret in SECRETS)
    return said


@pytest.mark.parametrize(
    "fields",
    [
        KEYS | {"extra": IN_FRANKFURT},
        {
            "conn_type": "aws",
            "extra": {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s3cret", **IN_FRANKFURT},
        },
        {
            "conn_type": "aws",
            "extra": {
                "session_kwargs": {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "s3cret"},
                "config_kwargs": IN_FRANKFURT,
            },
        },
        "aws://AKIA1:s3cret@/?region_name=eu-central-1",
        KEYS | {"conn_type": "s3", "extra": IN_FRANKFURT},
        KEYS | {"extra": json.dumps({"extra__aws__region_name": "eu-central-1"})},
    ],
)
def test_keys_are_the_login_and_password_or_of_the_extra(fields: dict[str, Any] | str) -> None:
    found = access(fields)
    assert (found.bucket, found.prefix, found.region) == ("bucket", "db", "eu-central-1")
    assert found.credentials() == {
        "access_key_id": "AKIA1",
        "secret_access_key": "s3cret",
        "token": None,
        "expires_at": None,
    }


def test_the_login_wins_over_the_extra() -> None:
    extra = {"aws_access_key_id": "AKIA2", "aws_secret_access_key": "other", **IN_FRANKFURT}
    assert access(KEYS | {"extra": extra}).credentials()["access_key_id"] == "AKIA1"


def test_a_session_token_goes_with_the_keys() -> None:
    found = access(KEYS | {"extra": {"aws_session_token": "t0ken", **IN_FRANKFURT}})
    assert found.credentials()["token"] == "t0ken"


def test_nothing_secret_shows() -> None:
    found = access(KEYS | {"extra": {"aws_session_token": "t0ken", **IN_FRANKFURT}})
    assert not any(secret in repr(found) for secret in SECRETS)


@pytest.mark.parametrize(
    ("fields", "there", "missing"),
    [
        ({"conn_type": "aws", "login": "AKIA1"}, "login", "password"),
        ({"conn_type": "aws", "password": "s3cret"}, "password", "login"),
        ({"conn_type": "aws", "extra": {"aws_secret_access_key": "s3cret"}}, "aws_secret_access_key", "aws_access_key"),
    ],
)
def test_half_a_pair_of_keys_is_refused(fields: dict[str, Any], there: str, missing: str) -> None:
    assert f"it has a {there} and no {missing}" in refused(fields)


def test_without_a_connection_the_credentials_of_this_machine_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA9")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for fields in (None, {"conn_type": "aws"}):
        found = access(fields)
        assert found.credentials()["access_key_id"] == "AKIA9"
        assert found.region == "eu-west-1"


@pytest.mark.parametrize("fields", [None, {"conn_type": "aws"}, {"conn_type": "aws", "extra": IN_FRANKFURT}])
def test_where_nothing_gives_credentials_it_is_refused_with_what_to_fill_in(fields: dict[str, Any] | None) -> None:
    said = refused(fields)
    assert "no credentials" in said
    assert "AIRFLOW_CONN_AWS_DEFAULT=" in said
    assert ("There is no connection 'aws_default'" in said) == (fields is None)


def test_another_connection_than_the_usual_one_must_exist() -> None:
    with pytest.raises(ConnectionNotFound, match="There is no connection 'minio'") as refusal:
        access(conn_id="minio")
    assert '"conn_type": "aws"' in refusal.value.hint


@pytest.mark.parametrize("fields", ["postgres://me:hunter2@db/shop", "wasb://account:hunter2@", "gcpssh://h"])
def test_a_connection_of_another_type_is_refused(fields: str) -> None:
    said = refused(fields)
    assert "s3://bucket/db takes one of type aws" in said
    assert "Name another conn_id" in said


def test_a_profile_is_taken_from_the_files_of_aws(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[backups]\naws_access_key_id = AKIA7\naws_secret_access_key = s3cret\n")
    (tmp_path / "config").write_text("[profile backups]\nregion = eu-north-1\n")
    found = access({"conn_type": "aws", "extra": {"profile_name": "backups"}})
    assert (found.credentials()["access_key_id"], found.region) == ("AKIA7", "eu-north-1")


def test_a_profile_that_is_not_there_is_named() -> None:
    assert "backups" in refused({"conn_type": "aws", "extra": {"profile_name": "backups"}})


class TestEndpoints:
    @pytest.mark.parametrize(
        "extra",
        [
            {"endpoint_url": "http://minio:9000/"},
            {"service_config": {"s3": {"endpoint_url": "http://minio:9000"}}},
            {"endpoint_url": "https://elsewhere", "service_config": {"s3": {"endpoint_url": "http://minio:9000"}}},
        ],
    )
    def test_that_of_s3_wins_over_the_general_one(self, extra: dict[str, Any]) -> None:
        found = access(KEYS | {"extra": extra})
        assert found.endpoint == "http://minio:9000"
        assert found.allow_http
        assert found.client("s3").meta.endpoint_url == "http://minio:9000"

    def test_that_of_another_service_is_its_own(self) -> None:
        extra = {"service_config": {"kms": {"endpoint_url": "http://kms:1"}}, **IN_FRANKFURT}
        found = access(KEYS | {"extra": extra})
        assert found.endpoint == ""
        assert not found.allow_http
        assert found.client("kms").meta.endpoint_url == "http://kms:1"

    def test_the_environments_counts_where_the_connection_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
        assert access(KEYS | {"extra": IN_FRANKFURT}).endpoint == "https://s3.example.com"

    @pytest.mark.parametrize(
        ("extra", "endpoint"),
        [
            ({"region_name": "cn-north-1"}, "https://s3.cn-north-1.amazonaws.com.cn"),
            (IN_FRANKFURT | {"config_kwargs": {"use_fips_endpoint": True}}, "https://s3-fips.eu-central-1"),
            (IN_FRANKFURT | {"config_kwargs": {"use_dualstack_endpoint": True}}, "https://s3.dualstack.eu-central-1"),
        ],
    )
    def test_amazons_other_hosts_are_named(self, extra: dict[str, Any], endpoint: str) -> None:
        found = access(KEYS | {"extra": extra})
        assert found.url.startswith(endpoint)
        assert found.url == found.client("s3").meta.endpoint_url

    def test_obstore_goes_where_the_connection_says_whatever_its_own_variables_say(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT", "https://elsewhere.example.com")
        config = OpenedAccess(access(KEYS | {"extra": IN_FRANKFURT}), Limits()).once.config
        assert config["endpoint"] == "https://bucket.s3.eu-central-1.amazonaws.com"

    def test_a_host_without_its_protocol_is_refused(self) -> None:
        assert "endpoint_url does not begin with https://" in refused(KEYS | {"extra": {"endpoint_url": "minio:9000"}})

    def test_no_region_is_asked_for_where_the_endpoint_is_nobody_elses(self) -> None:
        assert access(KEYS | {"extra": {"endpoint_url": "http://minio:9000"}}).region == "us-east-1"


@pytest.mark.parametrize(
    ("url", "extra", "path_style"),
    [
        ("s3://bucket", {}, False),
        ("s3://bucket.with.dots", {}, True),
        ("s3://bucket", {"endpoint_url": "http://minio:9000"}, True),
        ("s3://bucket", {"config_kwargs": {"s3": {"addressing_style": "path"}}}, True),
        (
            "s3://bucket",
            {"endpoint_url": "https://oss", "config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            False,
        ),
    ],
)
def test_the_bucket_is_in_the_path_where_it_must_be_or_is_said_to(
    url: str, extra: dict[str, Any], path_style: bool
) -> None:
    assert access(KEYS | {"extra": extra | IN_FRANKFURT}, url=url).path_style is path_style


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"config_kwargs": {"signature_version": "unsigned"}}, "it is anonymous"),
        ({"config_kwargs": {"client_cert": "/client.pem"}}, "its config_kwargs have client_cert"),
        ({"config_kwargs": {"proxies": {"https": "backup:hunter2@proxy:3128"}}}, "a proxy that is none"),
        (
            {"config_kwargs": {"proxies_config": {"proxy_ca_bundle": "/ca.pem"}}},
            "its config_kwargs have proxies_config",
        ),
        ({"role_arn": "arn:aws:iam::123456789012:role/backups", "assume_role_method": "sso"}, "assume_role_method"),
    ],
)
def test_another_way_in_that_cannot_be_taken_is_refused(extra: dict[str, Any], words: str) -> None:
    assert words in refused(KEYS | {"extra": extra | IN_FRANKFURT})


def test_the_proxy_of_the_connection_is_that_of_the_transfers_too() -> None:
    proxies = {"https": "http://backup:hunter2@proxy:3128", "http": "http://other:1"}
    found = access(KEYS | {"extra": {"config_kwargs": {"proxies": proxies}, **IN_FRANKFURT}})
    assert OpenedAccess(found, Limits()).once.client_options["proxy_url"] == proxies["https"]
    assert "hunter2" not in repr(found)


def test_settings_of_botocore_that_are_none_are_refused() -> None:
    found = access(KEYS | {"extra": {"config_kwargs": {"retrys": 3}, **IN_FRANKFURT}})
    with pytest.raises(ConfigurationError, match="config_kwargs are not valid"):
        found.client("s3")


class TestCertificates:
    def test_verify_names_a_file_of_certificates(self, tmp_path: Path) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.write_text("certificate")
        found = access(KEYS | {"extra": {"verify": str(bundle), "endpoint_url": "https://minio"}})
        assert (found.ca_bundle, found.verify_tls) == (bundle, True)

    def test_a_file_that_is_not_there_is_refused(self) -> None:
        assert "/no/ca.pem, and there is no such file" in refused(KEYS | {"extra": {"verify": "/no/ca.pem"}})

    @pytest.mark.parametrize("verify", [False, "false", "False"])
    def test_verify_off_is_off(self, verify: bool | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path))
        found = access(KEYS | {"extra": {"verify": verify, "endpoint_url": "https://minio"}})
        assert (found.ca_bundle, found.verify_tls) == (None, False)

    def test_the_environments_bundle_counts_as_it_does_for_aws_own_tools(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        assert access(KEYS | {"extra": {"endpoint_url": "https://minio"}}).ca_bundle == tmp_path / "ca.pem"


def test_a_role_by_web_identity_takes_airflows_provider_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.amazon.aws.hooks.base_aws", None)
    extra = {"role_arn": "arn:aws:iam::123456789012:role/r", "assume_role_method": "assume_role_with_web_identity"}
    assert "takes Airflow's Amazon provider" in refused(KEYS | {"extra": extra})


class TestRegionOfTheBucket:
    """Amazon answers only where the bucket is; Airflow's connections mostly do not say where."""

    @pytest.fixture
    def answering(self, monkeypatch: pytest.MonkeyPatch) -> Stubber:
        client = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        monkeypatch.setattr("db_backup.connections.aws._Aws.client", lambda *_: client)
        return Stubber(client)

    def test_it_is_asked_for(self, answering: Stubber) -> None:
        headers = {"HTTPHeaders": {"x-amz-bucket-region": "eu-south-1"}}
        answering.add_response("head_bucket", {"ResponseMetadata": headers})
        with answering:
            assert access(KEYS).region == "eu-south-1"

    def test_a_refusal_tells_it_as_well(self, answering: Stubber) -> None:
        headers = {"HTTPHeaders": {"x-amz-bucket-region": "eu-south-1"}}
        answering.add_client_error("head_bucket", "403", response_meta=headers)
        with answering:
            assert access(KEYS).region == "eu-south-1"


def test_the_moment_at_which_credentials_expire_is_in_utc_itself() -> None:
    """obstore takes datetime.timezone.utc and no other zone, even one that equals it."""
    expiry = datetime.now(UTC) + timedelta(hours=1)
    metadata = {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": expiry.isoformat()}
    found = _expiry(RefreshableCredentials.create_from_metadata(metadata, lambda: metadata, "sts"))
    assert found is not None
    assert abs(found - expiry) < timedelta(seconds=1)
    assert found.tzinfo is UTC


KEYS_ALONE = """
import json, sys
from db_backup.connections import storage_access
from db_backup.settings.addresses import StorageAddress
for extra in ({"region_name": "eu-central-1"}, {"endpoint_url": "http://minio:9000"}):
    fields = {"conn_type": "aws", "login": "a", "password": "b", "extra": extra}
    environment = {"AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(fields)}
    storage_access(StorageAddress.parse("s3://bucket"), environment=environment).credentials()
print(sorted({"boto3", "botocore"} & set(sys.modules)))
"""


def test_keys_in_the_connection_take_no_boto3() -> None:
    """Its session costs as much memory as two parts of an upload."""
    done = subprocess.run(
        [sys.executable, "-c", KEYS_ALONE],
        env={**os.environ, "PYTHONPATH": str(Path(db_backup.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_region_and_an_endpoint_may_be_of_the_default_profile(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-north-1\nendpoint_url = https://s3.example.com\n")
    found = access(KEYS)
    assert (found.region, found.endpoint) == ("eu-north-1", "https://s3.example.com")


def test_a_role_that_may_not_be_assumed_is_told_with_the_word_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> dict[str, str]:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "hunter2"}}, "AssumeRole")

    monkeypatch.setattr("db_backup.connections.aws._Aws._assume_role", refuse)
    with pytest.raises(StorageAccessDenied, match="AssumeRole says AccessDenied") as refusal:
        access(KEYS | {"extra": {"role_arn": "arn:aws:iam::123456789012:role/r"}})
    assert "role_arn" in refusal.value.hint
    assert "hunter2" not in str(refusal.value)


def test_another_service_is_given_up_sooner_unless_the_connection_says_otherwise() -> None:
    for config, patience in (({}, (10, 20, 3)), ({"read_timeout": 50, "retries": {"max_attempts": 7}}, (10, 50, 8))):
        extra = {**IN_FRANKFURT, "config_kwargs": config}
        told = {"AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(KEYS | {"extra": extra})}
        found = aws_client("kms", environment=told).meta.config
        assert (found.connect_timeout, found.read_timeout, found.retries["total_max_attempts"]) == patience


def test_another_service_of_aws_takes_the_same_kind_of_connection() -> None:
    environment = {"AIRFLOW_CONN_KEYS": json.dumps(KEYS | {"extra": {"service_config": {"kms": ENDPOINT}}})}
    assert aws_client("kms", "keys", environment=environment).meta.endpoint_url == "http://kms:1"
    with pytest.raises(ConfigurationError, match="of type 'http', and kms takes one of type aws"):
        aws_client("kms", "keys", environment={"AIRFLOW_CONN_KEYS": "http://host"})
