"""Keys in use: written with one, read with another, rotated, carried in a kit; and never seen anywhere."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyrage
import pytest
import yaml

from db_backup.encryption.key_file import Key, generate_pair, generate_secret
from db_backup.jobs.copies import locate
from db_backup.jobs.workspace import Workspace
from support import processes, quick_age
from support.encrypted import put_key
from support.lab import ToolBehaviour
from support.lab_postgres import PostgresLab
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "decrypt_backup.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)
    made.environment |= {"BACKUP_KEYS_PATH": str(keys(made)), "BACKUP_ENCRYPT": "true"}
    keys(made).mkdir()
    return made


def keys(project: Project) -> Path:
    return project.folder / "keys"


def create(project: Project, **environment: str) -> str:
    (backup,) = project.json("create", "shop", **environment)["backups"]
    assert backup["encrypted"]
    return str(backup["id"])


def state_path(project: Project, backup_id: str) -> Path:
    return project.storage / "metadata" / f"{backup_id}.state.json"


def state(project: Project, backup_id: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(state_path(project, backup_id).read_text())
    return document


def restored(project: Project, backup_id: str, name: str = "back.sqlite", **environment: str) -> bool:
    document = project.json("restore", backup_id, "--as", str(project.folder / name), **environment)
    return document["differences"] == [] and document["rows"] == 400


# A worker that cannot read what it writes


def test_a_worker_with_a_public_key_proves_what_it_makes_and_reads_it_never_again(project: Project) -> None:
    private, public = generate_pair("default")
    put_key(keys(project), public)
    (backup,) = project.json("create", "shop")["backups"]
    assert (backup["verified"], backup["proof_level"]) == (True, "restore")
    proof = state(project, backup["id"])["proofs"][0]  # type: ignore[index]
    assert "no key that opens" in proof["evidence"]["encryption_key"]

    (again,) = project.json("verify", backup["id"], exit_code=1)["proofs"]
    assert (again["result"], again["reached"]) == ("inconclusive", "checksum")
    assert "only the public half is here" in again["reason"]
    (listed,) = project.json("list")["backups"]
    assert (listed["status"], listed["verified"]) == ("good", True)  # what was proven stands

    refused = project.run("restore", backup["id"], "--as", str(project.folder / "back.sqlite"))
    assert refused.returncode == 1
    assert private.fingerprint in refused.stderr
    assert not (project.folder / "back.sqlite").exists()

    put_key(keys(project), private, "from-the-safe.json")
    assert restored(project, backup["id"])


def test_an_increment_that_needs_what_this_worker_cannot_read_becomes_a_full(project: Project) -> None:
    """Of SQLite: what has changed is told by the hashes in the backup before it, which is encrypted too."""
    document = yaml.safe_load(project.config.read_text())
    document["databases"]["shop"]["types"] = ["full", "incremental"]
    project.config.write_text(yaml.safe_dump(document))
    private, public = generate_pair("default")
    put_key(keys(project), public)
    create(project)
    (instead,) = project.json("create", "shop", "--type", "incremental")["backups"]
    assert (instead["type"], instead["verified"]) == ("full", True)
    assert private.fingerprint in instead["warnings"][0]
    put_key(keys(project), private)
    (increment,) = project.json("create", "shop", "--type", "incremental")["backups"]
    assert (increment["type"], increment["encrypted"], increment["base_id"]) == ("incremental", True, instead["id"])
    assert project.json("verify", increment["id"], "--level", "restore")["proofs"][0]["result"] == "passed"


def test_the_canary_of_the_command_line_tells_opened_from_offline_from_lost(project: Project) -> None:
    private, public = generate_pair("default")
    put_key(keys(project), public)
    create(project)
    assert project.json("keys", "list", "--check")["checks"][0]["result"] == "offline"
    put_key(keys(project), private)
    assert project.json("keys", "list", "--check")["checks"][0]["result"] == "opened"
    for path in keys(project).iterdir():
        path.unlink()
    lost = project.json("keys", "list", "--check", exit_code=1)
    assert [(key["name"], key["fingerprint"], key["opens"]) for key in lost["keys"]] == [
        ("default", private.fingerprint, False)
    ]
    (check,) = lost["checks"]
    assert check["result"] == "failed"
    assert "default.json does not exist" in check["reason"]

    unaware = str(project.folder / "catalog-of-another-machine.sqlite")
    (check,) = project.json("keys", "list", "--check", exit_code=1, BACKUP_CATALOG_PATH=unaware)["checks"]
    assert (check["result"], check["entry"]) == ("failed", "shop")
    put_key(keys(project), private)
    (check,) = project.json("keys", "list", "--check", BACKUP_CATALOG_PATH=unaware)["checks"]
    assert check["result"] == "opened"


# Rotation


def test_a_new_key_does_not_take_the_place_of_a_public_half_whose_private_key_is_elsewhere(project: Project) -> None:
    put_key(keys(project), generate_pair("default")[1])
    refused = project.run("keys", "generate", "default")
    assert refused.returncode == 4
    assert "default.public.json exists already" in refused.stderr
    assert [path.name for path in keys(project).iterdir()] == ["default.public.json"]


def test_a_pair_for_a_key_that_is_configured_by_its_public_half_keeps_the_private_key_out_of_that_file(
    project: Project,
) -> None:
    document = yaml.safe_load(project.config.read_text())
    document["keys"] = {"escrow": {"file": "escrow.public.json"}}
    project.config.write_text(yaml.safe_dump(document))
    assert project.run("keys", "generate", "escrow").returncode == 2
    assert project.run("keys", "generate", "escrow", "--public-key").returncode == 0
    kinds = {path.name: json.loads(path.read_text())["kind"] for path in keys(project).iterdir()}
    assert kinds == {"escrow.json": "private", "escrow.public.json": "public"}


def test_after_a_rotation_the_old_key_may_go(project: Project) -> None:
    assert project.run("keys", "generate", "default").returncode == 0
    backup_id = create(project)
    artefact = project.artefact(backup_id).read_bytes()
    assert project.run("keys", "generate", "main-2027").returncode == 0
    new = {"BACKUP_ENCRYPTION_KEY_ID": "main-2027"}
    assert project.json("keys", "rotate", "--dry-run", **new)["rewrapped"] == 1
    done = project.run("keys", "rotate", **new)
    assert (done.returncode, "Backups wrapped for main-2027" in done.stdout) == (0, True)
    needed = {key["name"]: key["backups"] for key in project.json("keys", "list", **new)["keys"]}
    assert needed == {"main-2027": 1, "default": 0}
    (keys(project) / "default.json").unlink()
    assert project.artefact(backup_id).read_bytes() == artefact
    assert restored(project, backup_id, **new)
    assert [line["act"] for line in project.json("audit")["acts"]].count("key") >= 2


def test_a_rotation_that_cannot_open_a_backup_fails_and_says_to_keep_the_old_keys(project: Project) -> None:
    put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    put_key(keys(project), generate_secret("default"))
    done = project.run("keys", "rotate")
    assert done.returncode == 1
    assert f"{backup_id}: No key here opens" in done.stderr
    assert "Keep the old keys" in done.stderr


def test_rotation_reaches_every_copy_and_comes_back_for_one_that_was_away(project: Project) -> None:
    nas = project.folder / "nas"
    document = yaml.safe_load(project.config.read_text())
    document["storages"] = {"nas": {"url": nas.as_uri()}}
    document["databases"]["shop"]["storages"] = ["local", "nas"]
    project.config.write_text(yaml.safe_dump(document))
    for name in ("default", "second", "third"):
        put_key(keys(project), generate_secret(name))
    backup_id = create(project)

    def recipients() -> dict[str, list[str]]:
        places = {"local": project.storage, "nas": nas}
        states = {
            name: json.loads((at / f"metadata/{backup_id}.state.json").read_text()) for name, at in places.items()
        }
        return {name: [wrap["recipient"] for wrap in found["wrapped_keys"]] for name, found in states.items()}

    assert project.json("keys", "rotate", BACKUP_ENCRYPTION_KEY_ID="second")["rewrapped"] == 1
    assert recipients() == {"local": ["second"], "nas": ["second"]}

    nas.rename(project.folder / "unplugged")
    third = {"BACKUP_ENCRYPTION_KEY_ID": "third"}
    report = project.json("keys", "rotate", exit_code=1, **third)
    assert (report["rewrapped"], len(report["unreached"])) == (1, 1)
    assert "'nas'" in report["unreached"][0]
    assert not nas.exists()

    (project.folder / "unplugged").rename(nas)
    assert recipients() == {"local": ["third"], "nas": ["second"]}
    again = project.json("keys", "rotate", **third)
    assert (again["rewrapped"], again["unreached"]) == (1, [])
    assert recipients() == {"local": ["third"], "nas": ["third"]}
    for name in ("default", "second"):
        (keys(project) / f"{name}.json").unlink()
    assert restored(project, backup_id, **third)


@pytest.mark.parametrize(
    "change", [{"wrapped": "zzzz" * 40}, {"wrapped": "zzzz" * 40, "wrapped_at": "2100-01-01T00:00:00Z"}]
)
def test_a_wrapped_key_that_was_changed_in_one_copy_costs_no_copy_its_key(
    project: Project, change: dict[str, str]
) -> None:
    nas = project.folder / "nas"
    document = yaml.safe_load(project.config.read_text())
    document["storages"] = {"nas": {"url": nas.as_uri()}}
    document["databases"]["shop"]["storages"] = ["local", "nas"]
    project.config.write_text(yaml.safe_dump(document))
    put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    at = nas / f"metadata/{backup_id}.state.json"
    changed = json.loads(at.read_text())
    changed["wrapped_keys"][0] |= change
    at.write_text(json.dumps(changed))

    assert restored(project, backup_id, "before.sqlite")
    assert project.run("replicate").returncode == 0  # which lets every copy know what the others know
    assert restored(project, backup_id, "between.sqlite")
    assert project.json("keys", "rotate")["rewrapped"] == 1
    assert restored(project, backup_id, "after.sqlite")
    assert len(state(project, backup_id)["wrapped_keys"]) == 1  # type: ignore[arg-type]


# Somebody who may write to the storage, and has no key


def put_in_the_clear(project: Project, backup_id: str) -> None:
    """Somebody's own file in place of the encrypted part, and a manifest that fits it."""
    plain = gzip.compress(project.artefact(backup_id).read_bytes())
    manifest = project.manifest(backup_id)
    (part,) = manifest["parts"]
    project.artefact(backup_id).unlink()
    part |= {
        "path": part["path"].removesuffix(".enc"),
        "stored_bytes": len(plain),
        "stored_sha256": hashlib.sha256(plain).hexdigest(),
        "cipher": None,
    }
    project.manifest_path(backup_id).write_text(json.dumps(manifest))
    project.artefact(backup_id).write_bytes(plain)


