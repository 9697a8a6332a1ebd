"""Copies in an object storage: made later, mended, and alone where the local one is not to stay."""

from __future__ import annotations

import signal
import sqlite3
import sys
from pathlib import Path

import pytest
import yaml

from db_backup.model import ConnectionInfo, EngineName
from db_backup.storage import ObjectStorage
from support.clouds_of_project import keep_in_s3
from support.moto_server import S3Server
from support.several_storages import SpreadProject

pytestmark = pytest.mark.integration


class Cloud:
    """A project with `local` and `s3`, whose objects can be looked at and spoiled."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        source = folder / "shop.sqlite"
        with sqlite3.connect(source) as database:
            database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
            database.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {n}",) for n in range(2000)])
        database.close()
        shop = ConnectionInfo("shop_db", EngineName.SQLITE, database=str(source))
        self.project = SpreadProject(folder / "project", {"shop": shop}, storages=())
        self.bucket = server.new_bucket()
        self.client = server.client()
        self.server = server
        self.place("local", "s3")

    def place(self, *names: str) -> None:
        """From now on backups go to these storages."""
        keep_in_s3(self.project, self.server, self.bucket, local=True, off_site=True)
        document = yaml.safe_load(self.project.config.read_text())
        document["databases"]["shop"]["storages"] = list(names)
        self.project.config.write_text(yaml.safe_dump(document))

    def parts(self, backup: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"backups/database/{backup}.")
        return [item["Key"] for item in found.get("Contents", [])]

    def content(self, backup: str) -> bytes:
        (key,) = self.parts(backup)
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def freeze(self, backup: str) -> None:
        """As a rule of the bucket's own does that says nothing of a prefix."""
        for found in self.client.list_objects_v2(Bucket=self.bucket)["Contents"]:
            if backup in found["Key"]:
                where = {"Bucket": self.bucket, "Key": found["Key"]}
                self.client.copy_object(**where, CopySource=where, StorageClass="GLACIER")

    def spoil(self, backup: str) -> None:
        (key,) = self.parts(backup)
        content = bytearray(self.content(backup))
        content[len(content) // 2] ^= 0xFF
        self.client.put_object(Bucket=self.bucket, Key=key, Body=bytes(content))


@pytest.fixture
def cloud(tmp_path: Path, s3_server: S3Server) -> Cloud:
    return Cloud(tmp_path, s3_server)


def test_a_cloud_that_could_not_be_written_gets_its_copy_later(cloud: Cloud) -> None:
    project, bucket = cloud.project, cloud.bucket
    project.create()
    cloud.bucket = "no-such-bucket"
    cloud.place("local", "s3")
    backup = project.create()
    cloud.bucket = bucket
    cloud.place("local", "s3")
    assert project.backup(backup)["missing_copies"] == ["s3"]

    (made,) = project.json("replicate")["made"]

    assert (made["backup_id"], made["storage"], made["read_from"]) == (backup, "s3", "local")
    assert cloud.content(backup) == project.parts(backup, "local")[0].read_bytes()
    assert project.json("replicate")["wanted"] == []


def test_a_flipped_byte_in_the_cloud_is_passed_over_and_mended(cloud: Cloud) -> None:
    project = cloud.project
    backup = project.create()
    good = cloud.content(backup)
    cloud.spoil(backup)
    project.parts(backup, "local")[0].unlink()
    assert project.run("restore", backup, "--test").returncode == 3
    # both are known to be bad by now; somebody finds the local file again
    (project.storage / "database" / Path(cloud.parts(backup)[0]).name).write_bytes(good)

    report = project.json("replicate")

    assert [(copy["storage"], copy["mended"]) for copy in report["made"]] == [("local", True), ("s3", True)]
    assert cloud.content(backup) == good
    assert project.json("restore", backup, "--test", "--from-storage", "s3")["read_from"] == {backup: "s3"}


def test_the_local_copy_goes_and_the_backup_is_restored_from_the_cloud(cloud: Cloud) -> None:
    project = cloud.project
    (made,) = project.json("create", "shop", BACKUP_KEEP_LOCAL_COPY="false")["backups"]
    copy = project.folder / "copy.sqlite"

    assert project.parts(made["id"], "local") == []
    assert project.backup(made["id"])["storages"] == ["s3"]
    report = project.json("restore", made["id"], "--as", str(copy))
    assert (report["differences"], report["read_from"]) == ([], {made["id"]: "s3"})


def test_sidecars_that_a_rule_of_the_bucket_has_archived_keep_nobody_from_the_local_copy(cloud: Cloud) -> None:
    project = cloud.project
    backup = project.create()
    cloud.freeze(backup)

    report = project.json("restore", backup, "--test")

    assert (report["differences"], report["read_from"]) == ([], {backup: "local"})


def test_sidecars_that_a_rule_of_the_bucket_has_archived_stop_no_new_backup_and_the_way_out_is_told(
    cloud: Cloud,
) -> None:
    project = cloud.project
    cloud.place("s3")
    backup = project.create()
    cloud.freeze(backup)

    assert project.create() != backup
    failed = project.run("restore", backup, "--test")

    assert failed.returncode == 1
    assert "below 'database/'" in failed.stderr


KILLED = """
import os, signal
from db_backup.storage import ObjectStorage
create = ObjectStorage.create
def die(storage, key, content):
    if key.startswith("metadata/backup"):
        os.kill(os.getpid(), signal.SIGKILL)
    create(storage, key, content)
ObjectStorage.create = die
from db_backup.cli.main import main
main(["replicate"])
"""


def test_killed_after_the_upload_it_goes_on_with_what_is_there(cloud: Cloud) -> None:
    project = cloud.project
    cloud.place("local")
    backup = project.create()
    cloud.place("local", "s3")

    done = project.run_process([sys.executable, "-c", KILLED])

    assert done.returncode == -signal.SIGKILL, done.stderr
    uploaded = cloud.client.head_object(Bucket=cloud.bucket, Key=cloud.parts(backup)[0])["LastModified"]
    assert project.backup(backup)["storages"] == ["local"]
    assert len(project.json("replicate")["made"]) == 1
    assert cloud.client.head_object(Bucket=cloud.bucket, Key=cloud.parts(backup)[0])["LastModified"] == uploaded
    assert sorted(project.backup(backup)["storages"]) == ["local", "s3"]


def test_a_part_that_one_object_cannot_hold_is_refused_and_said(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    project = cloud.project
    cloud.place("local")
    project.create()
    cloud.place("local", "s3")
    monkeypatch.setattr(ObjectStorage, "max_object_bytes", 100)

    (failed,) = project.json("replicate", exit_code=1)["failed"]

    assert "100 bytes at most" in failed["error"]


def test_a_backup_that_could_not_go_to_the_cloud_is_made_of_parts_that_fit_there(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = cloud.project
    monkeypatch.setattr(ObjectStorage, "max_object_bytes", 20_000)
    nowhere = '{"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:1"}}'  # and no credentials

    backups = [project.create(AIRFLOW_CONN_S3_TEST=nowhere), project.create("shop", "--storage", "local")]
    cloud.place("local")
    both = ("shop", "--storage", "local", "--storage", "s3")
    backups.append(project.create(*both, AIRFLOW_CONN_S3_TEST=nowhere))
    cloud.place("local", "s3")

    assert [copy["backup_id"] for copy in project.json("replicate")["made"]] == backups
    assert [len(cloud.parts(backup)) for backup in backups] == [len(project.parts(backups[0], "local"))] * 3


def test_a_backup_goes_from_the_cloud_too_and_stays_whole_while_that_cannot_be_reached(cloud: Cloud) -> None:
    project = cloud.project
    backup = project.create()
    proofs = project.json("verify", backup)["proofs"]
    assert [(proof["storage"], proof["reached"]) for proof in proofs] == [("local", "restore"), ("s3", "checksum")]

    nowhere = '{"conn_type": "aws", "extra": {"endpoint_url": "http://127.0.0.1:1"}}'  # and no credentials
    refused = project.run("delete", backup, "--force", AIRFLOW_CONN_S3_TEST=nowhere)
    assert refused.returncode == 4, refused.stderr
    assert "not all backups of 'shop' are known: The storage 's3'" in refused.stderr
    assert project.json("verify", backup, exit_code=1, AIRFLOW_CONN_S3_TEST=nowhere)["proofs"][1]["storage"] == "s3"
    assert (len(cloud.parts(backup)), project.backup(backup)["status"]) == (1, "good")

    assert project.run("delete", backup, "--force").returncode == 0
    assert (cloud.parts(backup), project.parts(backup, "local")) == ([], [])
    assert cloud.client.list_objects_v2(Bucket=cloud.bucket, Prefix=f"backups/metadata/{backup}")["KeyCount"] == 0
