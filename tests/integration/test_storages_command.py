"""`db-backup storages`: what is where, how fast it grows, when it is full, and whether it works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import insert

from db_backup.catalog import Catalog, tables
from db_backup.catalog.database import Database
from db_backup.manifest import Copy
from db_backup.model import BackupType, utc_now
from support.clouds_of_project import keep_in_s3
from support.disks import Disk
from support.factories import MORNING, make_manifest, make_part, make_state
from support.faulty_proxy import Fault, FaultyProxy
from support.moto_server import S3Server
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"shop": sqlite_database(tmp_path, "shop")}, as_process=False)


@pytest.fixture
def disk(project: Project) -> Iterator[Disk]:
    """Of eight megabytes, for the project's storage."""
    with Disk.mounted(project.storage, size_kilobytes=8 << 10) as mounted:
        yield mounted


def storages(project: Project, *options: str, exit_code: int = 0) -> dict[str, Any]:
    document = project.json("storages", *options, exit_code=exit_code)
    return {storage["storage"]: storage for storage in document["storages"]}


def note_days(project: Project, a_day: int, *, today: int, days: int = 30) -> None:
    """What `local` held of `shop` on the days before, when it grew by that much a day to what it holds now."""
    lines = [
        {
            "storage": "local",
            "day": (utc_now() - timedelta(days=day)).date(),
            "entry": "shop",
            "noted_at": utc_now() - timedelta(days=day),
            "copies": 1,
            "size_bytes": today - day * a_day,
        }
        for day in range(1, days)
    ]
    with Database.open(project.catalog).write() as connection:
        connection.execute(insert(tables.usage), lines)


def remember(project: Project, size_bytes: int, *places: str, entry: str = "shop", serial: int = 1) -> None:
    """A backup of that size, in the catalogue alone."""
    parts = (make_part("sqlite.gz", stored_bytes=size_bytes),)
    manifest = make_manifest(entry=entry, serial=serial, parts=parts)
    copies = tuple(Copy(storage=name, storage_id="x", created_at=MORNING) for name in places)
    with Catalog.open(project.catalog) as catalog:
        catalog.record(manifest, make_state(manifest, copies=copies))


def test_a_storage_that_was_never_used_is_there_and_empty(project: Project) -> None:
    (local,) = storages(project).values()

    assert (local["kind"], local["copies"], local["size_bytes"]) == ("disk", 0, 0)
    assert local["location"] == str(project.storage)
    assert (local["capacity_bytes"], local["growth_bytes_per_day"], local["full_in_days"]) == (None, None, None)


def test_a_first_backup_is_counted_and_nothing_is_foretold_yet(project: Project) -> None:
    backup = project.json("create", "shop", "--no-verify")["backups"][0]

    document = project.json("storages")

    (local,), (shop,) = document["storages"], document["databases"]
    assert (local["copies"], local["size_bytes"]) == (1, backup["size_bytes"])
    assert 0 < local["free_bytes"] < local["capacity_bytes"]
    assert local["full_in_days"] is None
    assert "how fast it grows cannot be told yet (1 of 4 figures, over" in local["forecast"]
    assert local["databases"] == [shop]
    assert (shop["database"], shop["by_type"]) == ("shop", {"full": backup["size_bytes"]})


def test_a_disk_that_fills_is_foretold_by_what_it_held_day_by_day(project: Project, disk: Disk) -> None:
    size = project.json("create", "shop", "--no-verify")["backups"][0]["size_bytes"]
    note_days(project, 100_000, today=size)

    (local,) = storages(project).values()

    assert local["capacity_bytes"] == 8 * MEGABYTE
    assert local["growth_bytes_per_day"] == pytest.approx(100_000, rel=0.01)
    assert local["full_in_days"] == pytest.approx(local["free_bytes"] / 100_000, rel=0.02)
    assert "at this pace it is full in 8" in local["forecast"]
    assert project.json("storages")["databases"][0]["growth_bytes_per_day"] == pytest.approx(100_000, rel=0.01)

    said = project.run("storages")
    assert "+100.0 kB" in said.stdout
    assert f"{local['full_in_days']:.0f} days" in said.stdout


def test_health_warns_before_the_disk_is_full(project: Project, disk: Disk) -> None:
    size = project.json("create", "shop")["backups"][0]["size_bytes"]
    controls = {
        pace: next(control for control in entry["controls"] if control["name"] == "storage has room")
        for pace in (0, 700_000)
        for entry in [health_with_pace(project, pace, size)]
    }

    assert controls[0]["result"] == "pass"
    assert (controls[700_000]["result"], controls[700_000]["event"]) == ("warning", "storage_nearly_full")
    assert "'local'" in controls[700_000]["evidence"]


