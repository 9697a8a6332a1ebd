"""The examples of docs/object-storage.md work as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from db_backup.connections import parse_connection, storage_access
from db_backup.connections.clouds import _CLOUDS
from db_backup.settings.addresses import StorageAddress, StorageKind

pytestmark = pytest.mark.unit

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "object-storage.md").read_text()
EXAMPLES = dict(re.findall(r"^    AIRFLOW_CONN_(\w+)='(.*)'$", PAGE, flags=re.MULTILINE))
URLS = {
    "aws": "s3://bucket/db",
    "google_cloud_platform": "gs://bucket/db",
    "wasb": "azure://container/db",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_connection_of_its_kind(name: str) -> None:
    connection = parse_connection(name, EXAMPLES[name])
    assert connection.conn_type in URLS
    extra = connection.extra
    if "role_arn" in extra or "key_path" in extra:  # these ask somebody
        return
    address = StorageAddress.parse(URLS[connection.conn_type])
    access = storage_access(address, name.lower(), environment={f"AIRFLOW_CONN_{name}": EXAMPLES[name]})
    assert access.bucket == address.bucket


def test_the_usual_connections_and_types_are_those_of_the_program() -> None:
    for kind, cloud in _CLOUDS.items():
        (row,) = [line for line in PAGE.splitlines() if f"| `{cloud.usual}` |" in line]
        assert row.startswith(
            {StorageKind.S3: "| `s3:", StorageKind.GCS: "| `gs:", StorageKind.AZURE: "| `azure:"}[kind]
        )
        assert row.endswith(f"| {', '.join(f'`{name}`' for name in cloud.types)} |")


def test_every_field_that_may_open_a_storage_is_in_its_table() -> None:
    for cloud in _CLOUDS.values():
        for field in cloud.secrets:
            assert f"`{field}`" in PAGE
    assert len(EXAMPLES) >= 8
    assert all(json.loads(text) for text in EXAMPLES.values())
