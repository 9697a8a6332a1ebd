"""Which fields of a ``wasb`` connection say what of the access to a container. No network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from db_backup.connections import AzureAccess, storage_access
from db_backup.errors import ConfigurationError
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.opening import OpenedAccess

pytestmark = pytest.mark.unit

KEY = "aHVudGVyMg=="
SIGNATURE = "sv=2024-11-04&ss=b&sig=hunter2%3D"
BY_KEY = {"account_key": KEY, "credential_type": "access_key"}
BY_SIGNATURE = {"sas_key": SIGNATURE, "credential_type": "sas_token"}
BY_CLIENT = {
    "tenant_id": "tenant",
    "client_id": "client",
    "client_secret": "hunter2",
    "credential_type": "client_secret",
}


class MetadataService(BaseHTTPRequestHandler):
    """Azure's, which tells a machine who it is."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["Metadata"] == "true" else 400)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def azure_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), MetadataService) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", host)
        yield host
        server.shutdown()


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID", "FEDERATED_TOKEN_FILE", "STORAGE_ACCOUNT"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")


def access(fields: dict[str, Any] | str | None, url: str = "azure://container/db") -> AzureAccess:
    environment = {"AIRFLOW_HOME": "/nowhere"}
    if fields is not None:
        text = fields if isinstance(fields, str) else json.dumps({"conn_type": "wasb"} | fields)
        environment["AIRFLOW_CONN_WASB_DEFAULT"] = text
    found = storage_access(StorageAddress.parse(url), environment=environment)
    assert isinstance(found, AzureAccess)
    assert not any(secret in repr(found) for secret in ("hunter2", KEY))
    return found


def refused(fields: dict[str, Any] | str | None, url: str = "azure://container/db") -> str:
    with pytest.raises(ConfigurationError) as refusal:
        access(fields, url)
    assert refusal.value.hint
    said = str(refusal.value)
    assert not any(secret in said for secret in ("hunter2", KEY))
    return said


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"login": "shopbackups", "password": KEY}, BY_KEY),
        (f"wasb://shopbackups:{KEY.replace('=', '%3D')}@", BY_KEY),
        ({"conn_type": "adls", "login": "shopbackups", "password": KEY}, BY_KEY),
        ({"login": "shopbackups", "extra": {"account_key": KEY}}, BY_KEY),
        ({"login": "shopbackups", "extra": {"extra__wasb__shared_access_key": KEY}}, BY_KEY),
        ({"login": "shopbackups", "extra": {"sas_token": SIGNATURE}}, BY_SIGNATURE),
        ({"login": "shopbackups", "extra": {"sas_token": f"?{SIGNATURE}"}}, BY_SIGNATURE),
        ({"extra": {"sas_token": f"https://shopbackups.blob.core.windows.net/?{SIGNATURE}"}}, BY_SIGNATURE),
        (
            {"login": "client", "password": "hunter2", "host": "shopbackups", "extra": {"tenant_id": "tenant"}},
            BY_CLIENT,
        ),
        (
            {
                "login": "client",
                "password": "hunter2",
                "host": "https://shopbackups.blob.core.windows.net/",
                "extra": {"extra__wasb__tenant_id": "tenant"},
            },
            BY_CLIENT,
        ),
        ({"host": "shopbackups.blob.core.windows.net", "password": KEY}, BY_KEY),
        ({"extra": {"sas_token": f"https://shopbackups.blob.core.windows.net/container?{SIGNATURE}"}}, BY_SIGNATURE),
        ({"conn_type": "adls", "host": "shopbackups", "login": "unused", "password": KEY}, BY_KEY),
        ({"host": "https://shopbackups.dfs.core.windows.net", "password": KEY}, BY_KEY),
        (
            {
                "conn_type": "adls",
                "password": KEY,
                "extra": {"account_url": "https://shopbackups.dfs.core.windows.net/"},
            },
            BY_KEY,
        ),
        (
            {
                "login": "client",
                "password": "hunter2",
                "host": "shopbackups",
                "extra": {
                    "tenant_id": "tenant",
                    "client_secret_auth_config": {"authority": "login.microsoftonline.us"},
                },
            },
            BY_CLIENT | {"authority_host": "https://login.microsoftonline.us"},
        ),
        ({"extra": {"connection_string": f"AccountName=shopbackups;AccountKey={KEY}"}}, BY_KEY),
        (
            {
                "extra": {
                    "extra__wasb__connection_string": "BlobEndpoint=https://shopbackups.blob.core.windows.net/;"
                    f"SharedAccessSignature={SIGNATURE}"
                }
            },
            BY_SIGNATURE,
        ),
    ],
)
def test_every_documented_way_in_is_understood(fields: dict[str, Any] | str, options: dict[str, str]) -> None:
    found = access(fields)
    assert (found.bucket, found.prefix, found.account, found.endpoint) == ("container", "db", "shopbackups", "")
    assert found.options == options


