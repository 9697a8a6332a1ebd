"""Object storages by Airflow's connections in the environment, without Airflow: real servers on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.connections import S3Access, connection_variable, storage_access
from db_backup.errors import BackupError, ConfigurationError, StorageAccessDenied, StorageError
from db_backup.settings.addresses import StorageAddress
from db_backup.storage import ObjectStorage
from support.azurite_server import AzuriteServer
from support.cloud_server import QUICK, CloudServer
from support.faulty_proxy import Fault, FaultyProxy
from support.gcs_server import GcsServer
from support.google_tokens import TOKEN, TokenEndpoint
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database
from support.tls_proxy import tls_proxy

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::123456789012:role/backups"


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


def set_connection(project: Project, conn_id: str, fields: Mapping[str, Any]) -> None:
    project.environment[connection_variable(conn_id)] = json.dumps(fields)


def aws(server: S3Server, **extra: Any) -> dict[str, Any]:
    keys = {"login": server.key_id, "password": server.secret}
    return {"conn_type": "aws", **keys, "extra": {"endpoint_url": server.endpoint, **extra}}


def objects(server: CloudServer, bucket: str) -> set[str]:
    storage = server.storage(bucket, "db")
    return {found.key for folder in ("database", "metadata") for found in storage.list(folder)}


def backed_up(project: Project, *options: str, **environment: str) -> dict[str, Any]:
    (backup,) = project.json("create", "shop", "--no-verify", *options, **environment)["backups"]
    assert isinstance(backup, dict)
    return backup


def round_trip(project: Project, server: CloudServer, bucket: str, name: str) -> None:
    """A backup goes there alone, is shown there, and is found and read by a catalogue that knows nothing."""
    backup = backed_up(project, "--storage", name)
    assert backup["storages"] == [name]
    assert f"metadata/{backup['id']}.json" in objects(server, bucket)
    assert project.files() == set()
    fresh = {"BACKUP_CATALOG_PATH": str(project.folder / "fresh.sqlite")}
    assert project.run("catalog", "reindex", **fresh).returncode == 0
    (listed,) = project.json("list", **fresh)["backups"]
    assert (listed["id"], listed["storages"]) == (backup["id"], [name])
    verified = project.run("verify", backup["id"], "--level", "archive", **fresh)
    assert verified.returncode == 0, verified.stderr


def test_s3_by_the_usual_connection(project: Project, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    project.config.write_text(
        f"storages: {{s3: {{url: 's3://{bucket}/db'}}}}\ndatabases: {{shop: {{conn_id: shop_db}}}}\n"
    )
    set_connection(project, "aws_default", aws(s3_server))
    project.as_process = True
    round_trip(project, s3_server, bucket, "s3")


def test_azure_by_a_connection_string(project: Project, azurite_server: AzuriteServer) -> None:
    container = azurite_server.new_bucket()
    project.environment.update(BACKUP_CLOUD_DISK="azure", BACKUP_CLOUD_URL=f"azure://{container}/db")
    text = (
        f"AccountName={azurite_server.account};AccountKey={azurite_server.key};BlobEndpoint={azurite_server.endpoint}"
    )
    set_connection(project, "wasb_default", {"conn_type": "wasb", "extra": {"connection_string": text}})
    round_trip(project, azurite_server, container, "azure")


def test_azure_by_the_account_url_and_its_key(project: Project, azurite_server: AzuriteServer) -> None:
    container = azurite_server.new_bucket()
    project.environment.update(BACKUP_CLOUD_DISK="azure", BACKUP_CLOUD_URL=f"azure://{container}/db")
    fields = {"conn_type": "wasb", "host": azurite_server.endpoint, "password": azurite_server.key}
    set_connection(project, "wasb_default", fields)
    assert backed_up(project, "--storage", "azure")["storages"] == ["azure"]


def test_google_by_the_key_of_a_service_account(project: Project, gcs_server: GcsServer) -> None:
    bucket = gcs_server.new_bucket()
    project.environment.update(BACKUP_CLOUD_DISK="gcs", BACKUP_CLOUD_URL=f"gs://{bucket}/db")
    with TokenEndpoint.start() as tokens:
        extra = {"keyfile_dict": json.dumps(tokens.key()), "endpoint_url": gcs_server.endpoint}
        set_connection(project, "google_cloud_default", {"conn_type": "google_cloud_platform", "extra": extra})
        round_trip(project, gcs_server, bucket, "gcs")
        assert tokens.asked


def test_an_emulator_of_google_without_a_name(project: Project, gcs_server: GcsServer) -> None:
    bucket = gcs_server.new_bucket()
    project.environment.update(BACKUP_CLOUD_DISK="gcs", BACKUP_CLOUD_URL=f"gs://{bucket}/db")
    extra = {"is_anonymous": True, "endpoint_url": gcs_server.endpoint}
    set_connection(project, "google_cloud_default", {"conn_type": "google_cloud_platform", "extra": extra})
    assert backed_up(project, "--storage", "gcs")["storages"] == ["gcs"]


def test_backups_go_to_the_cloud_disk_as_well_when_the_cloud_is_enabled(project: Project, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    set_connection(project, "aws_default", aws(s3_server))
    cloud = {"BACKUP_CLOUD_DISK": "vault", "BACKUP_CLOUD_URL": f"s3://{bucket}/db"}
    assert backed_up(project, **cloud)["storages"] == ["local"]
    assert objects(s3_server, bucket) == set()
    both = backed_up(project, **cloud, BACKUP_CLOUD_ENABLED="true")
    assert both["storages"] == ["local", "vault"]
    assert f"metadata/{both['id']}.json" in objects(s3_server, bucket)


def test_without_a_connection_the_machines_own_credentials_open_it(
    project: Project, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.new_bucket()
    own = {
        "AWS_ACCESS_KEY_ID": s3_server.key_id,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret,
        "AWS_ENDPOINT_URL": s3_server.endpoint,
    }
    backup = backed_up(project, "--storage", "s3", BACKUP_CLOUD_URL=f"s3://{bucket}/db", **own)
    assert f"metadata/{backup['id']}.json" in objects(s3_server, bucket)


def test_where_nothing_opens_it_the_reason_and_the_fix_are_told(project: Project) -> None:
    done = project.run("create", "shop", "--storage", "s3", BACKUP_CLOUD_URL="s3://some-bucket/db")
    assert done.returncode == 2
    assert "There is no connection 'aws_default', and there are no credentials" in done.stderr
    assert "AIRFLOW_CONN_AWS_DEFAULT=" in done.stderr


def test_the_configuration_is_shown_without_asking_a_cloud_and_without_a_secret(project: Project) -> None:
    """Nothing listens on that port."""
    set_connection(
        project,
        "vault_conn",
        {"conn_type": "aws", "login": "AKIA", "password": "hunter2", "extra": {"endpoint_url": "http://127.0.0.1:9"}},
    )
    document = yaml.safe_load(project.config.read_text())
    document["storages"] = {"vault": {"url": "s3://bucket/db", "conn_id": "vault_conn", "off_site": True}}
    project.config.write_text(yaml.safe_dump(document))
    local, vault = project.json("config")["storages"]
    assert (local["name"], local["conn_id"]) == ("local", None)
    assert vault == {
        "name": "vault",
        "kind": "s3",
        "location": "s3://bucket/db",
        "conn_id": "vault_conn",
        "off_site": True,
    }
    shown = project.run("config").stdout
    assert "vault (s3://bucket/db by vault_conn)" in shown
    assert "hunter2" not in shown + json.dumps(vault)


class TestRoles:
    def access(self, server: S3Server, **extra: Any) -> S3Access:
        fields = aws(server, role_arn=ROLE, **extra)
        environment = {"AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(fields)}
        found = storage_access(StorageAddress.parse(f"s3://{server.new_bucket()}/db"), environment=environment)
        assert isinstance(found, S3Access)
        return found

    def test_a_role_is_assumed_and_its_credentials_say_when_they_expire(self, s3_server: S3Server) -> None:
        sts = {"service_config": {"sts": {"endpoint_url": s3_server.endpoint}}}
        found = self.access(s3_server, **sts, assume_role_kwargs={"DurationSeconds": 7200, "ExternalId": "shop"})
        credentials = found.credentials()
        assert credentials["access_key_id"].startswith("ASIA")
        assert credentials["token"]
        assert credentials["expires_at"] is not None
        assert credentials["expires_at"].tzinfo is UTC
        left = credentials["expires_at"] - datetime.now(UTC)
        assert timedelta(minutes=115) < left <= timedelta(minutes=120)
        assert found.credentials() == credentials

    def test_credentials_that_are_about_to_expire_are_renewed(self, s3_server: S3Server) -> None:
        sts = {"service_config": {"sts": {"endpoint_url": s3_server.endpoint}}}
        found = self.access(s3_server, **sts, assume_role_kwargs={"DurationSeconds": 900})
        first, second = found.credentials(), found.credentials()
        assert first["access_key_id"] != second["access_key_id"]

    def test_boto3s_client_acts_in_that_role(self, s3_server: S3Server) -> None:
        sts = {"service_config": {"sts": {"endpoint_url": s3_server.endpoint}}}
        found = self.access(s3_server, **sts)
        assert f"assumed-role/{ROLE.rpartition('/')[2]}/" in found.client("sts").get_caller_identity()["Arn"]

    def test_a_backup_is_made_in_that_role(self, project: Project, s3_server: S3Server) -> None:
        bucket = s3_server.new_bucket()
        project.environment.update(BACKUP_CLOUD_URL=f"s3://{bucket}/db")
        sts = {"service_config": {"sts": {"endpoint_url": s3_server.endpoint}}}
        set_connection(project, "aws_default", aws(s3_server, role_arn=ROLE, **sts))
        assert backed_up(project, "--storage", "s3")["storages"] == ["s3"]

    def test_a_role_by_web_identity_is_left_to_airflows_provider(self, s3_server: S3Server, tmp_path: Path) -> None:
        pytest.importorskip("airflow.providers.amazon", reason="web identity takes Airflow's Amazon provider")
        token = tmp_path / "token"
        token.write_text("a token of an identity provider")
        found = self.access(
            s3_server,
            assume_role_method="assume_role_with_web_identity",
            assume_role_with_web_identity_federation="file",
            assume_role_with_web_identity_token_file=str(token),
            service_config={"sts": {"endpoint_url": s3_server.endpoint}},
        )
        assert found.credentials()["token"]

    def test_a_server_that_knows_of_no_roles_is_told_as_such(self, s3_server: S3Server) -> None:
        with FaultyProxy.before(s3_server.endpoint) as sts:
            sts.let(Fault(lambda _: True, status=403))
            with pytest.raises(StorageError, match="or another server does") as refusal:
                self.access(s3_server, service_config={"sts": {"endpoint_url": sts.endpoint}})
        assert "service_config" in refusal.value.hint

    @pytest.mark.parametrize(
        ("extra", "kind", "words"),
        [
            ({"service_config": {"sts": {"endpoint_url": "http://127.0.0.1:9"}}}, StorageError, "does not answer"),
            ({"assume_role_kwargs": {"Duration": 5}}, ConfigurationError, r"not valid \(Duration\)"),
            ({"assume_role_kwargs": {"ExternalId": "?"}}, ConfigurationError, r"not valid \(ExternalId\)"),
        ],
    )
    def test_a_role_that_cannot_be_assumed_says_why(
        self, s3_server: S3Server, extra: dict[str, Any], kind: type[BackupError], words: str
    ) -> None:
        quick = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
        with pytest.raises(kind, match=words) as refusal:
            self.access(s3_server, **extra, **quick)
        assert s3_server.secret not in str(refusal.value)


class TestCertificates:
    """The server's certificate is of an authority that nobody knows."""

    def test_verify_names_the_authority(self, project: Project, s3_server: S3Server, tmp_path: Path) -> None:
        bucket = s3_server.new_bucket()
        project.environment.update(BACKUP_CLOUD_URL=f"s3://{bucket}/db")
        with tls_proxy(s3_server.endpoint, tmp_path) as (endpoint, authority):
            for verify in (str(authority), False):
                set_connection(project, "aws_default", aws(s3_server, endpoint_url=endpoint, verify=verify))
                assert backed_up(project, "--storage", "s3")["storages"] == ["s3"]

    def test_without_it_nothing_is_sent(self, s3_server: S3Server, tmp_path: Path) -> None:
        address = StorageAddress.parse(f"s3://{s3_server.new_bucket()}/db")
        with tls_proxy(s3_server.endpoint, tmp_path) as (endpoint, _):
            environment = {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws(s3_server, endpoint_url=endpoint))}
            way_in = partial(storage_access, address, environment=environment)
            with pytest.raises(StorageError):
                ObjectStorage("s3", address, way_in, limits=QUICK).initialise()
        assert "Contents" not in s3_server.client().list_objects_v2(Bucket=address.bucket)


def test_no_secret_of_a_connection_is_in_what_a_backup_leaves_behind(project: Project, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    fields = aws(s3_server, aws_session_token="planted-token") | {"password": "planted-secret"}
    set_connection(project, "aws_default", fields)
    done = project.run("create", "shop", BACKUP_CLOUD_ENABLED="true", BACKUP_CLOUD_URL=f"s3://{bucket}/db")
    assert done.returncode == 0, done.stderr
    client = s3_server.client()
    stored = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    left = [client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in stored]
    left += [path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and path.stat().st_size]
    left += [done.stdout.encode(), done.stderr.encode()]
    assert len(left) > 6
    assert not [content for content in left if b"planted-" in content]


def test_credentials_that_google_takes_back_are_told_as_such(gcs_server: GcsServer) -> None:
    with TokenEndpoint.start() as tokens:
        extra = {"keyfile_dict": tokens.key(), "endpoint_url": gcs_server.endpoint}
        fields = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
        tokens.answer = (401, {"error": "invalid_client"})
        with pytest.raises(StorageAccessDenied) as refusal:
            storage_access(
                StorageAddress.parse("gs://bucket/db"), environment={"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": fields}
            )
    assert TOKEN not in str(refusal.value)
