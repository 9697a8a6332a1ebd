"""Structure and data backups at the terminal, from create to restore, on every engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from db_backup.comparison import compare
from db_backup.manifest import Manifest
from db_backup.model import BackupType, EngineName
from db_backup.progress import Cancellation
from support.dumps import rebuild_by_stock_tools
from support.lab import EngineLab
from support.project import Project

pytestmark = pytest.mark.integration

ENGINES = list(EngineName)


@pytest.fixture(params=ENGINES, ids=str)
def lab(request: pytest.FixtureRequest, labs: Mapping[EngineName, EngineLab]) -> EngineLab:
    return labs[request.param]


@pytest.fixture
def source(lab: EngineLab) -> str:
    return lab.create_sample()


@pytest.fixture
def project(tmp_path: Path, lab: EngineLab, source: str) -> Project:
    return Project(tmp_path / "project", {"shop": lab.connection(source)}, as_process=False)


def create(project: Project, backup_type: BackupType) -> dict[str, object]:
    (backup,) = project.json("create", "shop", "--type", backup_type.value)["backups"]
    return dict(backup)


def test_a_structure_backup_is_proved_by_restoring_it_and_restores_without_rows(
    project: Project, lab: EngineLab, source: str, tmp_path: Path
) -> None:
    backup = create(project, BackupType.STRUCTURE)
    assert (backup["type"], backup["status"], backup["proof_level"]) == ("structure", "good", "restore")
    name = str(tmp_path / "new.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()
    report = project.json("restore", str(backup["id"]), "--as", name)
    assert (report["rows"], report["differences"]) == (0, [])
    assert lab.own_counts(name) == lab.counts_of_structure(source)
    lab.drop(name)


def test_a_data_backup_is_proved_to_archive_and_asks_for_tables_to_go_into(project: Project, lab: EngineLab) -> None:
    backup = create(project, BackupType.DATA)
    backup_id = str(backup["id"])
    assert (backup["type"], backup["status"], backup["proof_level"]) == ("data", "good", "archive")

    (proof,) = project.json("verify", backup_id, "--level", "restore", exit_code=1)["proofs"]
    assert (proof["result"], proof["reached"]) == ("inconclusive", "archive")
    assert "no tables" in proof["reason"]
    (listed,) = project.json("list", "--type", "data")["backups"]
    assert (listed["id"], listed["status"]) == (backup_id, "good")

    name = lab.fresh_name()
    refused = project.run("restore", backup_id, "--as", name)
    assert refused.returncode == 2
    assert "holds rows and no tables" in refused.stderr
    assert "structure backup of 'shop'" in refused.stderr
    assert not lab.exists(name)


def test_an_entrys_exclude_tables_are_left_out_and_told(project: Project, lab: EngineLab, source: str) -> None:
    entry = {"conn_id": "shop_db", "exclude_tables": ["marks", "nowhere"]}
    project.config.write_text(yaml.safe_dump({"version": 1, "databases": {"shop": entry}}))
    backup = create(project, BackupType.DATA)
    assert (backup["status"], backup["proof_level"]) == ("good", "archive")
    manifest = project.manifest(str(backup["id"]))
    assert manifest["excluded_tables"] == [lab.table("marks")]
    rows = {table["name"]: table["rows"] for table in manifest["inventory"]["tables"]}
    assert rows[lab.table("marks")] == 0
    assert rows[lab.table("orders")] == lab.counts(source)[lab.table("orders")]
    assert [warning for warning in manifest["warnings"] if "'nowhere'" in warning]


def test_create_takes_the_default_type_when_none_is_asked_for(project: Project) -> None:
    for environment, expected in (({}, "full"), ({"BACKUP_DEFAULT_TYPE": "structure"}, "structure")):
        (backup,) = project.json("create", "shop", **environment)["backups"]
        assert (backup["type"], backup["status"]) == (expected, "good")


def test_the_manifests_own_commands_bring_structure_and_rows_back(project: Project, lab: EngineLab) -> None:
    ids = [str(create(project, backup_type)["id"]) for backup_type in (BackupType.STRUCTURE, BackupType.DATA)]
    restored = lab.restored_database(project.storage / "database")
    lab.drop(restored)
    for backup_id in ids:
        rebuild_by_stock_tools(project, backup_id, lab)
    manifest = Manifest.from_json(project.manifest_path(ids[1]).read_bytes(), source="the test")
    found = lab.engine(restored).take_inventory(manifest, Cancellation())
    assert compare(manifest.inventory, found) == ()
    lab.drop(restored)