def test_precedence_is_that_of_airflows_provider() -> None:
    extra = {
        "connection_string": f"AccountName=fromstring1;AccountKey={KEY}",
        "tenant_id": "tenant",
        "shared_access_key": "shared",
        "sas_token": SIGNATURE,
        "account_key": "extra",
    }
    fields = {"login": "shopbackups", "password": "hunter2", "host": "byhost1", "extra": extra}
    assert access(fields).account == "fromstring1"
    del extra["connection_string"]
    assert access(fields).options["credential_type"] == "client_secret"
    del extra["tenant_id"]
    assert access(fields).options == {"account_key": "shared", "credential_type": "access_key"}
    del extra["shared_access_key"]
    assert access(fields).options == BY_SIGNATURE
    del extra["sas_token"]
    assert access(fields).options["account_key"] == "hunter2"
    fields["password"] = ""
    assert access(fields).options["account_key"] == "extra"


@pytest.mark.parametrize(
    ("fields", "account", "endpoint"),
    [
        (
            {"extra": {"connection_string": "UseDevelopmentStorage=true"}},
            "devstoreaccount1",
            "http://127.0.0.1:10000/devstoreaccount1",
        ),
        (
            {
                "extra": {
                    "connection_string": "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
                    f"AccountKey={KEY};BlobEndpoint=http://azurite:10000/devstoreaccount1;"
                }
            },
            "devstoreaccount1",
            "http://azurite:10000/devstoreaccount1",
        ),
        (
            {"host": "http://127.0.0.1:1/devstoreaccount1", "password": KEY},
            "devstoreaccount1",
            "http://127.0.0.1:1/devstoreaccount1",
        ),
        (
            {
                "extra": {
                    "connection_string": f"AccountName=shop1;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
                }
            },
            "shop1",
            "https://shop1.blob.core.chinacloudapi.cn",
        ),
        (
            {"login": "shop1", "password": KEY, "host": "https://storage.intern.example.com"},
            "shop1",
            "https://storage.intern.example.com",
        ),
    ],
)
def test_emulators_and_other_clouds_have_an_endpoint(fields: dict[str, Any], account: str, endpoint: str) -> None:
    found = access(fields)
    assert (found.account, found.endpoint) == (account, endpoint)
    assert found.allow_http is endpoint.startswith("http://")


def test_the_account_of_the_address_counts_where_the_connection_names_none(azure_machine: str) -> None:
    url = "abfss://container@shop1.dfs.core.windows.net/db"
    assert access({}, url).account == "shop1"
    assert access(None, url).account == "shop1"


def test_two_different_accounts_are_refused() -> None:
    said = refused({"login": "shop2", "password": KEY}, "abfss://container@shop1.dfs.core.windows.net/db")
    assert "of the account 'shop2', and the url of 'shop1'" in said


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "names no storage account"),
        ({"login": "Shop Backups", "password": KEY}, "names no storage account"),
        ({"extra": {"connection_string": f"AccountKey={KEY}"}}, "connection_string names no account"),
        ({"extra": {"connection_string": "AccountName=shop1"}}, "neither AccountKey nor SharedAccessSignature"),
        ({"login": "client", "host": "shop1", "extra": {"tenant_id": "t"}}, "lacks the client's id or secret"),
        ({"login": "shop1", "extra": {"sas_token": 5}}, "sas_token is not a text"),
        ({"login": "shop1"}, "AIRFLOW_CONN_WASB_DEFAULT="),
        ({"login": "shop1", "extra": {"sas_token": None}}, "has no credentials"),
        (None, "There is no connection 'wasb_default'"),
        ({"conn_type": "aws", "login": "a", "password": KEY}, "takes one of type wasb"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_fill_in(fields: dict[str, Any] | None, words: str) -> None:
    assert words in refused(fields)


SHOP = {"login": "shop1"}


class TestTheMachinesOwnIdentity:
    def test_a_service_principal_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        monkeypatch.setenv("AZURE_CLIENT_SECRET", "hunter2")
        assert access(SHOP).options == BY_CLIENT

    def test_a_workloads_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/token")
        fields = SHOP | {"extra": {"managed_identity_client_id": "client"}}
        assert access(fields).options == {
            "tenant_id": "tenant",
            "client_id": "client",
            "federated_token_file": "/var/run/token",
            "credential_type": "workload_identity",
        }

    def test_a_managed_identity_once_the_metadata_service_has_answered(self, azure_machine: str) -> None:
        options = {
            "msi_endpoint": f"{azure_machine}/metadata/identity/oauth2/token",
            "credential_type": "managed_identity",
        }
        assert access(SHOP).options == options
        named = SHOP | {"extra": {"extra__wasb__managed_identity_client_id": "client"}}
        assert access(named).options == options | {"client_id": "client"}

    def test_a_secret_of_the_environment_is_that_of_its_own_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        monkeypatch.setenv("AZURE_CLIENT_SECRET", "hunter2")
        assert access(SHOP | {"extra": {"managed_identity_client_id": "another"}}).options == BY_CLIENT


def test_obstore_goes_to_the_account_whatever_its_own_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://elsewhere.example.com")
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    config = OpenedAccess(access({"login": "shop1", "password": KEY}), Limits()).once.config
    assert config["endpoint"] == "https://shop1.blob.core.windows.net"
    assert config["use_emulator"] == "false"


def test_a_bundle_of_certificates_is_the_one_that_azures_library_takes(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificate")
    fields = {"login": "shop1", "password": KEY, "extra": {"connection_verify": str(bundle)}}
    assert access(fields).ca_bundle == bundle
