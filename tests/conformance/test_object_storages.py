"""Every object storage keeps its contract, whatever its server does."""

from __future__ import annotations

import os

import pytest

from conformance.object_storage_contract import AlsoWithoutConditions, ObjectStorageContract
from support.moto_server import GIVEN

pytestmark = pytest.mark.integration


class TestS3(ObjectStorageContract, AlsoWithoutConditions):
    server_fixture = "s3_server"


class TestAzure(ObjectStorageContract):
    server_fixture = "azurite_server"


class TestGcs(ObjectStorageContract, AlsoWithoutConditions):
    server_fixture = "gcs_server"


if GIVEN in os.environ:

    class TestGivenS3(ObjectStorageContract):
        server_fixture = "given_s3_server"
