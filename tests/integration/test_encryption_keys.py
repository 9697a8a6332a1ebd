"""Keys in use: where a worker has only half of one, carried in a kit; and never seen anywhere."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import signal
import threading
from pathlib import Path

import pyrage
import pytest
import yaml

from db_backup.encryption.key_file import Key, generate_pair, generate_secret
from support import processes, quick_age
from support.encrypted import put_key
from support.encrypted_project import create, encrypted_project, keys, restored, state
from support.lab import ToolBehaviour
from support.lab_postgres import PostgresLab
from support.project import Project

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return encrypted_project(tmp_path)


# A worker that cannot read what it writes


def test_a_worker_with_a_public_key_proves_what_it_makes_and_reads_it_never_again(project: Project) -> None:
    private, public = generate_pair("default")
    put_key(keys(project), public)
    (backup,) = project.json("create", "shop")["backups"]
    assert (backup["verified"], backup["proof_level"]) == (True, "restore")
    proof = state(project, backup["id"])["proofs"][0]
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