def test_a_part_in_the_clear_is_none_of_a_backup_that_was_encrypted(project: Project) -> None:
    put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    put_in_the_clear(project, backup_id)
    refused = project.run("restore", backup_id, "--as", str(project.folder / "back.sqlite"))
    assert refused.returncode == 3
    assert "is not encrypted, and" in refused.stderr
    assert not (project.folder / "back.sqlite").exists()
    (proof,) = project.json("verify", backup_id, "--level", "checksum", exit_code=3)["proofs"]
    assert (proof["result"], proof["reached"]) == ("failed", None)


def test_a_restore_warns_of_a_backup_in_the_clear_where_backups_are_to_be_encrypted(project: Project) -> None:
    (backup,) = project.json("create", "shop", BACKUP_ENCRYPT="false")["backups"]
    plain = project.json("restore", backup["id"], "--as", "a.sqlite", BACKUP_ENCRYPT="false")
    assert plain["warnings"] == []
    warned = project.json("restore", backup["id"], "--as", "b.sqlite")
    assert "is not encrypted, and backups of 'shop' are to be" in warned["warnings"][0]


def test_who_downloads_the_encrypted_bytes_is_told_where_their_key_lies(project: Project) -> None:
    put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    (warning,) = project.json("download", backup_id, "--raw")["warnings"]
    assert f"metadata/{backup_id}.state.json" in warning
    assert project.json("download", backup_id)["warnings"] == []


