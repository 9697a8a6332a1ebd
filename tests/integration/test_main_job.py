"""The acceptance of the main job at the terminal: three real engines, no Airflow running."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from db_backup.model import ConnectionInfo, EngineName
from support.dumps import rebuild_by_stock_tools
from support.lab import EngineLab, ToolBehaviour
from support.project import Project

pytestmark = pytest.mark.integration

Labs = Mapping[EngineName, EngineLab]
NAMES = {EngineName.SQLITE: "lite", EngineName.MYSQL: "maria", EngineName.POSTGRES: "post"}


def sample_project(folder: Path, labs: Labs, *, as_process: bool = False) -> tuple[Project, dict[EngineName, str]]:
    """A project over a fresh sample database of every engine, and what those are called."""
    samples = {engine: lab.create_sample() for engine, lab in labs.items()}
    connections = {NAMES[engine]: labs[engine].connection(database) for engine, database in samples.items()}
    return Project(folder, connections, as_process=as_process), samples


@pytest.fixture(scope="module")
def samples(labs: Labs) -> dict[str, ConnectionInfo]:
    """A database of every engine, which no test changes."""
    return {NAMES[engine]: lab.connection(lab.create_sample()) for engine, lab in labs.items()}


@pytest.fixture
def project(tmp_path: Path, samples: dict[str, ConnectionInfo]) -> Project:
    return Project(tmp_path / "project", samples, as_process=False)


def new_name(lab: EngineLab, project: Project) -> str:
    return str(project.folder / "restored.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()


def test_three_databases_are_backed_up_listed_verified_and_restored(tmp_path: Path, labs: Labs) -> None:
    project, samples = sample_project(tmp_path / "project", labs, as_process=True)

    created = project.json("create", *NAMES.values())
    assert created["failed"] == []
    assert [(backup["database"], backup["status"]) for backup in created["backups"]] == [
        (name, "good") for name in NAMES.values()
    ], [backup["proof_reason"] for backup in created["backups"]]
    assert all(backup["proof_level"] == "restore" for backup in created["backups"])

    listing = project.run("list", "--detailed")
    assert listing.returncode == 0
    for backup in created["backups"]:
        assert backup["id"] in listing.stdout

    proofs = project.json("verify", "--all", "--level", "restore")["proofs"]
    assert {(proof["backup_id"], proof["result"]) for proof in proofs} == {
        (backup["id"], "passed") for backup in created["backups"]
    }

    for backup in created["backups"]:
        engine = EngineName(backup["engine"])
        target = new_name(labs[engine], project)
        report = project.json("restore", backup["id"], "--as", target)
        assert report["differences"] == []
        assert labs[engine].counts(target) == labs[engine].counts(samples[engine])


def test_the_stock_command_of_the_manifest_rebuilds_each_database(tmp_path: Path, labs: Labs) -> None:
    project, samples = sample_project(tmp_path / "project", labs)
    for backup in project.json("create")["backups"]:
        lab = labs[EngineName(backup["engine"])]
        restored = rebuild_by_stock_tools(project, backup["id"], lab)
        assert lab.counts(restored) == lab.counts(samples[lab.engine_name])


@pytest.mark.parametrize("engine", [EngineName.POSTGRES, EngineName.MYSQL])
@pytest.mark.parametrize("behaviour", [ToolBehaviour.TRUNCATES, ToolBehaviour.FAILS])
def test_a_dump_tool_that_fails_or_lies_publishes_nothing(
    tmp_path: Path, labs: Labs, project: Project, engine: EngineName, behaviour: ToolBehaviour
) -> None:
    earlier = project.json("create", NAMES[engine])["backups"][0]["id"]
    before = project.files()
    fake = labs[engine].fake_dump_tool(tmp_path / "fake", behaviour)

    created = project.json("create", NAMES[engine], exit_code=1, PATH=f"{fake}:{os.environ['PATH']}")

    assert created["backups"] == []
    assert created["failed"][0]["database"] == NAMES[engine]
    assert project.files() == before
    assert not processes_mentioning(str(fake))
    assert project.json("verify", earlier, "--level", "checksum")["proofs"][0]["result"] == "passed"


@pytest.mark.parametrize("engine", [EngineName.POSTGRES, EngineName.MYSQL])
def test_a_dump_that_hangs_is_stopped_at_the_time_limit(
    tmp_path: Path, labs: Labs, project: Project, engine: EngineName
) -> None:
    fake = labs[engine].fake_dump_tool(tmp_path / "fake", ToolBehaviour.HANGS)

    done = project.run("create", NAMES[engine], PATH=f"{fake}:{os.environ['PATH']}", BACKUP_TIMEOUT_SECONDS="4")

    assert done.returncode == 1
    for word in (NAMES[engine], "BACKUP_TIMEOUT_SECONDS", "4"):
        assert word in done.stderr
    assert project.files() == set()
    assert not processes_mentioning(str(fake))


def processes_mentioning(text: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in command:
            found.append(command)
    return found


@pytest.fixture(params=list(NAMES), ids=NAMES.values())
def lab(request: pytest.FixtureRequest, labs: Labs) -> EngineLab:
    return labs[request.param]


def rewrite(project: Project, backup_id: str, change: Callable[[bytes], bytes]) -> None:
    """Change a gzip backup's plain bytes and make every hash in the manifest match: damage that no checksum sees."""
    artefact = project.artefact(backup_id)
    plain = change(gzip.decompress(artefact.read_bytes()))
    stored = gzip.compress(plain)
    artefact.write_bytes(stored)
    manifest = project.manifest(backup_id)
    manifest["parts"][0] |= {
        "stored_bytes": len(stored),
        "stored_sha256": hashlib.sha256(stored).hexdigest(),
        "plain_bytes": len(plain),
        "plain_sha256": hashlib.sha256(plain).hexdigest(),
    }
    project.manifest_path(backup_id).write_text(json.dumps(manifest))


