"""Object storages and the life of processes: killed, interrupted, forked, and how much memory they take."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from conformance.object_storage_contract import everything
from db_backup.errors import StorageConflict
from db_backup.holder import Holder
from db_backup.storage import ObjectStorage
from db_backup.storage.folder import this_host
from db_backup.storage.object_store import claims
from support.cloud_server import CloudServer
from support.gcs_server import GcsServer
from support.moto_server import S3Server
from support.object_storage_process import BACKUP_ID, LARGE_PART, MANIFEST, MEGABYTE, SMALL_PART

pytestmark = pytest.mark.integration

_TESTS = Path(__file__).parents[1]
_AT_ONCE = timedelta(0)
_A_DAY = timedelta(days=1)
_LARGE = bytes(12 * MEGABYTE)


@pytest.fixture(params=["s3_server", "azurite_server", "gcs_server"])
def server(request: pytest.FixtureRequest) -> CloudServer:
    found: CloudServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def prefix() -> str:
    return f"test/{secrets.token_hex(6)}"


@pytest.fixture
def place(server: CloudServer) -> tuple[CloudServer, str]:
    return server, server.new_bucket()


@pytest.fixture
def storage(place: tuple[CloudServer, str], prefix: str) -> ObjectStorage:
    found = place[0].storage(place[1], prefix)
    found.initialise()
    return found


@contextmanager
def process(action: str, place: tuple[CloudServer, str], prefix: str) -> Iterator[subprocess.Popen[str]]:
    server, bucket = place
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "support.object_storage_process"),
            *(action, server.scheme, server.endpoint, bucket, prefix),
        ],
        env={**os.environ, "PYTHONPATH": f"{_TESTS}{os.pathsep}{_TESTS.parent / 'plugins'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def said(action: str, place: tuple[CloudServer, str], prefix: str) -> list[str]:
    with process(action, place, prefix) as child:
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        return output.splitlines()


def kill_when_ready(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()


def wait_until_ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"


def begin_upload(server: CloudServer, bucket: str, path: str) -> None:
    """As another program does that shares the bucket; Azure's show nowhere."""
    if isinstance(server, S3Server):
        server.client().create_multipart_upload(Bucket=bucket, Key=path)
    elif isinstance(server, GcsServer):
        assert urllib3.request("POST", f"{server.endpoint}/{bucket}/{path}?uploads").status == 200


# Killed


def test_what_a_killed_writer_left_goes_with_a_sweep_and_nothing_of_anybody_else(
    storage: ObjectStorage, place: tuple[CloudServer, str], prefix: str
) -> None:
    server, bucket = place
    for theirs in ("somebody/else.bin", f"{prefix}/database/somebody-else.bin", f"{prefix}-2/{LARGE_PART}"):
        begin_upload(server, bucket, theirs)
    of_others = set(server.uploads(bucket))
    with process("die_while_writing", place, prefix) as child:
        wait_until_ready(child)
        assert storage.sweep(older_than=_AT_ONCE) == ()  # it lives
        kill_when_ready(child)

    assert [found.key for found in storage.list("database")] == [SMALL_PART]
    assert storage.sweep(older_than=_A_DAY)
    assert set(server.uploads(bucket)) == of_others
    left = {name for name in everything(place, prefix) if not name.endswith("(upload)")}
    assert left == {".storage-id"}
    assert storage.sweep(older_than=_AT_ONCE) == ()


def test_what_a_writer_published_before_it_was_killed_stays_when_the_manifest_is_there(
    storage: ObjectStorage, place: tuple[CloudServer, str], prefix: str
) -> None:
    with process("die_after_the_manifest", place, prefix) as child:
        wait_until_ready(child)
        kill_when_ready(child)

    assert storage.sweep(older_than=_A_DAY) == (claims.id_claim(BACKUP_ID),)
    assert everything(place, prefix) == {".storage-id", SMALL_PART, MANIFEST}


def test_a_writer_that_is_interrupted_leaves_nothing(
    storage: ObjectStorage, place: tuple[CloudServer, str], prefix: str
) -> None:
    with process("be_interrupted", place, prefix) as child:
        wait_until_ready(child)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60)[0] == "interrupted\n"

    assert everything(place, prefix) == {".storage-id"}


# Of another machine, or of nobody


