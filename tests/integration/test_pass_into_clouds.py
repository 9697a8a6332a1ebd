"""One pass into a local storage and a bucket: the bucket fails at every request in turn, and long streams rotate."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db_backup.errors import DumpFailed, StorageError
from db_backup.jobs.sidecars import read_state
from db_backup.model import Compression
from support.cloud_server import QUICK
from support.creations import create, fragile, left_in, plan, read_back
from support.faulty_proxy import Fault, FaultyProxy, Request
from support.gcs_server import GcsServer
from support.moto_server import S3Server

pytestmark = pytest.mark.integration

_NOISE = random.Random(8).randbytes(12 << 20)
_FAULTS: dict[str, Callable[[Request], bool]] = {
    "reservation": lambda request: request.method == "PUT" and "backup_shop" in request.name and _is_meta(request),
    "upload begins": lambda request: request.method == "POST" and "?uploads" in request.path,
    "a part of it": lambda request: request.method == "PUT" and "partNumber=2" in request.path,
    "its end": lambda request: request.method == "POST" and "uploadId" in request.path,
    "state": lambda request: request.method == "PUT" and request.name.endswith(".state.json"),
    "manifest": lambda request: request.method == "PUT" and _is_manifest(request),
}


def _is_meta(request: Request) -> bool:
    return "/metadata/" in request.name


def _is_manifest(request: Request) -> bool:
    return request.name.endswith(".json") and not request.name.endswith(".state.json") and _is_meta(request)


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    return s3_server.new_bucket()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy.before(s3_server.endpoint) as opened:
        yield opened


def objects_of(server: S3Server, bucket: str, prefix: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in listed if not item["Key"].endswith(".storage-id")]


@pytest.mark.parametrize("how", ["denied", "down"])
@pytest.mark.parametrize("what", _FAULTS)
def test_a_bucket_that_fails_is_left_out_and_nothing_is_left_in_it(
    tmp_path: Path, s3_server: S3Server, proxy: FaultyProxy, bucket: str, what: str, how: str
) -> None:
    prefix = f"{what.replace(' ', '-')}-{how}"
    local, cloud = fragile("local", tmp_path), s3_server.storage(bucket, prefix, endpoint=proxy.endpoint)
    cloud.initialise()
    proxy.let(Fault(_FAULTS[what], status=403) if how == "denied" else Fault(_FAULTS[what], refused=True))

    made = create(plan(tmp_path, [local, cloud], compression=Compression.NONE, key=True), _NOISE)

    assert [copy.storage for copy in made.state.missing] == ["s3"]
    assert read_state(local, made.manifest.id) == made.state
    assert read_back(local, made.manifest.id) == [_NOISE]
    assert objects_of(s3_server, bucket, prefix) == []
    assert s3_server.uploads(bucket) == []


def test_a_bucket_alone_that_fails_fails_the_backup(
    tmp_path: Path, s3_server: S3Server, proxy: FaultyProxy, bucket: str
) -> None:
    cloud = s3_server.storage(bucket, "alone", endpoint=proxy.endpoint)
    cloud.initialise()
    proxy.let(Fault(_FAULTS["a part of it"], status=403))
    with pytest.raises(StorageError):
        create(plan(tmp_path, [cloud], compression=Compression.NONE, key=True), _NOISE)
    assert objects_of(s3_server, bucket, "alone") == []
    assert s3_server.uploads(bucket) == []


def test_a_dump_that_fails_in_mid_stream_leaves_nothing_in_a_bucket(
    tmp_path: Path, s3_server: S3Server, bucket: str
) -> None:
    cloud = s3_server.storage(bucket, "failed")
    cloud.initialise()
    with pytest.raises(DumpFailed):
        create(plan(tmp_path, [cloud], compression=Compression.NONE, key=True), _NOISE, failure=DumpFailed("broke"))
    assert objects_of(s3_server, bucket, "failed") == []
    assert s3_server.uploads(bucket) == []


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.ZSTD], ids=str)
def test_a_stream_that_is_longer_than_an_object_goes_on_in_the_next(
    tmp_path: Path, s3_server: S3Server, gcs_server: GcsServer, bucket: str, compression: Compression
) -> None:
    small = dataclasses.replace(QUICK, max_parts=1)
    local = fragile("local", tmp_path)
    s3 = s3_server.storage(bucket, f"rotated-{compression}", limits=small)
    gcs = gcs_server.storage(gcs_server.new_bucket(), limits=dataclasses.replace(QUICK, max_parts=3))
    for storage in (s3, gcs):
        storage.initialise()

    made = create(plan(tmp_path, [local, s3, gcs], compression=compression, key=True), _NOISE)

    assert made.state.missing == ()
    assert len(made.manifest.parts) == 3
    assert max(part.stored_bytes for part in made.manifest.parts) <= 5 << 20
    for storage in (local, s3, gcs):
        assert read_back(storage, made.manifest.id) == [_NOISE]
    assert left_in(tmp_path / "local") == {
        *(f"database/{part.path}" for part in made.manifest.parts),
        f"metadata/{made.manifest.id}.json",
        f"metadata/{made.manifest.id}.state.json",
    }
