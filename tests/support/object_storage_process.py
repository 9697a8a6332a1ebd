"""An object storage in a process of its own, to be killed, interrupted, forked or measured.

python -m support.object_storage_process ACTION SCHEME ENDPOINT BUCKET PREFIX. Those that are to be killed print
``ready`` and wait; the others print what came of it.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from db_backup.errors import StorageError
from db_backup.storage import Limits, ObjectStorage
from support.azurite_server import AzuriteServer
from support.cloud_server import CloudServer
from support.gcs_server import GcsServer
from support.moto_server import S3Server

BACKUP_ID = "backup_shop_full_2026-01-31_03-00-00"
MANIFEST = f"metadata/{BACKUP_ID}.json"
SMALL_PART = f"database/{BACKUP_ID}.sql.part-001.gz"
LARGE_PART = f"database/{BACKUP_ID}.sql.part-002.gz"
MEGABYTE = 1 << 20
BIG_MEGABYTES = 300


def die_while_writing(storage: ObjectStorage) -> None:
    """One part is published, another on its way, no manifest."""
    with storage.reserve(BACKUP_ID):
        _publish(storage, SMALL_PART)
        _write_and_wait(storage)


def die_after_the_manifest(storage: ObjectStorage) -> None:
    with storage.reserve(BACKUP_ID):
        _publish(storage, SMALL_PART)
        storage.create(MANIFEST, b"{}")
        _wait()


def be_interrupted(storage: ObjectStorage) -> None:
    """Ctrl-C in the middle of a write."""
    with storage.reserve(BACKUP_ID):
        sink = storage.open_sink(LARGE_PART)
        try:
            sink.write(bytes(12 * MEGABYTE))
            print("ready", flush=True)
            for _ in itertools.count():
                sink.write(bytes(MEGABYTE))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        finally:
            sink.abort()


def carry_much(storage: ObjectStorage) -> None:
    """Prints the peak of this process's memory, in bytes."""
    sink = storage.open_sink(LARGE_PART)
    block = memoryview(os.urandom(MEGABYTE))
    for _ in range(BIG_MEGABYTES):
        sink.write(block)
    sink.commit()
    read = sum(len(block) for block in storage.read(LARGE_PART))
    assert read == BIG_MEGABYTES * MEGABYTE
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) << 10, flush=True)


def work_and_sweep(storage: ObjectStorage) -> None:
    """Prints whether boto3, which takes 24 MB, was imported for it."""
    storage.sweep(older_than=timedelta(days=1))
    with storage.reserve(BACKUP_ID):
        sink = storage.open_sink(LARGE_PART)
        sink.write(bytes(12 * MEGABYTE))
        sink.commit()
        storage.create(MANIFEST, b"{}")
    storage.sweep(older_than=timedelta(days=1))
    print("boto3" in sys.modules, flush=True)


def fork_after_use(storage: ObjectStorage) -> None:
    print(storage.storage_id, flush=True)
    _in_a_fork(lambda: storage.storage_id)


def fork_before_use(storage: ObjectStorage) -> None:
    """As Airflow's LocalExecutor does for every task."""
    for _ in range(2):
        _in_a_fork(lambda: storage.storage_id)


def _in_a_fork(use: Callable[[], str]) -> None:
    child = os.fork()
    if child == 0:
        try:
            print(use(), flush=True)
        except StorageError as error:
            print(error, flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _publish(storage: ObjectStorage, key: str) -> None:
    sink = storage.open_sink(key)
    sink.write(b"whole")
    sink.commit()


def _write_and_wait(storage: ObjectStorage) -> None:
    sink = storage.open_sink(LARGE_PART)
    sink.write(bytes(12 * MEGABYTE))
    _wait()


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.read()


_ACTIONS: dict[str, Callable[[ObjectStorage], None]] = {
    action.__name__: action
    for action in (
        die_while_writing,
        die_after_the_manifest,
        be_interrupted,
        carry_much,
        work_and_sweep,
        fork_after_use,
        fork_before_use,
    )
}


def server_at(scheme: str, endpoint: str) -> CloudServer:
    """A server that somebody else has started."""
    if scheme == S3Server.scheme:
        return S3Server.at(endpoint)
    return {GcsServer.scheme: GcsServer, AzuriteServer.scheme: AzuriteServer}[scheme](endpoint)


if __name__ == "__main__":
    _, name, scheme_of_it, endpoint_of_it, bucket, prefix = sys.argv
    options = {"limits": Limits()} if name == "carry_much" else {}
    _ACTIONS[name](server_at(scheme_of_it, endpoint_of_it).storage(bucket, prefix, **options))
