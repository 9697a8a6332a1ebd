"""Rotation: which key opens a backup afterwards, in every copy; and what may not take a key's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from db_backup.encryption.key_file import generate_pair, generate_secret
from support.encrypted import put_key
from support.encrypted_project import create, encrypted_project, keys, restored, state
from support.project import Project

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return encrypted_project(tmp_path)


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
    assert len(state(project, backup_id)["wrapped_keys"]) == 1