def health_with_pace(project: Project, pace: int, size: int) -> dict[str, Any]:
    with Database.open(project.catalog).write() as connection:
        connection.execute(tables.usage.delete())
    note_days(project, pace, today=size)
    return dict(project.json("health")["databases"][0])


def test_backups_note_what_there_is_once_a_day(project: Project) -> None:
    first = project.json("create", "shop", "--no-verify")["backups"][0]["size_bytes"]
    project.json("create", "shop", "--no-verify")
    project.json("create", "shop", "--no-verify")

    with Catalog.open(project.catalog) as catalog:
        assert [(line.entry, line.size_bytes) for line in catalog.usage_by_day()] == [("shop", first)]


def test_copies_count_in_each_storage_even_where_none_is_configured_any_more(project: Project) -> None:
    remember(project, 3 * MEGABYTE, "local", "attic")
    remember(project, MEGABYTE, "attic", entry="blog")

    document = project.json("storages")

    attic = next(storage for storage in document["storages"] if storage["storage"] == "attic")
    assert (attic["kind"], attic["location"], attic["size_bytes"]) == ("", "", 4 * MEGABYTE)
    assert {entry["database"]: entry["size_bytes"] for entry in document["databases"]} == {
        "shop": 6 * MEGABYTE,
        "blog": MEGABYTE,
    }
    table = project.run("storages", "--by-database").stdout
    assert "not configured" in table
    assert [line.split()[:3] for line in table.splitlines() if line.startswith(("blog", "shop"))] == [
        ["blog", "attic", "1"],
        ["blog", "all", "1"],
        ["shop", "local", "1"],
        ["shop", "attic", "1"],
        ["shop", "all", "2"],
    ]


def test_a_check_passes_over_what_is_not_configured_any_more(project: Project) -> None:
    remember(project, MEGABYTE, "local", "s3")
    done = project.run("storages", "--check")
    assert done.returncode == 0, done.stderr
    states = {row.split()[0]: row.split()[-1] for row in done.stdout.splitlines()[1:3]}
    assert states == {"local": "works", "s3": "-"}


def test_a_quota_counts_our_copies_and_is_told_beside_the_disk(project: Project, tmp_path: Path) -> None:
    configure(project, {"attic": {"url": (tmp_path / "attic").as_uri(), "quota_mb": 10, "off_site": True}})
    remember(project, 9 * MEGABYTE, "attic")

    attic = storages(project)["attic"]

    assert (attic["kind"], attic["off_site"], attic["quota_bytes"]) == ("disk", True, 10 * MEGABYTE)
    assert "9.4 MB of 10.5 MB of its quota, 90%" in attic["forecast"]
    assert "1.0 MB" in project.run("storages").stdout, "what is left"
    room = next(
        control
        for control in project.json("health", exit_code=3)["databases"][0]["controls"]
        if control["name"] == "storage has room"
    )
    assert (room["result"], room["event"]) == ("warning", "storage_nearly_full")
    assert "'attic'" in room["evidence"]


def test_a_check_writes_reads_and_deletes_and_leaves_nothing(project: Project) -> None:
    local = storages(project, "--check")["local"]

    assert local["check"]["works"]
    assert project.files() == {".lock"}, "which the storage makes for itself"
    assert local["check"]["storage_id"] == (project.storage / ".storage-id").read_text().strip()
    assert "works" in project.run("storages", "--check").stdout


def test_a_check_says_what_does_not_work_and_ends_with_1(project: Project) -> None:
    project.json("create", "shop", "--no-verify")
    identity = (project.storage / ".storage-id").read_text()
    (project.storage / ".storage-id").unlink()

    check = storages(project, "--check", exit_code=1)["local"]["check"]

    assert not check["works"]
    assert ".storage-id" in check["error"]
    assert check["hint"]
    said = project.run("storages", "--check")
    assert (said.returncode, "does not work" in said.stdout) == (1, True)
    assert said.stderr.startswith("Error: ")

    (project.storage / ".storage-id").write_text(identity)
    assert storages(project, "--check")["local"]["check"]["works"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(lambda request: request.method == "PUT", ignored="if-none-match"), "overwrites"),
        (Fault(lambda request: "list-type=2" in request.path, status=403), "listed"),
    ],
)
def test_a_bucket_that_overwrites_or_may_not_be_listed_does_not_work(
    project: Project, s3_server: S3Server, fault: Fault, said: str
) -> None:
    bucket = s3_server.new_bucket()
    keep_in_s3(project, s3_server, bucket)
    assert storages(project, "--check")["s3"]["check"]["works"]
    with FaultyProxy.before(s3_server.endpoint) as proxy:
        proxy.let(fault)
        keep_in_s3(project, S3Server.at(proxy.endpoint), bucket)
        check = storages(project, "--check", exit_code=1)["s3"]["check"]

    assert not check["works"]
    assert said in check["error"]
    listed = s3_server.client().list_objects_v2(Bucket=bucket, Prefix="backups/check")
    assert "Contents" not in listed, "what was written to try it is gone"


