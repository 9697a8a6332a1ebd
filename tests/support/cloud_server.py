"""What the tests' object storages have in common: a server in a process of its own, buckets, and how one gets in."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from db_backup.connections.access import CloudAccess
from db_backup.settings.addresses import StorageAddress
from db_backup.storage import Limits, ObjectStorage
from db_backup.storage.object_store.opening import OpenedAccess

_START_SECONDS = 60
_TESTS = Path(__file__).parents[1]
#: As small as S3 takes them, and no waiting.
QUICK = Limits(part_bytes=5 << 20, retries=2, pause_seconds=0.01, identity_seconds=0)


class CloudServer(ABC):
    """One running server; every test takes a bucket or a prefix of its own."""

    scheme: ClassVar[str]

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    @abstractmethod
    def new_bucket(self) -> str:
        """A fresh, empty bucket or container."""

    @abstractmethod
    def access(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> CloudAccess:
        """How a storage gets in, over another endpoint if that is asked for."""

    def storage(
        self, bucket: str, prefix: str = "backups", *, endpoint: str | None = None, **options: Any
    ) -> ObjectStorage:
        """A storage in that bucket, quick to give up, of small parts."""
        address = StorageAddress.parse(f"{self.scheme}://{bucket}/{prefix}")
        options.setdefault("limits", QUICK)
        return ObjectStorage(self.scheme, address, lambda: self.access(bucket, prefix, endpoint=endpoint), **options)

    def uploads(self, bucket: str) -> list[str]:
        """The paths of uploads that have begun and not ended, where the provider tells."""
        return []

    def raw(self, bucket: str) -> Any:
        """obstore's own store of the whole bucket: for what another program does there."""
        return OpenedAccess(self.access(bucket), QUICK).store

    def remove(self, bucket: str, path: str) -> None:
        """Delete an object, as another program would."""
        self.raw(bucket).delete(path)


def fresh_name() -> str:
    """A name for a bucket, as all providers take it."""
    return f"backups-{secrets.token_hex(6)}"


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[None]:
    """A server's process, listening on a port of 127.0.0.1; it is killed at the end."""
    with subprocess.Popen(
        list(command),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{_TESTS}{os.pathsep}{_TESTS.parent / 'plugins'}"},
        start_new_session=True,
    ) as process:
        try:
            _wait_for(port, process)
            yield
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, f"{process.args} ended by itself ({process.returncode})"
        assert time.monotonic() < deadline, f"{process.args} did not listen on {port}"
        time.sleep(0.05)