def test_a_row_removed_under_matching_hashes_fails_the_restore_and_names_the_table(
    project: Project, lab: EngineLab
) -> None:
    backup_id = project.json("create", NAMES[lab.engine_name])["backups"][0]["id"]
    rewrite(project, backup_id, lab.break_one_row)

    assert project.json("verify", backup_id, "--level", "checksum")["proofs"][0]["result"] == "passed"
    proof = project.json("verify", backup_id, "--level", "restore", exit_code=3)["proofs"][0]

    assert proof["result"] == "failed"
    assert [difference["name"] for difference in proof["differences"]] == [lab.table("marks")]
    shown = project.run("verify", backup_id, "--level", "restore")
    assert shown.returncode == 3
    assert lab.table("marks") in shown.stderr


def test_one_flipped_byte_fails_the_checksum(project: Project, lab: EngineLab) -> None:
    backup_id = project.json("create", NAMES[lab.engine_name])["backups"][0]["id"]
    artefact = project.artefact(backup_id)
    content = bytearray(artefact.read_bytes())
    content[len(content) // 2] ^= 1
    artefact.write_bytes(content)

    proof = project.json("verify", backup_id, "--level", "checksum", exit_code=3)["proofs"][0]

    assert (proof["result"], proof["reached"]) == ("failed", None)


def test_one_unreachable_database_leaves_the_other_two_good(tmp_path: Path, labs: Labs) -> None:
    samples = {engine: lab.create_sample() for engine, lab in labs.items()}
    connections: dict[str, ConnectionInfo] = {
        "lite": labs[EngineName.SQLITE].connection(samples[EngineName.SQLITE]),
        "maria": labs[EngineName.MYSQL].unreachable(samples[EngineName.MYSQL]),
        "post": labs[EngineName.POSTGRES].connection(samples[EngineName.POSTGRES]),
    }
    project = Project(tmp_path / "project", connections, as_process=False)

    created = project.json("create", exit_code=1)

    assert [failure["database"] for failure in created["failed"]] == ["maria"]
    assert {(backup["database"], backup["status"]) for backup in created["backups"]} == {
        ("lite", "good"),
        ("post", "good"),
    }, created["backups"]


@pytest.mark.parametrize("engine", [EngineName.POSTGRES, EngineName.MYSQL])
def test_a_wrong_password_fails_and_is_never_shown(tmp_path: Path, labs: Labs, engine: EngineName) -> None:
    lab = labs[engine]
    connection = lab.wrong_password(lab.create_sample())
    project = Project(tmp_path / "project", {"shop": connection})

    done = project.run("create", "shop")

    assert done.returncode == 1
    assert connection.login in done.stderr
    assert connection.password not in done.stdout + done.stderr
    assert project.files() == set()


def test_reindexing_gives_the_same_list_proofs_included(project: Project) -> None:
    project.json("create")
    before = project.json("list")
    for path in project.catalog.parent.glob("catalog.sqlite*"):
        path.unlink()

    assert project.json("list")["backups"] == []
    report = project.json("catalog", "reindex")

    assert (report["backups"], report["problems"]) == (3, [])
    assert project.json("list") == before
    assert project.json("catalog", "check")["problems"] == []


def test_a_missing_tool_is_named_with_its_package(tmp_path: Path, labs: Labs) -> None:
    lab = labs[EngineName.MYSQL]
    project = Project(tmp_path / "project", {"maria": lab.connection(lab.create_sample())})
    nothing = tmp_path / "nothing"
    nothing.mkdir()

    done = project.run("create", "maria", PATH=str(nothing))

    assert done.returncode == 1
    assert "mariadb-client" in done.stderr
    assert project.files() == set()
