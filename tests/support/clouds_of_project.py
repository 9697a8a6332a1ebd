"""A throwaway project whose backups go into a bucket."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def slow_thaw(server: S3Server) -> Iterator[Callable[[int], None]]:
    """While the block runs, what is asked for can be read after so many looks at it, and not at once.

    The number is moto's, which counts the looks before the request as well: at least as many must have come.
    """

    def thawing(**transition: object) -> None:
        body = json.dumps({"model_name": "s3::keyrestore", "transition": transition}).encode()
        address = f"{server.endpoint}/moto-api/state-manager/set-transition"
        urllib.request.urlopen(urllib.request.Request(address, data=body, method="POST")).close()  # noqa: S310

    try:
        yield lambda looks: thawing(progression="manual", times=looks)
    finally:
        thawing(progression="immediate")
