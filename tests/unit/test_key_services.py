"""Data keys that a key service wraps: AWS KMS as moto plays it, Google Cloud KMS as far as its client goes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import requests
import tink.integration
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from moto.server import ThreadedMotoServer

from db_backup.config import KeyConfig
from db_backup.encryption import Keyring
from db_backup.encryption.key_file import generate_secret
from db_backup.encryption.kms import KmsRecipient
from db_backup.errors import FeatureNotAvailable, KeyUnavailable, WrapDamaged, WrongKey
from support.encrypted import make_encrypted, put_key
from support.ports import free_port

pytestmark = pytest.mark.unit

REGION = "eu-central-1"
NOBODY = "aws-kms://arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
GOOGLE = "gcp-kms://projects/shop/locations/global/keyRings/backups/cryptoKeys/main"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def kms(endpoint: str) -> Any:
    return boto3.client(
        "kms", region_name=REGION, endpoint_url=endpoint, aws_access_key_id="planted", aws_secret_access_key="planted"
    )


def new_key(kms: Any) -> str:
    return f"aws-kms://{kms.create_key()['KeyMetadata']['Arn']}"


def environment(endpoint: str) -> dict[str, str]:
    connection = {
        "conn_type": "aws",
        "login": "planted",
        "password": "planted-secret-access-key",
        "extra": {"region_name": "us-east-1", "endpoint_url": endpoint},  # the key's own address says where it is
    }
    return {"AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONN_CLOUD": json.dumps(connection)}


def keyring(folder: Path, endpoint: str, uri: str, *recipients: str) -> Keyring:
    config = {"kms": KeyConfig("kms", conn_id="cloud", kms=uri)}
    return Keyring(config, folder, recipients or ("kms",), environment(endpoint))


def test_aws_kms_wraps_and_opens_by_the_credentials_of_a_connection(tmp_path: Path, endpoint: str, kms: Any) -> None:
    uri = new_key(kms)
    maker = keyring(tmp_path, endpoint, uri)
    manifest, state = make_encrypted(maker)
    (wrap,) = state.wrapped_keys
    assert (wrap.kind, wrap.key_id) == ("aws_kms", uri)
    opened = keyring(tmp_path, endpoint, uri).unwrap(manifest, state)
    assert opened.to_bytes() == maker.data_key(manifest, state).to_bytes()


def test_what_aws_kms_wrapped_opens_as_that_backups_alone(tmp_path: Path, endpoint: str, kms: Any) -> None:
    maker = keyring(tmp_path, endpoint, new_key(kms))
    manifest, _ = make_encrypted(maker)
    _, other = make_encrypted(maker, serial=2)
    with pytest.raises(WrapDamaged):
        maker.unwrap(manifest, other.model_copy(update={"id": manifest.id}))


def test_another_key_of_the_service_is_told_apart(tmp_path: Path, endpoint: str, kms: Any) -> None:
    first, second = new_key(kms), new_key(kms)
    manifest, state = make_encrypted(keyring(tmp_path, endpoint, first))
    with pytest.raises(WrongKey, match=r"another than"):
        keyring(tmp_path, endpoint, second).unwrap(manifest, state)


def test_a_key_that_is_gone_from_the_service_is_unavailable_and_the_next_recipient_opens(
    tmp_path: Path, endpoint: str, kms: Any
) -> None:
    uri = new_key(kms)
    put_key(tmp_path, generate_secret("main"))
    manifest, state = make_encrypted(keyring(tmp_path, endpoint, uri, "kms", "main"))
    requests.post(f"{endpoint}/moto-api/reset", timeout=10)  # moto lets a disabled key decrypt
    assert keyring(tmp_path, endpoint, uri).can_open(manifest, state)
    (tmp_path / "main.json").unlink()
    with pytest.raises(
        KeyUnavailable, match=r"refuses the key 'kms'.*[A-Z][A-Za-z]+Exception.*main\.json does not exist"
    ):
        keyring(tmp_path, endpoint, uri).unwrap(manifest, state)


def test_a_key_that_the_service_does_not_know_stops_the_making(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(KeyUnavailable, match="NotFoundException"):
        make_encrypted(keyring(tmp_path, endpoint, NOBODY))


def test_a_service_that_does_not_answer_is_unavailable_and_no_credentials_are_told(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="does not answer") as refusal:
        make_encrypted(keyring(tmp_path, f"http://127.0.0.1:{free_port()}", NOBODY))
    assert "planted" not in str(refusal.value)


def test_a_key_that_is_at_hand_opens_before_any_service_is_asked(
    tmp_path: Path, endpoint: str, kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is out of reach, it is waited for: for each increment of a chain."""
    put_key(tmp_path, generate_secret("escrow"))
    ring = keyring(tmp_path, endpoint, new_key(kms), "kms", "escrow")
    manifest, state = make_encrypted(ring)
    assert [wrapped.kind for wrapped in state.wrapped_keys] == ["aws_kms", "local"]
    monkeypatch.setattr(KmsRecipient, "unwrap", lambda *_: pytest.fail("the service was asked"))
    assert ring.unwrap(manifest, state).fingerprint == ring.data_key(manifest, state).fingerprint


class FakeGoogleClient:
    """Google's client is not installed here: what stands in for it wraps by turning bytes round."""

    def __init__(self, uri: str, *, credentials: Any) -> None:
        self.uri, self.asked_as = uri, credentials.service_account_email

    def get_aead(self, uri: str) -> FakeGoogleClient:
        assert (uri, self.asked_as) == (self.uri, "backup@shop.example")
        return self

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        return (associated + plain)[::-1]

    def decrypt(self, wrapped: bytes, associated: bytes) -> bytes:
        assert wrapped[::-1].startswith(associated)
        return wrapped[::-1].removeprefix(associated)


def test_google_cloud_kms_is_asked_with_the_credentials_of_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tink.integration.gcpkms", SimpleNamespace(GcpKmsClient=FakeGoogleClient))
    monkeypatch.setattr(tink.integration, "gcpkms", sys.modules["tink.integration.gcpkms"], raising=False)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "client_email": "backup@shop.example",
        "private_key": private.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    connection = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": account}}
    there = {"AIRFLOW_HOME": "/nowhere", "AIRFLOW_CONN_GOOGLE": json.dumps(connection)}
    config = {"kms": KeyConfig("kms", conn_id="google", kms=GOOGLE)}
    manifest, state = make_encrypted(Keyring(config, tmp_path, ("kms",), there))
    assert [(wrap.kind, wrap.key_id) for wrap in state.wrapped_keys] == [("gcp_kms", GOOGLE)]
    assert Keyring(config, tmp_path, ("kms",), there).can_open(manifest, state)


def test_google_cloud_kms_without_its_client_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tink.integration.gcpkms", None)
    with pytest.raises(FeatureNotAvailable) as refusal:
        make_encrypted(Keyring({"kms": KeyConfig("kms", kms=GOOGLE)}, tmp_path, ("kms",), {}))
    assert refusal.value.hint == "Install it: pip install 'tink[gcpkms]'."