# The break-glass kit

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def kit(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pyrage.passphrase, "encrypt", quick_age.encrypt)
    (project.folder / "passphrase").write_text(f"{PASSPHRASE}\n")
    return project.folder / "shop.kit"


def export(project: Project, kit: Path) -> str:
    done = project.run("kit", "export", str(kit), "--passphrase-file", "passphrase")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def without_keys(project: Project) -> None:
    for path in keys(project).iterdir():
        path.unlink()
    keys(project).rmdir()


def test_a_kit_opens_what_the_worker_opened(project: Project, kit: Path) -> None:
    key = generate_secret("default")
    put_key(keys(project), key)
    backup_id = create(project)
    assert "Keys: default.json" in export(project, kit)
    without_keys(project)
    target = project.folder / "back.sqlite"
    by_kit = ["--kit", str(kit), "--passphrase-file", "passphrase", "restore", backup_id, "--as", str(target)]
    done = project.run(*by_kit)
    assert done.returncode == 0, done.stderr
    assert target.exists()
    assert not keys(project).exists()  # nothing of the kit was written anywhere


def test_an_imported_kit_puts_the_keys_where_the_keyring_looks(project: Project, kit: Path, tmp_path: Path) -> None:
    key = generate_secret("default")
    put_key(keys(project), key)
    export(project, kit)
    without_keys(project)
    done = project.run("kit", "import", str(kit), "--passphrase-file", "passphrase", "--into", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    written = tmp_path / "new" / "db_backup_keys" / "default.json"
    assert written.read_text() == key.to_json()
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_kit_says_which_private_key_it_has_not(project: Project, kit: Path) -> None:
    private, public = generate_pair("escrow")
    put_key(keys(project), public)
    told = export(project, kit)
    assert "Keys: escrow.public.json" in told
    assert f"The private key 'escrow' ({private.fingerprint}) is not in the kit" in told


def test_a_kit_holds_the_connection_that_holds_a_key(project: Project, kit: Path) -> None:
    key = generate_secret("vault")
    project.environment["AIRFLOW_CONN_KEY_VAULT"] = json.dumps({"conn_type": "generic", "password": key.to_json()})
    project.environment["BACKUP_ENCRYPTION_KEY_ID"] = "vault"
    document = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(document | {"keys": {"vault": {"conn_id": "key_vault"}}}))
    backup_id = create(project)
    export(project, kit)
    del project.environment["AIRFLOW_CONN_KEY_VAULT"]
    assert project.run("restore", backup_id, "--as", str(project.folder / "no.sqlite")).returncode == 1
    by_kit = ["--kit", str(kit), "--passphrase-file", "passphrase", "restore", backup_id]
    assert project.run(*by_kit, "--as", str(project.folder / "back.sqlite")).returncode == 0


