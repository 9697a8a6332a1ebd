"""A throwaway project whose backups go into a bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from support.moto_server import S3Server
from support.project import Project


def keep_in_s3(project: Project, server: S3Server, bucket: str, *, local: bool = False, **keys: Any) -> None:
    """Every entry's backups go to the storage ``s3``, and to ``local`` too if that is said.

    :param keys: more of the storage's, as backup.yaml has them.
    """
    document: Mapping[str, Any] = yaml.safe_load(project.config.read_text())
    places = ["local", "s3"] if local else ["s3"]
    document = {
        **document,
        "storages": {"s3": {"url": f"s3://{bucket}/backups", "conn_id": "s3_test", **keys}},
        "databases": {name: {**entry, "storages": places} for name, entry in document["databases"].items()},
    }
    project.config.write_text(yaml.safe_dump(document))
    project.environment["AIRFLOW_CONN_S3_TEST"] = json.dumps(
        {
            "conn_type": "aws",
            "login": server.key_id,
            "password": server.secret,
            "extra": {"endpoint_url": server.endpoint, "region_name": server.region},
        }
    )
