"""Which fields of a ``google_cloud_platform`` connection say what of the access to a bucket. No network.

Tokens are given by a stand-in for Google's token endpoint on this machine.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from db_backup.connections import GoogleAccess, storage_access
from db_backup.errors import BackupError, ConfigurationError, StorageAccessDenied, StorageError
from db_backup.settings.addresses import StorageAddress
from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.opening import OpenedAccess
from support.google_tokens import TOKEN, TokenEndpoint

pytestmark = pytest.mark.unit


@pytest.fixture
def google() -> Iterator[TokenEndpoint]:
    with TokenEndpoint.start() as endpoint:
        yield endpoint


@pytest.fixture
def keyfile(google: TokenEndpoint) -> dict[str, str]:
    return google.key()


@pytest.fixture(autouse=True)
def no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def access(extra: dict[str, Any] | None, conn_type: str = "google_cloud_platform") -> GoogleAccess:
    environment = {"AIRFLOW_HOME": "/nowhere"}
    if extra is not None:
        environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps({"conn_type": conn_type, "extra": extra})
    found = storage_access(StorageAddress.parse("gs://bucket/db"), environment=environment)
    assert isinstance(found, GoogleAccess)
    return found


def refused(extra: dict[str, Any] | None, kind: type[BackupError] = ConfigurationError) -> str:
    with pytest.raises(kind) as refusal:
        access(extra)
    assert refusal.value.hint
    assert "PRIVATE" not in str(refusal.value)
    return str(refusal.value)


def test_a_key_may_be_an_object_a_text_or_in_a_file(keyfile: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(keyfile))
    for extra in (
        {"keyfile_dict": keyfile},
        {"keyfile_dict": json.dumps(keyfile)},
        {"extra__google_cloud_platform__keyfile_dict": json.dumps(keyfile)},
        {"key_path": str(path)},
        {"extra__google_cloud_platform__key_path": str(path)},
        {"credential_config_file": str(path)},
        {"credential_config_file": json.dumps(keyfile)},
    ):
        found = access(extra | {"project": "shop", "num_retries": 5})
        assert (found.bucket, found.prefix, found.endpoint) == ("bucket", "db", "")
        assert found.token()["token"] == TOKEN, extra


def test_a_key_whose_line_ends_were_written_twice_is_read(keyfile: dict[str, str]) -> None:
    twice = keyfile | {"private_key": keyfile["private_key"].replace("\n", "\\n")}
    assert access({"keyfile_dict": twice}).token()["token"] == TOKEN


def test_the_token_says_when_it_expires_in_utc_itself_and_is_kept_until_shortly_before(
    google: TokenEndpoint, keyfile: dict[str, str]
) -> None:
    found = access({"keyfile_dict": keyfile})
    expiry = found.token()["expires_at"]
    assert expiry is not None
    assert expiry.tzinfo is UTC
    assert timedelta(minutes=58) < expiry - datetime.now(UTC) <= timedelta(hours=1)
    assert len(google.asked) == 1
    google.answer = (200, {"access_token": "next", "expires_in": 300})
    brief = access({"keyfile_dict": keyfile})
    assert brief.token()["token"] == "next"
    assert len(google.asked) == 3  # one when it was opened, one because five minutes are too few


def asked_scopes(form: dict[str, list[str]]) -> str:
    """What a signed request for a token asks for."""
    claims = form["assertion"][0].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["scope"])


def test_the_scope_is_what_the_connection_says(google: TokenEndpoint, keyfile: dict[str, str]) -> None:
    access({"keyfile_dict": keyfile})
    access({"keyfile_dict": keyfile, "scope": "https://a.example/one, https://a.example/two"})
    assert [asked_scopes(asked) for asked in google.asked] == [
        "https://www.googleapis.com/auth/cloud-platform",
        "https://a.example/one https://a.example/two",
    ]


def test_without_a_key_the_credentials_of_this_machine_count(
    keyfile: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps(keyfile))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    for extra in (None, {}, {"project": "shop"}):
        found = access(extra)
        assert found.token()["token"] == TOKEN


@pytest.mark.parametrize("extra", [None, {}])
def test_where_nothing_gives_credentials_it_is_refused_with_what_to_fill_in(extra: dict[str, Any] | None) -> None:
    said = refused(extra)
    assert "no credentials" in said or "has no credentials" in said
    assert "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT=" in said


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"keyfile_dict": "{"}, "keyfile_dict is not JSON"),
        ({"keyfile_dict": {"type": "service_account"}}, "keyfile_dict cannot be read"),
        ({"keyfile_dict": {"private_key": "PRIVATE", "client_email": "a", "token_uri": "b"}}, "keyfile_dict cannot"),
        ({"key_path": "/no/key.json"}, "key_path cannot be read"),
        ({"key_path": "/k.json", "keyfile_dict": {"a": 1}}, "it has keyfile_dict and key_path"),
        ({"key_secret_name": "shop-key"}, "key_secret_name takes Secret Manager"),
        ({"idp_issuer_url": "https://idp", "client_id": "a"}, "idp_issuer_url takes tokens of another issuer"),
        ({"is_anonymous": True}, "it is anonymous"),
        ({"is_anonymous": "True"}, "it is anonymous"),
        ({"is_anonymous": True, "endpoint_url": "localhost:1"}, "endpoint_url does not begin with"),
    ],
)
def test_what_cannot_work_is_refused_with_the_field(extra: dict[str, Any], words: str) -> None:
    assert words in refused(extra)


def test_an_emulator_may_be_asked_without_a_name() -> None:
    found = access({"is_anonymous": True, "endpoint_url": "http://localhost:4443/"})
    assert found.token() == {"token": "anonymous", "expires_at": None}
    assert (found.endpoint, found.allow_http) == ("http://localhost:4443", True)


def test_obstore_goes_to_google_whatever_its_own_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_BASE_URL", "https://elsewhere.example.com")
    found = GoogleAccess("google", "bucket", "", token=lambda: {"token": "t", "expires_at": None})
    assert OpenedAccess(found, Limits()).once.config["base_url"] == "https://storage.googleapis.com"


def test_an_endpoint_alone_does_not_make_it_anonymous() -> None:
    assert "no credentials" in refused({"endpoint_url": "http://localhost:4443"})


def test_credentials_that_google_refuses_are_told_as_such(google: TokenEndpoint, keyfile: dict[str, str]) -> None:
    google.answer = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    assert "refuses the credentials" in refused({"keyfile_dict": keyfile}, StorageAccessDenied)


def test_a_token_endpoint_that_does_not_answer_is_told_as_such(keyfile: dict[str, str]) -> None:
    away = keyfile | {"token_uri": "http://127.0.0.1:9/token"}
    assert "does not answer" in refused({"keyfile_dict": away}, StorageError)


def test_impersonation_asks_for_the_last_account_by_way_of_the_others(
    keyfile: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth import impersonated_credentials

    monkeypatch.setattr(impersonated_credentials.Credentials, "refresh", lambda self, _: setattr(self, "token", TOKEN))
    for chain in ("a@shop, b@shop", ["a@shop", "b@shop"]):
        found = access({"keyfile_dict": keyfile, "impersonation_chain": chain})
        credentials = found.token.credentials  # type: ignore[attr-defined]
        assert credentials._target_principal == "b@shop"
        assert credentials._delegates == ["a@shop"]


def test_nothing_secret_shows(keyfile: dict[str, str]) -> None:
    shown = repr(access({"keyfile_dict": keyfile}))
    assert "PRIVATE" not in shown
    assert TOKEN not in shown
