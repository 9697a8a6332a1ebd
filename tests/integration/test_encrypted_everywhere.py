"""Three engines, encrypted, into four kinds of storage in one pass; and back from each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from db_backup.model import ConnectionInfo, EngineName
from support.azurite_server import AzuriteServer
from support.gcs_server import GcsServer
from support.lab import EngineLab
from support.moto_server import S3Server
from support.project import Project

pytestmark = pytest.mark.integration

CLOUDS = ("s3", "gcs", "azure")
PLANTED = "planted-password-of-a-storage"


@pytest.fixture(scope="module")
def connections(labs: dict[EngineName, EngineLab]) -> Iterator[dict[str, ConnectionInfo]]:
    made = {
        name: (lab, lab.create_sample()) for name, lab in zip(("lite", "maria", "post"), labs.values(), strict=True)
    }
    yield {name: lab.connection(database) for name, (lab, database) in made.items()}
    for lab, database in made.values():
        lab.drop(database)


@pytest.fixture(scope="module")
def buckets(s3_server: S3Server, gcs_server: GcsServer, azurite_server: AzuriteServer) -> dict[str, str]:
    servers = {"s3": s3_server, "gcs": gcs_server, "azure": azurite_server}
    return {name: server.new_bucket() for name, server in servers.items()}


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory,
    connections: dict[str, ConnectionInfo],
    buckets: dict[str, str],
    s3_server: S3Server,
    gcs_server: GcsServer,
    azurite_server: AzuriteServer,
) -> Project:
    """Every entry is encrypted, and goes to the local storage and the three clouds."""
    made = Project(tmp_path_factory.mktemp("everywhere") / "project", connections, as_process=False)
    schemes = {"s3": "s3", "gcs": "gs", "azure": "azure"}
    places = ["local", *CLOUDS]
    document = yaml.safe_load(made.config.read_text())
    document |= {
        "storages": {
            name: {"url": f"{schemes[name]}://{bucket}/backups", "conn_id": f"{name}_test"}
            for name, bucket in buckets.items()
        },
        "databases": {
            name: {**entry, "encrypt": True, "storages": places} for name, entry in document["databases"].items()
        },
    }
    made.config.write_text(yaml.safe_dump(document))
    made.environment |= {
        "AIRFLOW_CONN_S3_TEST": json.dumps(
            {
                "conn_type": "aws",
                "login": s3_server.key_id,
                "password": PLANTED,
                "extra": {"endpoint_url": s3_server.endpoint, "region_name": s3_server.region},
            }
        ),
        "AIRFLOW_CONN_GCS_TEST": json.dumps(
            {"conn_type": "google_cloud_platform", "extra": {"endpoint_url": gcs_server.endpoint, "is_anonymous": True}}
        ),
        "AIRFLOW_CONN_AZURE_TEST": json.dumps(
            {
                "conn_type": "wasb",
                "extra": {
                    "connection_string": (
                        f"DefaultEndpointsProtocol=http;AccountName={azurite_server.account};"
                        f"AccountKey={azurite_server.key};BlobEndpoint={azurite_server.endpoint};"
                    )
                },
            }
        ),
        "BACKUP_KEYS_PATH": str(made.folder / "keys"),
    }
    generated = made.run("keys", "generate", "default")
    assert generated.returncode == 0, generated.stderr
    return made


@pytest.fixture(scope="module")
def backups(project: Project) -> dict[str, dict[str, Any]]:
    created = project.json("create", "lite", "maria", "post")
    assert created["failed"] == []
    return {backup["database"]: backup for backup in created["backups"]}


def test_one_pass_stores_the_same_encrypted_bytes_in_all_four(
    project: Project, backups: Mapping[str, dict[str, Any]]
) -> None:
    for backup in backups.values():
        assert (backup["encrypted"], backup["verified"], backup["proof_level"]) == (True, True, "restore")
        assert sorted(backup["storages"]) == ["azure", "gcs", "local", "s3"]
        assert backup["missing_copies"] == []
        assert all(part["path"].endswith(".enc") for part in backup["parts"])
    for name in ("local", *CLOUDS):
        proofs = project.json("verify", "--all", "--level", "checksum", "--from-storage", name)["proofs"]
        assert [(proof["result"], proof["storage"]) for proof in proofs] == [("passed", name)] * 3


def test_each_cloud_alone_restores_each_engine(
    project: Project,
    backups: Mapping[str, dict[str, Any]],
    connections: Mapping[str, ConnectionInfo],
    labs: dict[EngineName, EngineLab],
    tmp_path: Path,
) -> None:
    for file in [*project.storage.glob("database/*"), *project.storage.glob("metadata/*.json")]:
        file.unlink()
    for name, backup in backups.items():
        lab = labs[EngineName(backup["engine"])]
        truth = lab.counts(connections[name].database)
        for cloud in CLOUDS:
            target = str(tmp_path / f"{cloud}.sqlite") if lab.engine_name is EngineName.SQLITE else lab.fresh_name()
            report = project.json("restore", backup["id"], "--as", target, "--from-storage", cloud)
            assert (report["differences"], report["rows"]) == ([], backup["rows"])
            assert lab.counts(target) == truth
            lab.drop(target)
    mended = project.json("replicate")
    assert mended["failed"] == []
    assert all(backup["missing_copies"] == [] for backup in project.json("list")["backups"])


def test_no_secret_lies_in_anything_that_was_written(project: Project, backups: Mapping[str, dict[str, Any]]) -> None:
    """Passwords of databases and storages, and the key itself: not in catalogue, sidecars, audit or artefacts."""
    key = json.loads((project.folder / "keys" / "default.json").read_text())
    material = key["keyset"]["key"][0]["keyData"]["value"]
    passwords = {json.loads(text).get("password") for name, text in project.environment.items() if name.endswith("_DB")}
    secrets = {text.encode() for text in (PLANTED, material, *passwords) if text}
    assert len(secrets) >= 3

    written = [path for path in project.folder.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert any(path.name.startswith("backup_") for path in written)
    for path in written:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