def test_a_full_disk_does_not_work(project: Project, disk: Disk) -> None:
    project.json("create", "shop", "--no-verify")
    disk.fill()

    local = storages(project, "--check", exit_code=1)["local"]

    assert (local["free_bytes"], local["full_in_days"]) == (0, 0)
    assert "No space left" in local["check"]["error"]
    assert "there is no room left" in local["forecast"]


def test_a_disk_that_is_not_mounted_is_told_of_and_hides_nothing(project: Project) -> None:
    size = project.json("create", "shop", "--no-verify")["backups"][0]["size_bytes"]
    (project.storage / ".storage-id").rename(project.storage / "elsewhere")

    local = storages(project)["local"]

    assert (local["size_bytes"], local["capacity_bytes"]) == (size, None)
    assert ".storage-id" in local["unknown"]
    assert "how much room there is cannot be told" in project.run("storages").stdout


def test_types_are_told_apart(project: Project) -> None:
    project.json("create", "shop", "--no-verify")
    project.json("create", "shop", "--no-verify", "--type", "structure")

    assert set(project.json("storages")["databases"][0]["by_type"]) == {BackupType.FULL, BackupType.STRUCTURE}


def test_a_bucket_that_locks_and_one_that_cannot_are_told_apart(project: Project, s3_server: S3Server) -> None:
    vault, plain = s3_server.new_bucket(locked=True), s3_server.new_bucket()
    use_buckets(
        project,
        s3_server,
        vault={"url": f"s3://{vault}/backups", "object_lock": "governance", "off_site": True, "quota_mb": 1},
        plain={"url": f"s3://{plain}", "object_lock": "governance"},
        gone={"url": "s3://no-such-bucket-here/x"},
    )

    found = storages(project, "--check", exit_code=1)

    checks = {name: storage["check"] for name, storage in found.items()}
    assert [checks[name]["works"] for name in ("local", "vault", "plain", "gone")] == [True, True, True, False]
    assert (checks["vault"]["object_lock"], checks["vault"]["versioned"]) == (True, True)
    assert (checks["plain"]["object_lock"], checks["plain"]["versioned"]) == (False, False)
    assert "nothing can be locked in it" in checks["plain"]["warnings"][0]
    assert "no-such-bucket-here" in checks["gone"]["error"]
    assert found["vault"]["location"] == f"s3://{vault}/backups"
    kept = [item["Key"] for item in s3_server.client().list_objects_v2(Bucket=plain).get("Contents", ())]
    assert kept == [".storage-id"], "what was written to try it is gone"


def test_a_listing_asks_no_bucket_for_anything(project: Project) -> None:
    """Nobody listens there."""
    project.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(
        {"conn_type": "aws", "login": "x", "password": "y", "extra": {"endpoint_url": "http://127.0.0.1:1"}}
    )
    configure(project, {"bucket": {"url": "s3://bench/x", "quota_mb": 10}})
    remember(project, 5 * MEGABYTE, "bucket")

    bucket = storages(project)["bucket"]

    assert (bucket["kind"], bucket["size_bytes"], bucket["unknown"]) == ("s3", 5 * MEGABYTE, "")
    assert "50%" in bucket["forecast"]
    assert project.json("health", exit_code=3)["databases"][0]["database"] == "shop"


def use_buckets(project: Project, server: S3Server, **described: dict[str, Any]) -> None:
    extra = {"endpoint_url": server.endpoint, "region_name": server.region}
    connection = {"conn_type": "aws", "login": server.key_id, "password": server.secret, "extra": extra}
    project.environment["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)
    configure(project, described)


def configure(project: Project, described: dict[str, dict[str, Any]]) -> None:
    """The database goes to all of them."""
    config = yaml.safe_load(project.config.read_text())
    config["storages"] = described
    config["databases"]["shop"]["storages"] = ["local", *described]
    project.config.write_text(yaml.safe_dump(config))
