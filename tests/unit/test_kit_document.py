"""The break-glass kit as a document: sealed, opened, refused; and as environment variables."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from dotenv.parser import parse_stream
from hypothesis import given
from hypothesis import strategies as st

from db_backup.errors import BackupError, KitError, UsageError, WrongPassphrase
from db_backup.jobs.kit import Kit
from db_backup.jobs.kit.importing import dotenv_text
from support import quick_age

pytestmark = pytest.mark.unit

PASSPHRASE = "correct horse battery staple"
SECRET = "pa'ss \"word\\ $HOME #1"


def make_kit(**overrides: Any) -> Kit:
    fields: dict[str, Any] = {
        "kit_version": 1,
        "program_version": "0.1.0",
        "exported_at": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "exported_by": "anna",
        "host": "web-1",
        "settings": {"BACKUP_LOCAL_PATH": "/srv/backups", "BACKUP_SCRATCH_PATH": "/fast"},
        "configuration": "version: 1\ndatabases: {shop: {conn_id: shop_db}}\n",
        "connections": {"shop_db": {"conn_type": "postgres", "host": "db", "password": SECRET}},
    }
    return Kit(**{**fields, **overrides})


@pytest.fixture(scope="module")
def sealed() -> bytes:
    return quick_age.encrypt(make_kit().model_dump_json(indent=2).encode(), PASSPHRASE)


def failure_of(content: bytes, passphrase: str = PASSPHRASE) -> BackupError:
    with pytest.raises(BackupError) as caught:
        Kit.unseal(content, passphrase, source="shop.kit")
    assert "shop.kit" in caught.value.message
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    return caught.value


def sealed_text(text: str) -> bytes:
    return quick_age.encrypt(text.encode(), PASSPHRASE)


def test_a_kit_opens_as_it_was_sealed() -> None:
    sealed = make_kit().seal(PASSPHRASE)
    assert Kit.unseal(sealed, PASSPHRASE, source="shop.kit") == make_kit()
    assert SECRET.encode() not in sealed
    assert b"shop" not in sealed


def test_any_age_file_under_a_passphrase_is_read_armoured_or_not(sealed: bytes) -> None:
    binary = quick_age.encrypt(make_kit().model_dump_json().encode(), PASSPHRASE, armored=False)
    for content in (sealed, sealed.replace(b"\n", b"\r\n"), binary):
        assert Kit.unseal(content, PASSPHRASE, source="shop.kit") == make_kit()


def test_a_wrong_passphrase_is_told_from_damage(sealed: bytes) -> None:
    assert type(failure_of(sealed, PASSPHRASE.upper())) is WrongPassphrase


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_kit_that_is_cut_off_says_so(sealed: bytes, kept: float) -> None:
    error = failure_of(sealed[: int(len(sealed) * kept)])
    assert type(error) is KitError
    assert "cut off" in error.message or "not a break-glass kit" in error.message


def test_a_damaged_kit_is_not_called_a_wrong_passphrase(sealed: bytes) -> None:
    lines = sealed.splitlines(keepends=True)
    lines[len(lines) - 3] = lines[len(lines) - 3].swapcase()
    error = failure_of(b"".join(lines))
    assert type(error) is KitError
    assert "damaged" in error.message


@pytest.mark.parametrize("content", [b"", b"version: 1\n", b"\x1f\x8b\x08" + bytes(500)])
def test_any_other_file_is_not_a_kit(content: bytes) -> None:
    assert "is not a break-glass kit" in failure_of(content).message


def test_what_was_sealed_by_others_is_not_a_kit() -> None:
    assert "no break-glass kit" in failure_of(sealed_text("my diary")).message
    key = pyrage.x25519.Identity.generate().to_public()
    assert "to a key" in failure_of(pyrage.encrypt(b"{}", [key], armored=True)).message


def test_a_kit_that_would_take_hours_to_open_is_not_called_damaged() -> None:
    assert "more work" in failure_of(quick_age.encrypt(b"{}", PASSPHRASE, work=40)).message


def test_a_newer_kit_asks_for_a_newer_program() -> None:
    error = failure_of(sealed_text(json.dumps({"kit_version": 2, "vault": [SECRET]})))
    assert "version 2" in error.message
    assert "Install" in error.hint


def test_a_field_that_is_missing_is_named() -> None:
    document = json.loads(make_kit().model_dump_json())
    del document["connections"]
    assert "connections" in failure_of(sealed_text(json.dumps(document))).message


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(UsageError, match="it takes 12 at least"):
        make_kit().seal("hunter2")


def test_the_environment_wins_over_the_kit() -> None:
    environment = make_kit().environment({"BACKUP_LOCAL_PATH": "/mnt/copy", "PATH": "/bin"})
    assert environment["BACKUP_LOCAL_PATH"] == "/mnt/copy"
    assert environment["PATH"] == "/bin"
    assert json.loads(environment["AIRFLOW_CONN_SHOP_DB"])["password"] == SECRET


def test_an_empty_variable_is_none_and_leaves_the_kit_its_say() -> None:
    assert make_kit().environment({"BACKUP_LOCAL_PATH": ""})["BACKUP_LOCAL_PATH"] == "/srv/backups"


def test_folders_of_the_machine_that_is_lost_are_not_used_elsewhere() -> None:
    assert "BACKUP_SCRATCH_PATH" not in make_kit().environment({})
    assert make_kit().variables()["BACKUP_SCRATCH_PATH"] == "/fast"


def test_a_kit_never_prints_what_is_in_it() -> None:
    for text in (repr(make_kit()), str(make_kit())):
        assert SECRET not in text
        assert str(Path("/srv/backups")) not in text


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_password_is_read_from_the_env_file_as_it_is(password: str, after: str) -> None:
    kit = make_kit(connections={"a": {"password": password}, "b": {"password": after}}, settings={})
    read = {binding.key: binding.value for binding in parse_stream(io.StringIO(dotenv_text(kit.variables())))}
    assert json.loads(read["AIRFLOW_CONN_A"] or "")["password"] == password
    assert json.loads(read["AIRFLOW_CONN_B"] or "")["password"] == after


def test_a_value_that_no_env_file_can_hold_is_refused() -> None:
    with pytest.raises(KitError, match="BACKUP_WEBHOOK_URL"):
        dotenv_text({"BACKUP_WEBHOOK_URL": "a\rb", "BACKUP_LOCAL_PATH": "it's \\"})
