"""Uploads in parts that nobody completed: they cost as much as objects, and no listing of objects shows them.

S3 and Google Cloud Storage keep them until somebody aborts them. Azure's uncommitted blocks are gone after a week
("Put Block", Azure's reference).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote, urlencode

from db_backup.connections.access import GoogleAccess, S3Access
from db_backup.errors import StorageAccessDenied, StorageError
from db_backup.naming import DATABASE_FOLDER, backup_id_of_file, is_backup_id
from db_backup.storage.object_store.bucket import Bucket
from db_backup.storage.object_store.https import pool_for
from db_backup.storage.object_store.s3_errors import told

_GONE = frozenset({"NoSuchUpload"})


@dataclass(frozen=True)
class Upload:
    """An upload that was begun and neither completed nor aborted. ``began_at``: as the provider says, aware."""

    key: str
    upload_id: str
    began_at: datetime


class Uploads(Protocol):
    """What a provider says of uploads on their way."""

    def begun(self, beginning: str = "") -> Iterator[Upload]:
        """Those of our artefacts: below our prefix, in our folder, named after one of our ids.

        :param beginning: only those whose file name begins so.
        """

    def abort(self, upload: Upload) -> None:
        """One that is gone is no error."""


def uploads_of(bucket: Bucket) -> Uploads | None:
    """None where they pass by themselves."""
    access = bucket.opened.access
    if isinstance(access, S3Access):
        return _S3Uploads(bucket)
    if isinstance(access, GoogleAccess):
        return _GoogleUploads(bucket, access)
    return None


class _S3Uploads:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def begun(self, beginning: str = "") -> Iterator[Upload]:
        bucket = self._bucket
        prefix = bucket.path(f"{DATABASE_FOLDER}/{beginning}")
        pages = bucket.client().get_paginator("list_multipart_uploads")
        with told(str(bucket.place), DATABASE_FOLDER, "be looked through for uploads"):
            for page in pages.paginate(Bucket=bucket.address.bucket, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    key = _our_key(bucket, found["Key"])
                    if key is not None:
                        yield Upload(key, found["UploadId"], found["Initiated"])

    def abort(self, upload: Upload) -> None:
        bucket, path = self._bucket, self._bucket.path(upload.key)
        with told(str(bucket.place), path, "be given up as an upload", besides=_GONE):
            bucket.client().abort_multipart_upload(Bucket=bucket.address.bucket, Key=path, UploadId=upload.upload_id)


class _GoogleUploads:
    """By the XML API: "List in progress multipart uploads", "Abort a multipart upload"."""

    def __init__(self, bucket: Bucket, access: GoogleAccess) -> None:
        self._bucket = bucket
        self._access = access
        self._pool = pool_for(access)

    def begun(self, beginning: str = "") -> Iterator[Upload]:
        prefix = self._bucket.path(f"{DATABASE_FOLDER}/{beginning}")
        markers: dict[str, str] = {}
        while True:
            asked = {"uploads": "", "prefix": prefix, **markers}
            page = self._ask("GET", "", asked).decode(errors="replace")
            for each in re.findall(r"<Upload>(.*?)</Upload>", page, re.DOTALL):
                key = _our_key(self._bucket, _element(each, "Key"))
                if key is not None:
                    yield Upload(key, _element(each, "UploadId"), datetime.fromisoformat(_element(each, "Initiated")))
            if _element(page, "IsTruncated") != "true":
                return
            markers = {
                "key-marker": _element(page, "NextKeyMarker"),
                "upload-id-marker": _element(page, "NextUploadIdMarker"),
            }

    def abort(self, upload: Upload) -> None:
        self._ask("DELETE", self._bucket.path(upload.key), {"uploadId": upload.upload_id})

    def _ask(self, method: str, path: str, asked: dict[str, str]) -> bytes:
        import urllib3

        access = self._access
        headers = {"Authorization": f"Bearer {access.token()['token']}"}
        url = f"{access.url}/{access.bucket}/{quote(path)}".rstrip("/")
        try:
            answer = self._pool.request(method, f"{url}?{urlencode(asked)}", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise self._failed(type(error).__name__) from error
        if answer.status in {401, 403}:
            raise StorageAccessDenied(
                f"Uploads that nobody completed could not be looked for in {self._bucket.place}: access is denied.",
                hint="Give the connection's user storage.multipartUploads.list and .abort on the bucket"
                " (docs/object-storage.md).",
            )
        if answer.status >= 300 and not (method == "DELETE" and answer.status == 404):
            raise self._failed(f"the answer was {answer.status}")
        return answer.data

    def _failed(self, reason: str) -> StorageError:
        return StorageError(
            f"Uploads that nobody completed could not be looked for in {self._bucket.place}: {reason}.",
            hint="Run it again; `db-backup storages --check` tells whether the storage works.",
        )


def _our_key(bucket: Bucket, path: str) -> str | None:
    """The key of an artefact of ours; None for anything else that lies in the bucket."""
    prefix = bucket.path(f"{DATABASE_FOLDER}/")
    name = path.removeprefix(prefix)
    ours = path.startswith(prefix) and "/" not in name and is_backup_id(backup_id_of_file(name))
    return bucket.key(path) if ours else None


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return html.unescape(found[1]) if found else ""
