"""Object Lock: copies that nobody may delete before their day, in an S3 server, by the whole product."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from db_backup.model import utc_now
from support.clouds_of_project import keep_in_s3
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@contextmanager
def days_later(days: float) -> Iterator[None]:
    """What decides about backups believes that so much time has passed."""
    with mock.patch("db_backup.jobs.cleanup.utc_now", return_value=utc_now() + timedelta(days=days)):
        yield


def created(project: Project, *arguments: str) -> dict[str, Any]:
    (backup,) = project.json("create", "shop", *arguments)["backups"]
    return dict(backup)


def locks(server: S3Server, bucket: str, backup_id: str) -> dict[str, datetime | None]:
    """Until when each object of the backup is locked, as the server itself says."""
    listed = server.client().list_objects_v2(Bucket=bucket)["Contents"]
    names = (found["Key"] for found in listed if f"/{backup_id}." in found["Key"])
    heads = {name: server.client().head_object(Bucket=bucket, Key=name) for name in names}
    return {name.rpartition("/")[2]: head.get("ObjectLockRetainUntilDate") for name, head in heads.items()}


def shorten(server: S3Server, bucket: str) -> None:
    """Time passes: what was locked is not any more (the server lets tests turn the clock of its locks)."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    for page in server.client().get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", ()):
            where = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
            if "ObjectLockMode" in server.client().head_object(**where):
                server.client().put_object_retention(
                    **where,
                    Retention={"Mode": "GOVERNANCE", "RetainUntilDate": past},
                    BypassGovernanceRetention=True,
                )


def versions(server: S3Server, bucket: str, backup_id: str) -> list[str]:
    """What is left of the backup, whether it is hidden by a delete marker or not."""
    found = server.client().list_object_versions(Bucket=bucket)
    return [
        version["Key"]
        for version in (*found.get("Versions", ()), *found.get("DeleteMarkers", ()))
        if f"/{backup_id}." in version["Key"]
    ]


def test_a_new_copy_is_locked_until_its_days_are_over_and_its_state_is_not(
    project: Project, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket(locked=True)
    keep_in_s3(project, s3_server, bucket, object_lock="governance")

    backup = created(project)

    expires = datetime.fromisoformat(backup["expires_at"])
    found = locks(s3_server, bucket, backup["id"])
    state = f"{backup['id']}.state.json"
    assert found.pop(state) is None
    assert len(found) == 2
    assert all(until is not None and abs(until - expires) < timedelta(seconds=2) for until in found.values())
    (listed,) = project.json("list")["backups"]
    assert datetime.fromisoformat(listed["locked_until"]["s3"]) == expires
    assert project.run("pin", backup["id"]).returncode == 0  # whose state is rewritten


@pytest.mark.parametrize("rotated", [False, True])
def test_the_wrapped_key_of_a_locked_backup_outlasts_whoever_removes_its_state(
    project: Project, s3_server: S3Server, rotated: bool
) -> None:
    bucket, client = s3_server.new_bucket(locked=True), s3_server.client()
    keep_in_s3(project, s3_server, bucket, object_lock="governance")
    project.environment |= {"BACKUP_ENCRYPT": "true", "BACKUP_KEYS_PATH": str(project.folder / "keys")}
    assert project.run("keys", "generate", "default").returncode == 0
    backup = created(project)["id"]
    key = f"backups/metadata/{backup}.state.json"
    if rotated:
        assert project.run("keys", "generate", "new").returncode == 0
        project.environment["BACKUP_ENCRYPTION_KEY_ID"] = "new"
        assert project.run("keys", "rotate").returncode == 0
        (project.folder / "keys" / "default.json").unlink()

    held = []
    for version in client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]:
        try:
            client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        except ClientError:
            held.append(version["VersionId"])
    left = held[0]  # the newest
    assert len(held) == (2 if rotated else 1)
    client.put_object(Bucket=bucket, Key=key, Body=b"nonsense")
    assert project.run("restore", backup, "--as", str(project.folder / "shut.sqlite")).returncode == 1

    state = client.get_object(Bucket=bucket, Key=key, VersionId=left)["Body"].read()
    client.put_object(Bucket=bucket, Key=key, Body=state)
    assert project.json("restore", backup, "--as", str(project.folder / "back.sqlite"))["differences"] == []
    shorten(s3_server, bucket)
    with days_later(31):
        assert project.run("delete", backup, "--force").returncode == 0
    assert versions(s3_server, bucket, backup) == []


def test_a_rotation_says_that_what_it_wrote_is_not_locked(project: Project, s3_server: S3Server) -> None:
    keep_in_s3(project, s3_server, s3_server.new_bucket(), object_lock="governance")  # a bucket without Object Lock
    project.environment |= {"BACKUP_ENCRYPT": "true", "BACKUP_KEYS_PATH": str(project.folder / "keys")}
    for name in ("default", "new"):
        assert project.run("keys", "generate", name).returncode == 0
    created(project)
    done = project.run("keys", "rotate", BACKUP_ENCRYPTION_KEY_ID="new")
    assert done.returncode == 0
    assert "Warning: NOT LOCKED" in done.stderr


def test_what_is_locked_is_kept_by_cleanup_and_by_delete_and_goes_after_its_day(
    project: Project, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket(locked=True)
    keep_in_s3(project, s3_server, bucket, object_lock="governance")
    old = created(project)["id"]
    for _ in range(3):
        created(project)

    refused = project.run("delete", old, "--force")
    assert refused.returncode == 4
    assert "locked" in refused.stderr

    with days_later(29.9):
        kept = {one["backup_id"]: one["reasons"] for one in project.json("cleanup", "--retention", "5")["keep"]}
    assert any("locked in 's3' until" in reason for reason in kept[old])
    assert len(versions(s3_server, bucket, old)) >= 3

    shorten(s3_server, bucket)
    with days_later(31):
        deleted = project.json("delete", old)

    assert [gone["backup_id"] for gone in deleted["delete"]] == [old]
    assert versions(s3_server, bucket, old) == []  # no marker hides what costs on


def test_a_lock_that_the_catalogue_does_not_know_of_keeps_the_backup_whole(
    project: Project, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket(locked=True)
    keep_in_s3(project, s3_server, bucket)
    old = created(project)["id"]
    (part,) = (name for name in locks(s3_server, bucket, old) if not name.endswith(".json"))
    s3_server.client().put_object_retention(
        Bucket=bucket,
        Key=f"backups/database/{part}",
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(days=3)},
    )

    refused = project.run("delete", old, "--force")

    assert refused.returncode == 4
    assert "locked in 's3' until" in refused.stderr
    assert project.run("verify", old, "--level", "checksum").returncode == 0


def test_a_bucket_without_object_lock_is_told_of_loudly_and_the_backup_is_there(
    project: Project, s3_server: S3Server
) -> None:
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket, object_lock="compliance")

    done = project.run("create", "shop")

    assert done.returncode == 0, done.stderr
    assert "NOT LOCKED" in done.stderr
    assert "has no Object Lock" in done.stderr
    (listed,) = project.json("list")["backups"]
    assert listed["locked_until"] == {}


def test_deleting_in_a_versioned_bucket_leaves_nothing_that_costs(project: Project, s3_server: S3Server) -> None:
    bucket = s3_server.new_bucket()
    s3_server.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    keep_in_s3(project, s3_server, bucket)
    backup_id = created(project)["id"]
    assert len(versions(s3_server, bucket, backup_id)) > 3  # a state is rewritten: its old versions stay

    assert project.run("delete", backup_id, "--force").returncode == 0

    assert versions(s3_server, bucket, backup_id) == []
