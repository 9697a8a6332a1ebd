"""Every storage keeps the contract."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest

from conformance.storage_contract import StorageContract
from db_backup.storage import LocalStorage, Storage
from support.cloud_server import CloudServer
from support.moto_server import GIVEN


@pytest.mark.unit
class TestLocal(StorageContract):
    def open_storage(self, folder: Path, *, expected_id: str | None = None) -> Storage:
        return LocalStorage("disk", folder / "root", expected_id=expected_id)

    def forget_identity(self, folder: Path) -> None:
        (folder / "root" / ".storage-id").unlink()


@pytest.mark.integration
class OfObjects(StorageContract):
    """Each test has a prefix of its own in the bucket of its class."""

    server_fixture: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def bucket(cls, request: pytest.FixtureRequest) -> tuple[CloudServer, str]:
        server: CloudServer = request.getfixturevalue(cls.server_fixture)
        return server, server.new_bucket()

    @pytest.fixture(autouse=True)
    def _here(self, bucket: tuple[CloudServer, str]) -> None:
        self.server, self.bucket_name = bucket

    def open_storage(self, folder: Path, *, expected_id: str | None = None) -> Storage:
        return self.server.storage(self.bucket_name, folder.name, expected_id=expected_id)

    def forget_identity(self, folder: Path) -> None:
        self.server.remove(self.bucket_name, f"{folder.name}/.storage-id")

    @staticmethod
    def records(storage: Storage, key: str) -> list[bytes]:
        return [b"".join(storage.read(found.key)).rstrip(b"\n") for found in storage.list(key)]


class TestS3(OfObjects):
    server_fixture = "s3_server"


class TestAzure(OfObjects):
    server_fixture = "azurite_server"


class TestGcs(OfObjects):
    server_fixture = "gcs_server"


if GIVEN in os.environ:

    class TestGivenS3(OfObjects):
        server_fixture = "given_s3_server"
