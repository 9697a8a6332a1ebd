"""Which key opens a backup, and what is said when none does."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest

from db_backup.config import KeyConfig
from db_backup.encryption import DataKey, Keyring
from db_backup.encryption.key_file import Key, KeyKind, generate_pair, generate_secret, parse_key, read_key_file
from db_backup.errors import ConfigurationError, EncryptionKeyError, KeyUnavailable, WrapDamaged, WrongKey
from db_backup.manifest import Manifest, State
from support.encrypted import closed, make_encrypted, put_key

pytestmark = pytest.mark.unit

ELSEWHERE: dict[str, str] = {"AIRFLOW_HOME": "/nowhere"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    return tmp_path / "keys"


def keyring(folder: Path, *recipients: str, environment: dict[str, str] | None = None, **keys: KeyConfig) -> Keyring:
    return Keyring(keys, folder, recipients, environment or ELSEWHERE)


def secret_of(key: Key) -> str:
    """What of a key must never be seen."""
    values = [entry["keyData"]["value"] for entry in json.loads(key.keyset)["key"]]
    return str(values[0])


def opened(folder: Path, manifest: Manifest, state: State, **keys: KeyConfig) -> DataKey:
    """By a worker that did not make it."""
    return keyring(folder, **keys).data_key(manifest, state)


# Key files


@pytest.mark.parametrize("make", [lambda: generate_secret("main"), lambda: generate_pair("main")[0]])
def test_a_key_is_read_again_as_it_was_written_and_never_prints(make: object, folder: Path) -> None:
    key: Key = make()  # type: ignore[operator]
    read = read_key_file(put_key(folder, key))
    assert (read.name, read.kind, read.created_at, read.fingerprint) == (
        "main",
        key.kind,
        key.created_at,
        key.fingerprint,
    )
    assert re.fullmatch("[0-9a-f]{16}", key.fingerprint)
    assert secret_of(key) not in repr(key) + str(key)


def test_a_public_half_has_the_fingerprint_of_its_private_key_and_nothing_secret() -> None:
    private, public = generate_pair("escrow")
    assert private.fingerprint == public.fingerprint
    assert (private.kind, public.kind) == (KeyKind.PRIVATE, KeyKind.PUBLIC)
    secret = base64.b64decode(secret_of(private))[-32:]
    assert all(secret not in base64.b64decode(word) for word in re.findall(r'"value": "([^"]+)"', public.to_json()))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o622])
def test_a_key_file_that_others_may_read_is_refused_with_its_mode(folder: Path, mode: int) -> None:
    path = put_key(folder, generate_secret("main"))
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{path}.*{mode:04o}.*0600 or stricter"):
        read_key_file(path)
    path.chmod(0o400)
    read_key_file(path)


def test_a_public_key_may_be_read_by_all_and_written_by_its_owner_alone(folder: Path) -> None:
    path = put_key(folder, generate_pair("escrow")[1])
    path.chmod(0o664)
    with pytest.raises(ConfigurationError, match="may be written by others"):
        read_key_file(path)
    path.chmod(0o444)
    read_key_file(path)


def test_a_key_file_of_another_user_is_refused_unless_it_is_root_who_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_key(folder, generate_secret("main"))
    if os.geteuid() == 0:
        os.chown(path, 4321, -1)
        read_key_file(path)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 1)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        read_key_file(path)


def test_a_key_that_was_changed_is_damaged_and_nothing_of_it_is_told() -> None:
    key = generate_secret("main")
    fields = json.loads(key.to_json())
    material = bytearray(base64.b64decode(fields["keyset"]["key"][0]["keyData"]["value"]))
    material[-1] ^= 1
    fields["keyset"]["key"][0]["keyData"]["value"] = base64.b64encode(material).decode()
    for text in (json.dumps(fields), key.to_json()[:-40], "[]", "secret words", json.dumps({**fields, "kind": "x"})):
        with pytest.raises(ConfigurationError) as refusal:
            parse_key(text, "The key file main.json")
        assert "The key file main.json" in str(refusal.value)
        assert secret_of(key)[:20] not in str(refusal.value)
        assert "secret words" not in str(refusal.value)


# Opening


def test_every_recipient_opens_by_itself(folder: Path) -> None:
    private, public = generate_pair("escrow")
    main = put_key(folder, generate_secret("main"))
    put_key(folder, public)
    manifest, state = make_encrypted(keyring(folder, "main", "escrow"))
    assert [(wrap.recipient, wrap.kind) for wrap in state.wrapped_keys] == [("main", "local"), ("escrow", "public")]
    by_main = opened(folder, manifest, state)
    main.unlink()
    put_key(folder, private)
    assert opened(folder, manifest, state).to_bytes() == by_main.to_bytes()


def test_without_a_name_the_key_is_the_default_one(folder: Path) -> None:
    put_key(folder, generate_secret("default"))
    _, state = make_encrypted(keyring(folder))
    assert [wrap.recipient for wrap in state.wrapped_keys] == ["default"]


def test_a_worker_that_holds_a_public_key_writes_what_it_cannot_read(folder: Path) -> None:
    private, public = generate_pair("main")
    put_key(folder, public)
    maker = keyring(folder, "main")
    manifest, state = make_encrypted(maker)
    assert maker.is_made_here(manifest)
    assert not maker.can_open(manifest, state)
    maker.data_key(manifest, state)  # at hand from the making
    assert not keyring(folder).is_made_here(manifest)
    with pytest.raises(KeyUnavailable, match=f"'main' .public {public.fingerprint}.*only the public half is here"):
        opened(folder, manifest, state)
    put_key(folder, private, "brought-from-the-safe.json")
    assert keyring(folder).can_open(manifest, state)


def test_a_key_is_found_by_its_fingerprint_whatever_it_is_called(folder: Path) -> None:
    old = generate_secret("main")
    path = put_key(folder, old)
    manifest, state = make_encrypted(keyring(folder, "main"))
    path.rename(folder / "main-2026.json")
    put_key(folder, generate_secret("main"))
    opened(folder, manifest, state)


def test_a_key_may_be_kept_in_a_connection(folder: Path) -> None:
    key = generate_secret("vault")
    connection = json.dumps({"conn_type": "generic", "password": key.to_json()})
    environment = {**ELSEWHERE, "AIRFLOW_CONN_KEY_VAULT": connection}
    config = {"vault": KeyConfig("vault", conn_id="key_vault")}
    manifest, state = make_encrypted(keyring(folder, "vault", environment=environment, **config))
    assert [wrap.kind for wrap in state.wrapped_keys] == ["airflow"]
    keyring(folder, environment=environment, **config).data_key(manifest, state)
    with pytest.raises(KeyUnavailable, match=r"'vault'.*no connection 'key_vault'"):
        opened(folder, manifest, state, **config)
    for password, told in [("", "no password"), ("hunter2", "holds no key")]:
        wrong = {**ELSEWHERE, "AIRFLOW_CONN_KEY_VAULT": json.dumps({"conn_type": "generic", "password": password})}
        with pytest.raises(ConfigurationError, match=told) as refusal:
            make_encrypted(keyring(folder, "vault", environment=wrong, **config))
        assert "hunter2" not in str(refusal.value)


def test_a_configured_file_counts_from_the_folder_of_keys(folder: Path, tmp_path: Path) -> None:
    put_key(folder, generate_pair("escrow")[1], "of-the-bank.json")
    put_key(tmp_path, generate_secret("other"), "elsewhere.json")
    config = {"a": KeyConfig("a", file="of-the-bank.json"), "b": KeyConfig("b", file=str(tmp_path / "elsewhere.json"))}
    _, state = make_encrypted(keyring(folder, "a", "b", **config))
    assert [wrap.recipient for wrap in state.wrapped_keys] == ["a", "b"]


# What keeps a backup shut


def test_a_missing_key_is_told_with_its_file_and_with_all_that_the_backup_is_wrapped_for(folder: Path) -> None:
    main, escrow = generate_secret("main"), generate_secret("escrow")
    put_key(folder, main)
    put_key(folder, escrow)
    manifest, state = make_encrypted(keyring(folder, "main", "escrow"))
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(KeyUnavailable) as refusal:
        opened(folder, manifest, state)
    told = str(refusal.value)
    for word in (manifest.id, f"{folder}/main.json", f"{folder}/escrow.json", main.fingerprint, escrow.fingerprint):
        assert word in told


def test_another_key_of_that_name_is_the_wrong_key_and_both_fingerprints_are_told(folder: Path) -> None:
    old, new = generate_secret("main"), generate_secret("main")
    put_key(folder, old)
    manifest, state = make_encrypted(keyring(folder, "main"))
    put_key(folder, new)
    with pytest.raises(WrongKey, match=f"{new.fingerprint}, another than {old.fingerprint}"):
        opened(folder, manifest, state)


def test_a_wrap_that_was_changed_is_damaged_and_another_recipient_still_opens(folder: Path) -> None:
    put_key(folder, generate_secret("main"))
    put_key(folder, generate_pair("escrow")[0])
    manifest, state = make_encrypted(keyring(folder, "main", "escrow"))
    first, second = state.wrapped_keys
    flipped = bytearray(base64.b64decode(first.wrapped))
    flipped[-1] ^= 1
    for text in (base64.b64encode(flipped).decode(), "no base64!", ""):
        broken = first.model_copy(update={"wrapped": text})
        opened(folder, manifest, state.model_copy(update={"wrapped_keys": (broken, second)}))
        with pytest.raises(WrapDamaged, match=f"{manifest.id} that is wrapped for 'main'"):
            opened(folder, manifest, state.model_copy(update={"wrapped_keys": (broken,)}))


@pytest.mark.parametrize("name", ["../main", "/etc/keys", "a\0b", "x" * 300, ""])
def test_a_name_that_somebody_wrote_into_the_state_leads_to_no_file_and_the_key_still_opens(
    folder: Path, name: str
) -> None:
    put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    (wrap,) = state.wrapped_keys

    def renamed(**more: str) -> State:
        return state.model_copy(update={"wrapped_keys": (wrap.model_copy(update={"recipient": name, **more}),)})

    assert opened(folder, manifest, renamed()) is not None
    with pytest.raises(KeyUnavailable, match="No key here opens"):
        opened(folder, manifest, renamed(key_id="another"))


def test_the_wrap_of_another_backup_does_not_open(folder: Path) -> None:
    put_key(folder, generate_secret("main"))
    maker = keyring(folder, "main")
    manifest, state = make_encrypted(maker)
    _, other = make_encrypted(maker, serial=2)
    with pytest.raises(WrapDamaged):
        opened(folder, manifest, state.model_copy(update={"wrapped_keys": other.wrapped_keys}))


def test_a_data_key_that_is_not_the_one_of_the_parts_is_the_wrong_key(folder: Path) -> None:
    put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    other = DataKey.generate()
    with pytest.raises(WrongKey, match=f"encrypted with {other.fingerprint}"):
        opened(folder, closed(manifest, other), state)


def test_a_state_without_a_wrapped_key_says_so(folder: Path) -> None:
    manifest, state = make_encrypted_by_a_new_key(folder)
    with pytest.raises(KeyUnavailable, match="no wrapped data key"):
        opened(folder, manifest, state.model_copy(update={"wrapped_keys": ()}))


def make_encrypted_by_a_new_key(folder: Path) -> tuple[Manifest, State]:
    put_key(folder, generate_secret("main"))
    return make_encrypted(keyring(folder, "main"))


def test_nothing_secret_is_in_any_of_these_errors(folder: Path) -> None:
    key = generate_secret("main")
    put_key(folder, key)
    maker = keyring(folder, "main")
    manifest, state = make_encrypted(maker)
    data_key = maker.data_key(manifest, state)
    planted = [secret_of(key), secret_of(key)[4:24], data_key.to_bytes().hex(), repr(data_key.to_bytes())[2:-1]]
    broken = state.wrapped_keys[0].model_copy(update={"wrapped": "AAAA"})
    for changed in (
        state.model_copy(update={"wrapped_keys": (broken,)}),
        state.model_copy(update={"wrapped_keys": ()}),
    ):
        with pytest.raises(EncryptionKeyError) as refusal:
            opened(folder, manifest, changed)
        assert not any(secret in str(refusal.value) + repr(refusal.value.__cause__) for secret in planted)
    assert not any(secret in manifest.to_json().decode() + state.to_json().decode() for secret in planted)


# Making and re-wrapping


def test_no_data_key_is_made_unless_it_can_be_wrapped_for_all(folder: Path) -> None:
    put_key(folder, generate_secret("main"))
    with pytest.raises(KeyUnavailable, match=r"escrow\.json does not exist"):
        make_encrypted(keyring(folder, "main", "escrow"))


def test_rewrapping_is_for_the_recipients_of_now_alone_and_newer_than_what_was(folder: Path) -> None:
    old = put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    data_key = opened(folder, manifest, state)
    put_key(folder, generate_secret("main-2027"))
    put_key(folder, generate_pair("escrow")[1])
    wraps = keyring(folder, "main-2027", "escrow").rewrap(manifest, state)
    assert [wrap.recipient for wrap in wraps] == ["main-2027", "escrow"]
    assert min(wrap.wrapped_at for wrap in wraps) > max(wrap.wrapped_at for wrap in state.wrapped_keys)
    old.unlink()
    assert opened(folder, manifest, state.model_copy(update={"wrapped_keys": wraps})).to_bytes() == data_key.to_bytes()


def test_what_is_wrapped_for_the_recipients_of_now_stays_as_it_is(folder: Path) -> None:
    put_key(folder, generate_pair("escrow")[1])  # which could not be opened here
    manifest, state = make_encrypted(keyring(folder, "escrow"))
    assert keyring(folder, "escrow").rewrap(manifest, state) == state.wrapped_keys


def test_of_two_wraps_for_one_key_of_which_one_is_damaged_rewrapping_takes_the_one_that_opens(folder: Path) -> None:
    """As where the state of one copy was changed: the one that is whole would be lost with the others."""
    put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    (whole,) = state.wrapped_keys
    damaged = whole.model_copy(update={"wrapped": "zzzz" + whole.wrapped[4:]})
    both = state.model_copy(update={"wrapped_keys": (damaged, whole)})
    assert not keyring(folder, "main").is_wrapped(both)
    (again,) = keyring(folder, "main").rewrap(manifest, both)
    assert opened(folder, manifest, state.model_copy(update={"wrapped_keys": (again,)})) is not None


def test_rewrapping_for_a_new_key_under_the_old_name_is_done(folder: Path) -> None:
    old = put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    old.rename(folder / "main-before.json")
    new = generate_secret("main")
    put_key(folder, new)
    wraps = keyring(folder, "main").rewrap(manifest, state)
    assert [wrap.key_id for wrap in wraps] == [new.fingerprint]


def test_a_rewrap_without_the_old_key_changes_nothing(folder: Path) -> None:
    put_key(folder, generate_secret("main"))
    manifest, state = make_encrypted(keyring(folder, "main"))
    (folder / "main.json").unlink()
    put_key(folder, generate_secret("new"))
    with pytest.raises(KeyUnavailable):
        keyring(folder, "new").rewrap(manifest, state)