def test_a_kit_holds_what_a_key_service_is_asked_with_and_says_that_its_key_is_elsewhere(
    project: Project, kit: Path
) -> None:
    uri = "aws-kms://arn:aws:kms:eu-central-1:123456789012:key/0f1e"
    document = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(document | {"keys": {"kms": {"kms": uri}}}))
    project.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps({"conn_type": "aws", "login": "a", "password": "b"})
    told = export(project, kit)
    assert "aws_default" in told
    assert f"The key 'kms' is kept by its key service ({uri})" in told


# Without the product


def alone(tmp_path: Path) -> list[str]:
    """An interpreter that sees the standard library, Tink, and what Tink needs."""
    import absl
    import google.protobuf
    import tink

    place = tmp_path / "tink-alone"
    (place / "google").mkdir(parents=True)
    for module, name in ((tink, "tink"), (absl, "absl"), (google.protobuf, "google/protobuf")):
        (place / name).symlink_to(Path(str(module.__file__)).parent)
    upb = Path(str(google.protobuf.__file__)).parents[1] / "_upb"
    if upb.exists():
        (place / "google" / "_upb").symlink_to(upb)
    program = (
        f"import sys, runpy; sys.path.append({str(place)!r}); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    return [sys.executable, "-I", "-S", "-c", program]


def decrypted(tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [*alone(tmp_path), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60, env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("public", [False, True])
def test_a_part_is_decrypted_with_tink_alone(project: Project, tmp_path: Path, public: bool) -> None:
    key = generate_pair("default")[0] if public else generate_secret("default")
    path = put_key(keys(project), key)
    backup_id = create(project)
    done = decrypted(tmp_path, "--key", path, "--state", state_path(project, backup_id), project.artefact(backup_id))
    assert done.returncode == 0, done.stderr.decode()
    assert gzip.decompress(done.stdout).startswith(b"SQLite format 3\0")


def test_of_several_wraps_for_its_key_the_script_takes_the_one_that_opens(project: Project, tmp_path: Path) -> None:
    path = put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    document = state(project, backup_id)
    (whole,) = document["wrapped_keys"]  # type: ignore[misc]
    damaged = {**whole, "wrapped": base64.b64encode(b"not what was written").decode()}
    merged = tmp_path / "merged.state.json"
    merged.write_text(json.dumps({**document, "wrapped_keys": [damaged, whole]}))
    done = decrypted(tmp_path, "--key", path, "--state", merged, project.artefact(backup_id))
    assert done.returncode == 0, done.stderr.decode()


def test_without_the_right_key_the_script_names_what_opens_it(project: Project, tmp_path: Path) -> None:
    private, public = generate_pair("default")
    put_key(keys(project), public)
    backup_id = create(project)
    where = ["--state", state_path(project, backup_id), project.artefact(backup_id)]
    other = put_key(tmp_path, generate_secret("other"))
    for choice in ([], ["--key", other], ["--key", keys(project) / "default.public.json"]):
        done = decrypted(tmp_path / f"try-{len(choice)}-{choice and choice[-1].name}", *choice, *where)
        assert done.returncode == 1
        assert private.fingerprint in done.stderr.decode()
        assert done.stdout == b""


def test_the_script_refuses_a_changed_part_and_a_renamed_one(project: Project, tmp_path: Path) -> None:
    path = put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    artefact = project.artefact(backup_id)
    opens = ["--key", path, "--state", state_path(project, backup_id)]
    renamed = artefact.with_name(f"{backup_id}.other.enc")
    renamed.write_bytes(artefact.read_bytes())
    content = bytearray(artefact.read_bytes())
    content[-20] ^= 1
    artefact.write_bytes(content)
    for number, part in enumerate((artefact, renamed, tmp_path / "backup_crm_full_2026-01-31_03-00-00.sql.enc")):
        done = decrypted(tmp_path / str(number), *opens, part)
        assert done.returncode == 1
        assert part.name in done.stderr.decode()


def test_the_script_says_how_a_key_service_opens_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = runpy.run_path(str(SCRIPT))["_how_to_open"]
    wrap = {"recipient": "kms", "wrapped": "AAAA"}
    aws = how("b", [{**wrap, "kind": "aws_kms", "key_id": "aws-kms://arn:aws:kms:eu-1:1:key/2"}])
    assert "aws kms decrypt --key-id arn:aws:kms:eu-1:1:key/2" in aws
    assert f"associatedData={b'dbbk|v1|dek|b'.hex()}" in aws
    assert "gcloud kms decrypt --key projects/x" in how(
        "b", [{**wrap, "kind": "gcp_kms", "key_id": "gcp-kms://projects/x"}]
    )
    planted = how("b", [{**wrap, "wrapped": "$(touch x)", "kind": "aws_kms", "key_id": "aws-kms://k; touch y"}])
    assert "echo '$(touch x)' | base64" in planted  # what the state says is no part of a command
    assert "--key-id 'k; touch y' " in planted


def test_a_data_key_that_a_key_service_has_opened_decrypts(project: Project, tmp_path: Path) -> None:
    put_key(keys(project), generate_secret("default"))
    backup_id = create(project)
    with Workspace.open(project.environment) as workspace:
        located = locate(workspace, backup_id)
        data_key = workspace.keyring.unwrap(located.manifest, located.state)
    (tmp_path / "data.key").write_bytes(data_key.to_bytes())
    given = ["--data-key", tmp_path / "data.key", "--state", state_path(project, backup_id)]
    done = decrypted(tmp_path, *given, project.artefact(backup_id))
    assert gzip.decompress(done.stdout).startswith(b"SQLite format 3\0")


# Nowhere to be seen


def secrets_of(key: Key) -> list[str]:
    value = json.loads(key.keyset)["key"][0]["keyData"]["value"]
    return [value, value[8:40]]


def test_no_key_is_in_anything_that_is_stored_or_said(project: Project, kit: Path) -> None:
    local, vault = generate_secret("default"), generate_secret("vault")
    private, public = generate_pair("escrow")
    put_key(keys(project), local)
    put_key(keys(project), public)
    project.environment |= {
        "AIRFLOW_CONN_KEY_VAULT": json.dumps({"conn_type": "generic", "password": vault.to_json()}),
        "BACKUP_ENCRYPTION_KEY_ID": "default,vault,escrow",
        "DB_BACKUP_DEBUG": "1",
    }
    document = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(document | {"keys": {"vault": {"conn_id": "key_vault"}}}))
    said = []
    for arguments in (
        ["create", "shop"],
        ["list", "--detailed"],
        ["keys", "list", "--check", "--json"],
        ["keys", "generate", "another"],
        ["keys", "rotate", "--json"],
        ["config"],
        ["audit", "--json"],
        ["kit", "export", str(kit), "--passphrase-file", "passphrase"],
        ["health"],
    ):
        done = project.run(*arguments)
        said += [done.stdout, done.stderr]
    (keys(project) / "default.json").write_text(local.to_json()[:-30])
    del project.environment["AIRFLOW_CONN_KEY_VAULT"]
    failed = project.run("restore", "--database", "shop", "--as", str(project.folder / "back.sqlite"))
    assert failed.returncode == 1
    seen = "\n".join([*said, failed.stdout, failed.stderr])
    places = [path for path in project.folder.rglob("*") if path.is_file() and keys(project) not in path.parents]
    stored = b"\n".join(path.read_bytes() for path in places if path != project.config)
    assert {path.name for path in places} >= {"shop.kit", "catalog.sqlite"}
    another = json.loads((keys(project) / "another.json").read_text())["keyset"]["key"][0]["keyData"]["value"]
    for secret in [*secrets_of(local), *secrets_of(vault), *secrets_of(private), another]:
        assert secret not in seen
        assert secret.encode() not in stored


def test_no_tool_is_shown_a_key(postgres_lab: PostgresLab, tmp_path: Path) -> None:
    """From its start until it is killed in the middle of the dump: command lines and environments are looked at."""
    key, connection_key = generate_secret("default"), generate_secret("vault")
    project = Project(
        tmp_path / "project", {"shop": postgres_lab.connection(postgres_lab.create_sample())}, as_process=False
    )
    put_key(project.folder / "keys", key)
    project.environment |= {
        "BACKUP_KEYS_PATH": str(project.folder / "keys"),
        "BACKUP_ENCRYPT": "true",
        "BACKUP_ENCRYPTION_KEY_ID": "default,vault",
        "AIRFLOW_CONN_KEY_VAULT": json.dumps({"conn_type": "generic", "password": connection_key.to_json()}),
    }
    document = yaml.safe_load(project.config.read_text())
    project.config.write_text(yaml.safe_dump(document | {"keys": {"vault": {"conn_id": "key_vault"}}}))
    fake = postgres_lab.fake_dump_tool(tmp_path / "fake", ToolBehaviour.HANGS)
    shown, tools, ended = [], [], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for secret in secrets_of(key) + secrets_of(connection_key):
                shown.extend(processes.that_show(secret))
            if any(fake.glob("whole.*")):  # it has begun to dump
                tools.extend(processes.at_work_in(fake))
            if len(tools) > 20:
                for process in processes.at_work_in(fake):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(process.split()[0]), signal.SIGKILL)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        done = project.run("create", "shop", PATH=f"{fake}:{os.environ['PATH']}")
    finally:
        ended.set()
        looking.join()
    assert (done.returncode, "pg_dump" in done.stderr) == (1, True)
    assert len(tools) > 20
    assert shown == []
    assert project.files() == set()
