"""Google Cloud Storage's XML API as far as obstore and we use it, and what of its JSON API tells and changes classes,
in a process of its own, in memory.

Conditions are kept as Google's reference says them: ``x-goog-if-generation-match``, ``If-Match``. Nobody has to sign
anything. What a request has to be else, is not checked.

python -m support.gcs_server PORT
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import urllib3

from db_backup.connections.access import GoogleAccess, GoogleToken
from support.cloud_server import CloudServer, fresh_name, running
from support.ports import free_port

_PAGE = 1000
_OBJECT_OF_JSON = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)(/rewriteTo/b/[^/]+/o/[^/]+)?")


class GcsServer(CloudServer):
    scheme = "gs"

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[GcsServer]:
        port = free_port()
        with running([sys.executable, "-m", "support.gcs_server", str(port)], port):
            yield cls(f"http://127.0.0.1:{port}")

    def new_bucket(self) -> str:
        name = fresh_name()
        assert urllib3.request("PUT", f"{self.endpoint}/{name}").status == HTTPStatus.OK
        return name

    def access(self, bucket: str, prefix: str = "", *, endpoint: str | None = None) -> GoogleAccess:
        return GoogleAccess(
            conn_id="gcs_test", bucket=bucket, prefix=prefix, endpoint=endpoint or self.endpoint, token=_token
        )

    def uploads(self, bucket: str) -> list[str]:
        """The paths of uploads that have begun and not ended."""
        answer = urllib3.request("GET", f"{self.endpoint}/{bucket}?uploads")
        return re.findall(r"<Upload><Key>([^<]*)</Key>", answer.data.decode())


def _token() -> GoogleToken:
    return GoogleToken(token="a-bearer-token", expires_at=None)


@dataclass(frozen=True)
class StoredBlob:
    content: bytes
    generation: int
    storage_class: str
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def e_tag(self) -> str:
        return f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}-{self.generation}"'


@dataclass
class BegunUpload:
    path: str
    storage_class: str
    parts: dict[int, bytes] = field(default_factory=dict)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class HeldBucket:
    blobs: dict[str, StoredBlob] = field(default_factory=dict)
    uploads: dict[str, BegunUpload] = field(default_factory=dict)


class Refusal(Exception):
    """An error answer of the XML API."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class Gcs(BaseHTTPRequestHandler):
    """One request. ``buckets`` is what the server holds, behind one lock."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    buckets: ClassVar[dict[str, HeldBucket]] = {}
    lock = threading.Lock()
    numbers = itertools.count(1)

    def do_PUT(self) -> None:
        self._carry_out(self._put)

    def do_POST(self) -> None:
        self._carry_out(self._post)

    def do_GET(self) -> None:
        self._carry_out(self._get)

    def do_HEAD(self) -> None:
        self._carry_out(self._get)

    def do_DELETE(self) -> None:
        self._carry_out(self._delete)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _carry_out(self, action: Callable[[], None]) -> None:
        parts = urlsplit(self.path)
        bucket, _, path = unquote(parts.path).lstrip("/").partition("/")
        if of_json := _OBJECT_OF_JSON.fullmatch(parts.path):
            bucket, path, action = of_json[1], unquote(of_json[2]), self._rewrite if of_json[3] else self._look
            action = self._delete_generation if self.command == "DELETE" else action
        self.bucket_name, self.object_path = bucket, path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.content = self._body()
        try:
            with self.lock:
                action()
        except Refusal as refusal:
            text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refusal.code}</Code></Error>"
            self._answer(refusal.status, text.encode())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    # Requests

    def _put(self) -> None:
        if not self.object_path:
            self.buckets.setdefault(self.bucket_name, HeldBucket())
            self._answer(HTTPStatus.OK)
        elif "uploadId" in self.query:
            self._upload.parts[int(self.query["partNumber"])] = self.content
            e_tag = hashlib.md5(self.content, usedforsecurity=False).hexdigest()
            self._answer(HTTPStatus.OK, headers={"ETag": f'"{e_tag}"'})
        elif source := self.headers.get("x-goog-copy-source"):
            name, _, path = unquote(source).lstrip("/").partition("/")
            found = self.buckets[name].blobs.get(path)
            if found is None:
                raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchKey")
            self._store(found.content)
        else:
            self._store(self.content)

    def _post(self) -> None:
        if "uploads" in self.query:
            upload_id = f"upload-{next(self.numbers)}"
            self._bucket.uploads[upload_id] = BegunUpload(self.object_path, self._storage_class)
            self._answer_xml(
                "InitiateMultipartUploadResult",
                f"<Bucket>{self.bucket_name}</Bucket><Key>{escape(self.object_path)}</Key>"
                f"<UploadId>{upload_id}</UploadId>",
            )
            return
        upload = self._upload
        listed = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", self.content.decode())]
        if listed != sorted(upload.parts):
            raise Refusal(HTTPStatus.BAD_REQUEST, "InvalidPart")
        blob = self._keep(b"".join(upload.parts[number] for number in listed), upload.storage_class)
        del self._bucket.uploads[self.query["uploadId"]]
        self._answer_xml(
            "CompleteMultipartUploadResult",
            f"<Key>{escape(self.object_path)}</Key><ETag>{escape(blob.e_tag)}</ETag>",
            {"x-goog-generation": str(blob.generation)},
        )

    def _get(self) -> None:
        if not self.object_path:
            if "uploads" in self.query:
                self._list_uploads()
            else:
                self._list()
            return
        blob = self._blob
        wanted = self.headers.get("If-Match")
        if wanted not in {None, "*", blob.e_tag}:
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
        headers = {
            "ETag": blob.e_tag,
            "Last-Modified": format_datetime(blob.modified_at, usegmt=True),
            "x-goog-generation": str(blob.generation),
            "x-goog-storage-class": blob.storage_class,
        }
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span is None:
            self._answer(HTTPStatus.OK, blob.content, headers)
            return
        first, size = int(span[1]), len(blob.content)
        if first >= size:
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange")
        last = min(int(span[2] or size), size - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._answer(HTTPStatus.PARTIAL_CONTENT, blob.content[first : last + 1], headers)

    def _delete(self) -> None:
        if "uploadId" in self.query:
            _ = self._upload  # it must be there
            del self._bucket.uploads[self.query["uploadId"]]
        else:
            _ = self._blob
            del self._bucket.blobs[self.object_path]
        self._answer(HTTPStatus.NO_CONTENT)

    # The JSON API, of one object: its class, and rewriting it onto itself, which takes two calls

    def _look(self) -> None:
        blob = self._blob
        self._answer_json(
            {
                "name": self.object_path,
                "generation": str(blob.generation),
                "size": str(len(blob.content)),
                "storageClass": blob.storage_class,
                "crc32c": hashlib.md5(blob.content, usedforsecurity=False).hexdigest(),
            }
        )

    def _rewrite(self) -> None:
        blob = self._blob
        if self.query["ifGenerationMatch"] != str(blob.generation):
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, "conditionNotMet")
        if "rewriteToken" not in self.query:
            self._answer_json({"done": False, "rewriteToken": "half-way"})
            return
        self._keep(blob.content, json.loads(self.content)["storageClass"])
        self._answer_json({"done": True})

    def _delete_generation(self) -> None:
        if self.query["generation"] != str(self._blob.generation):
            raise Refusal(HTTPStatus.NOT_FOUND, "notFound")
        self._delete()

    def _answer_json(self, document: dict[str, object]) -> None:
        self._answer(HTTPStatus.OK, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _list(self) -> None:
        prefix = self.query.get("prefix", "")
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        paths = sorted(path for path in self._bucket.blobs if path.startswith(prefix) and path > after)
        page = paths[:_PAGE]
        contents = "".join(
            f"<Contents><Key>{escape(path)}</Key><LastModified>{_moment(blob.modified_at)}</LastModified>"
            f"<ETag>{escape(blob.e_tag)}</ETag><Size>{len(blob.content)}</Size></Contents>"
            for path, blob in ((path, self._bucket.blobs[path]) for path in page)
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(paths) > _PAGE else ""
        self._answer_xml("ListBucketResult", f"<Prefix>{escape(prefix)}</Prefix>{more}{contents}")

    def _list_uploads(self) -> None:
        prefix = self.query.get("prefix", "")
        found = "".join(
            f"<Upload><Key>{escape(upload.path)}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{_moment(upload.began_at)}</Initiated></Upload>"
            for upload_id, upload in self._bucket.uploads.items()
            if upload.path.startswith(prefix)
        )
        self._answer_xml("ListMultipartUploadsResult", f"<IsTruncated>false</IsTruncated>{found}")

    # What is held

    @property
    def _bucket(self) -> HeldBucket:
        if self.bucket_name not in self.buckets:
            raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchBucket")
        return self.buckets[self.bucket_name]

    @property
    def _blob(self) -> StoredBlob:
        if self.object_path not in self._bucket.blobs:
            raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchKey")
        return self._bucket.blobs[self.object_path]

    @property
    def _upload(self) -> BegunUpload:
        found = self._bucket.uploads.get(self.query["uploadId"])
        if found is None or found.path != self.object_path:
            raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchUpload")
        return found

    @property
    def _storage_class(self) -> str:
        return self.headers.get("x-goog-storage-class", "STANDARD")

    def _store(self, content: bytes) -> None:
        held = self._bucket.blobs.get(self.object_path)
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and int(wanted) != (0 if held is None else held.generation):
            raise Refusal(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
        blob = self._keep(content, self._storage_class)
        self._answer(HTTPStatus.OK, headers={"ETag": blob.e_tag, "x-goog-generation": str(blob.generation)})

    def _keep(self, content: bytes, storage_class: str) -> StoredBlob:
        blob = StoredBlob(content, next(self.numbers), storage_class)
        self._bucket.blobs[self.object_path] = blob
        return blob

    # Answers

    def _answer_xml(self, element: str, inner: str, headers: dict[str, str] | None = None) -> None:
        text = f"<?xml version='1.0' encoding='UTF-8'?><{element}>{inner}</{element}>"
        self._answer(HTTPStatus.OK, text.encode(), {"Content-Type": "application/xml", **(headers or {})})

    def _answer(self, status: HTTPStatus, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Gcs).serve_forever()
