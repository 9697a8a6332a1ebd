"""`scripts/decrypt_backup.py`: a backup is decrypted with Tink, and nothing of the product."""

from __future__ import annotations

import base64
import gzip
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from db_backup.encryption.key_file import generate_pair, generate_secret
from db_backup.jobs.copies import locate
from db_backup.jobs.workspace import Workspace
from support.encrypted import put_key
from support.encrypted_project import create, encrypted_project, keys, state, state_path
from support.project import Project

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "decrypt_backup.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return encrypted_project(tmp_path)


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
    (whole,) = document["wrapped_keys"]
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
