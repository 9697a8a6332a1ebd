"""Every type, engine and codec, in one stream and in three: made, proved as far as it can be, restored, compared.

The whole path of `db-backup create`, `verify` and `restore --as`, on a database with everything that is awkward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from db_backup.comparison import compare
from db_backup.encryption.key_file import generate_secret
from db_backup.manifest import Manifest
from db_backup.model import BackupType, Compression, EngineName
from db_backup.naming import CODEC_SUFFIX
from db_backup.progress import Cancellation, Silent
from db_backup.stream.reader import read_plain
from support.encrypted import put_key
from support.lab import EngineLab
from support.project import Project

pytestmark = pytest.mark.integration

TYPES = [BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA]
STREAMS_OF_THREE_JOBS = {EngineName.SQLITE: 1, EngineName.POSTGRES: 5, EngineName.MYSQL: 5}


@dataclass(frozen=True)
class Place:
    """One engine's database, the project that backs it up, and an empty copy of its tables to load rows into."""

    lab: EngineLab
    project: Project
    source: str
    structure: str

    def manifest(self, backup_id: str) -> Manifest:
        return Manifest.from_json(self.project.manifest_path(backup_id).read_bytes(), source="the test")


@pytest.fixture(scope="module", params=EngineName, ids=str)
def place(
    request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    lab = labs[request.param]
    source = lab.create_sample()
    folder = tmp_path_factory.mktemp("matrix")
    project = Project(folder / "project", {"shop": lab.connection(source)}, as_process=False)
    (structure,) = project.json("create", "shop", "--type", "structure", "--no-verify")["backups"]
    yield Place(lab, project, source, structure["id"])
    lab.drop(source)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("compression", Compression, ids=str)
@pytest.mark.parametrize("backup_type", TYPES, ids=str)
def test_a_backup_is_proved_and_restored(
    place: Place, tmp_path: Path, backup_type: BackupType, compression: Compression, jobs: int
) -> None:
    lab, project = place.lab, place.project
    options = ("--type", backup_type.value, "--compression", compression.value, "--jobs", str(jobs), "--no-cleanup")
    (backup,) = project.json("create", "shop", *options)["backups"]
    assert (backup["status"], backup["proof_level"]) == (
        "good",
        "archive" if backup_type is BackupType.DATA else "restore",
    )
    manifest = place.manifest(backup["id"])
    assert {part.compression for part in manifest.parts} == {compression}
    assert all(part.path.endswith(CODEC_SUFFIX[compression]) for part in manifest.parts)
    several = jobs == 3 and backup_type is not BackupType.STRUCTURE
    expected = STREAMS_OF_THREE_JOBS[lab.engine_name] if several else 1
    rows_alone = backup_type is BackupType.DATA and expected > 1
    assert len(manifest.parts) == (jobs if rows_alone else expected)

    name = str(tmp_path / "restored.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()
    try:
        if backup_type is BackupType.DATA:
            project.json("restore", place.structure, "--as", name)
            load_rows(place, manifest, name)
        else:
            assert project.json("restore", backup["id"], "--as", name)["differences"] == []
        assert compare(manifest.inventory, lab.engine(name).take_inventory(manifest, Cancellation())) == ()
        counts = lab.counts_of_structure if backup_type is BackupType.STRUCTURE else lab.own_counts
        assert lab.own_counts(name) == counts(place.source)
    finally:
        lab.drop(name)


def test_an_encrypted_backup_is_proved_and_restored(place: Place, tmp_path: Path) -> None:
    lab, project = place.lab, place.project
    keys = project.folder / "keys"
    put_key(keys, generate_secret("default"))
    project.environment["BACKUP_KEYS_PATH"] = str(keys)
    options = ("--encrypt", "--compression", "zstd", "--jobs", "3", "--no-cleanup")
    (backup,) = project.json("create", "shop", *options)["backups"]
    assert (backup["status"], backup["proof_level"], backup["encrypted"]) == ("good", "restore", True)
    manifest = place.manifest(backup["id"])
    for part in manifest.parts:
        assert part.path.endswith(".zst.enc")
        assert not (project.storage / "database" / part.path).read_bytes().startswith(b"\x28\xb5\x2f\xfd")

    name = str(tmp_path / "restored.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()
    try:
        assert project.json("restore", backup["id"], "--as", name)["differences"] == []
        assert lab.own_counts(name) == lab.own_counts(place.source)
    finally:
        lab.drop(name)


def load_rows(place: Place, manifest: Manifest, name: str) -> None:
    """Restoring rows into tables that are there has no command yet: the engine does it by itself."""
    folder = place.project.storage / "database"
    streams = [
        read_plain(iter([(folder / part.path).read_bytes()]), part, progress=Silent()) for part in manifest.parts
    ]
    place.lab.engine(name).load(streams, manifest, Cancellation())