def test_of_a_writer_on_another_machine_the_age_decides(
    storage: ObjectStorage, place: tuple[CloudServer, str], prefix: str
) -> None:
    server, bucket = place
    elsewhere = {**Holder.this_process(this_host()).columns(), "boot_id": "another machine's", "pid": 1}
    for claim in (claims.id_claim(BACKUP_ID), claims.upload_claim(LARGE_PART), claims.name_claim(LARGE_PART)):
        server.raw(bucket).put(f"{prefix}/{claim}", json.dumps(elsewhere).encode())
    begin_upload(server, bucket, f"{prefix}/{LARGE_PART}")
    uploads = server.uploads(bucket)

    assert storage.sweep(older_than=_A_DAY) == ()
    assert server.uploads(bucket) == uploads

    assert storage.sweep(older_than=_AT_ONCE)
    assert everything(place, prefix) == {".storage-id"}


def test_an_upload_that_nobody_claims_is_swept_when_it_is_old(gcs_server: GcsServer, prefix: str) -> None:
    place = gcs_server, gcs_server.new_bucket()
    storage = gcs_server.storage(place[1], prefix)
    storage.initialise()
    begin_upload(*place, f"{prefix}/{LARGE_PART}")

    assert storage.sweep(older_than=_A_DAY) == ()
    assert storage.sweep(older_than=_AT_ONCE) == (LARGE_PART,)
    assert gcs_server.uploads(place[1]) == []


@pytest.mark.parametrize("dead", [True, False])
def test_a_name_is_taken_over_from_the_dead_alone(s3_server: S3Server, prefix: str, dead: bool) -> None:
    bucket = s3_server.new_bucket()
    storage = s3_server.storage(bucket, prefix)
    storage.initialise()
    holder = Holder.this_process(this_host()).columns() | ({"process_started": 1} if dead else {})
    s3_server.raw(bucket).put(f"{prefix}/{claims.name_claim(LARGE_PART)}", json.dumps(holder).encode())
    sink = storage.open_sink(LARGE_PART)
    sink.write(_LARGE)

    if dead:
        sink.commit()
        assert storage.stat(LARGE_PART).size_bytes == len(_LARGE)
    else:
        with pytest.raises(StorageConflict, match=BACKUP_ID):
            sink.commit()
        assert list(storage.list("database")) == []


# Forked


def test_a_process_that_is_forked_from_one_that_used_an_object_storage_is_refused_and_does_not_hang(
    s3_server: S3Server, prefix: str
) -> None:
    place = s3_server, s3_server.new_bucket()
    storage = s3_server.storage(place[1], prefix)
    storage.initialise()

    own, forked = said("fork_after_use", place, prefix)

    assert own == storage.storage_id
    assert "was forked from" in forked
    assert "would wait for ever" in forked


def test_processes_that_are_forked_before_that_use_it_as_they_like(s3_server: S3Server, prefix: str) -> None:
    place = s3_server, s3_server.new_bucket()
    storage = s3_server.storage(place[1], prefix)
    storage.initialise()

    assert said("fork_before_use", place, prefix) == [storage.storage_id] * 2


def test_nothing_of_a_provider_is_imported_before_a_storage_is_used() -> None:
    """Airflow's scheduler parses DAGs in processes that it forks from."""
    script = """
import sys
from db_backup.jobs.workspace import Workspace
from db_backup.settings.addresses import StorageAddress
from db_backup.storage import ObjectStorage
ObjectStorage("s3", StorageAddress.parse("s3://bucket/prefix"), lambda: None)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"obstore", "boto3", "botocore", "urllib3", "google"}))
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(_TESTS.parent / "plugins")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )

    assert run.stdout == "[]\n"


# Memory


def test_300_megabytes_go_up_and_down_in_less_than_120_of_memory(s3_server: S3Server, prefix: str) -> None:
    place = s3_server, s3_server.new_bucket()
    s3_server.storage(place[1], prefix).initialise()

    peak_bytes = int(said("carry_much", place, prefix)[-1])

    assert peak_bytes < 120_000_000


def test_a_backup_and_its_sweep_do_without_boto3(s3_server: S3Server, prefix: str) -> None:
    place = s3_server, s3_server.new_bucket()
    s3_server.storage(place[1], prefix).initialise()

    assert said("work_and_sweep", place, prefix) == ["False"]
