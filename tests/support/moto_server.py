"""S3, and the rest of AWS that moto imitates, in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from db_backup.connections.access import S3Access, S3Credentials
from support.cloud_server import CloudServer, fresh_name, running
from support.ports import free_port

GIVEN = "DB_BACKUP_TEST_S3_URL"  # the endpoint of another S3, where AWS_* variables let us make buckets


class S3Server(CloudServer):
    scheme = "s3"

    def __init__(self, endpoint: str, *, key_id: str, secret: str, region: str) -> None:
        super().__init__(endpoint)
        self.key_id = key_id
        self.secret = secret
        self.region = region
        self.made: list[str] = []

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[S3Server]:
        port = free_port()
        with running([sys.executable, "-m", "support.moto_process", str(port)], port):
            yield cls.at(f"http://127.0.0.1:{port}")

    @classmethod
    def at(cls, endpoint: str) -> S3Server:
        """A moto that somebody else has started."""
        return cls(endpoint, key_id="testing", secret="testing-secret", region="us-east-1")

    @classmethod
    @contextmanager
    def given(cls) -> Iterator[S3Server]:
        """The one that the environment names; the buckets that were made there are removed."""
        variables = os.environ
        server = cls(
            variables[GIVEN],
            key_id=variables["AWS_ACCESS_KEY_ID"],
            secret=variables["AWS_SECRET_ACCESS_KEY"],
            region=variables.get("AWS_REGION", "us-east-1"),
        )
        try:
            yield server
        finally:
            for name in server.made:
                server.remove_bucket(name)

    def remove_bucket(self, name: str) -> None:
        """With all that is in it; it has no versions."""
        client = self.client()
        for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
            client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=name, Key=found["Key"])
        client.delete_bucket(Bucket=name)

    def client(self, service: str = "s3", *, endpoint: str | None = None) -> Any:
        """boto3's client of that service."""
        import boto3  # slow, and conftest.py imports this module

        return boto3.client(
            service,
            endpoint_url=endpoint or self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
        )

    def new_bucket(self, *, locked: bool = False) -> str:
        """:param locked: with Object Lock, and so with versions."""
        name = fresh_name()
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        self.made.append(name)
        return name

    def access(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> S3Access:
        return S3Access(
            conn_id="s3_test",
            bucket=bucket,
            prefix=prefix,
            endpoint=endpoint or self.endpoint,
            region=self.region,
            path_style=True,
            credentials=lambda: S3Credentials(
                access_key_id=self.key_id, secret_access_key=self.secret, token=None, expires_at=None
            ),
            client=lambda service: self.client(service, endpoint=endpoint),
        )

    def uploads(self, bucket: str) -> list[str]:
        """The paths of uploads that have begun and not ended."""
        return [found["Key"] for found in self.client().list_multipart_uploads(Bucket=bucket).get("Uploads", ())]
