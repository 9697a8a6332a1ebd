"""An S3 that throws away what it is sent: uploads are then as fast as who sends them.

python -m benchmarks.sink PORT MB_A_SECOND    each connection is slowed down to that rate; 0: none is

It speaks what backups, `aws s3 cp` and `rclone rcat` need. Objects of up to a megabyte are kept, for sidecars are read
again; of larger ones and of uploads in parts the sizes alone.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_KEPT_BYTES = 1 << 20
_BLOCK_BYTES = 256 << 10


@dataclass(frozen=True)
class _Object:
    size_bytes: int
    etag: str
    content: bytes | None  # None: thrown away
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class _Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, _Object] = {}
        self.parts: dict[str, dict[int, int]] = {}  # of uploads: the size of each
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    bucket: ClassVar[_Bucket]
    bytes_a_second: ClassVar[float] = 0.0

    def do_PUT(self) -> None:
        path, query = self._asked()
        size_bytes, content = self._body()
        etag = f'"{hashlib.md5(content or str(size_bytes).encode(), usedforsecurity=False).hexdigest()}"'
        with self.bucket.lock:
            if "uploadId" in query:
                self.bucket.parts[query["uploadId"]][int(query["partNumber"])] = size_bytes
                return self._answer(200, headers={"ETag": etag})
            known = self.bucket.objects.get(path)
            wanted = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") == "*" and known) or (wanted and (not known or known.etag != wanted)):
                return self._fail(412, "PreconditionFailed")
            self.bucket.objects[path] = _Object(size_bytes, etag, content)
        return self._answer(200, headers={"ETag": etag})

    def do_POST(self) -> None:
        path, query = self._asked()
        self._body()
        with self.bucket.lock:
            if "uploads" in query:
                upload = f"upload-{len(self.bucket.parts)}"
                self.bucket.parts[upload] = {}
                inner = f"<Key>{escape(path)}</Key><UploadId>{upload}</UploadId>"
                return self._xml("InitiateMultipartUploadResult", inner)
            sizes = self.bucket.parts.get(query.get("uploadId", ""))
            if sizes is None:
                return self._fail(404, "NoSuchUpload")
            self.bucket.objects[path] = _Object(sum(sizes.values()), f'"parts-{len(sizes)}"', None)
        return self._xml("CompleteMultipartUploadResult", f'<Key>{escape(path)}</Key><ETag>"parts"</ETag>')

    def do_GET(self) -> None:
        path, query = self._asked()
        if "uploads" in query:
            return self._xml("ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>")
        if "list-type" in query or ("/" not in path and not set(query) - {"prefix", "delimiter", "max-keys"}):
            return self._xml("ListBucketResult", "".join(self._listed(path, query)))
        found = self.bucket.objects.get(path)
        if found is None or found.content is None:
            return self._fail(404, "NoSuchKey")
        return self._answer(200, found.content, self._about(found))

    def do_HEAD(self) -> None:
        path, _ = self._asked()
        found = self.bucket.objects.get(path)
        if "/" in path and found is None:
            return self._fail(404, "NoSuchKey")
        if found is None:  # the bucket
            return self._answer(200)
        return self._answer(200, headers={**self._about(found), "Content-Length": str(found.size_bytes)})

    def do_DELETE(self) -> None:
        path, query = self._asked()
        with self.bucket.lock:
            if "uploadId" in query:
                self.bucket.parts.pop(query["uploadId"], None)
            else:
                self.bucket.objects.pop(path, None)
        self._answer(204)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def _asked(self) -> tuple[str, dict[str, str]]:
        """``bucket/key``, and what follows the question mark."""
        address = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        return unquote(address.path).strip("/"), query

    def _body(self) -> tuple[int, bytes | None]:
        """Its size, and its content unless it is large."""
        size_bytes = left = int(self.headers.get("Content-Length") or 0)
        kept = bytearray()
        block = memoryview(bytearray(_BLOCK_BYTES))
        while left:
            began = time.monotonic()
            count = self.rfile.readinto(block[: min(left, _BLOCK_BYTES)])  # type: ignore[attr-defined]
            if not count:
                raise ConnectionError("the client went away")
            left -= count
            if size_bytes <= _KEPT_BYTES:
                kept += block[:count]
            elif self.bytes_a_second:
                time.sleep(max(0.0, count / self.bytes_a_second - (time.monotonic() - began)))
        return size_bytes, bytes(kept) if size_bytes <= _KEPT_BYTES else None

    def _listed(self, bucket: str, query: Mapping[str, str]) -> Iterator[str]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        folders = set()
        for path, found in sorted(self.bucket.objects.items()):
            name, _, key = path.partition("/")
            if name != bucket or not key.startswith(prefix):
                continue
            if delimiter and delimiter in key[len(prefix) :]:
                folders.add(prefix + key[len(prefix) :].split(delimiter)[0] + delimiter)
                continue
            yield (
                f"<Contents><Key>{escape(key)}</Key><Size>{found.size_bytes}</Size><ETag>{escape(found.etag)}</ETag>"
                f"<LastModified>{found.made_at:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            )
        for folder in sorted(folders):
            yield f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        yield f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><IsTruncated>false</IsTruncated>"

    def _about(self, found: _Object) -> dict[str, str]:
        return {"ETag": found.etag, "Last-Modified": format_datetime(found.made_at, usegmt=True)}

    def _xml(self, name: str, inner: str) -> None:
        self._answer(200, f"<{name}>{inner}</{name}>".encode(), {"Content-Type": "application/xml"})

    def _fail(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    port, rate = int(sys.argv[1]), float(sys.argv[2]) * 1e6
    handler = type("Handler", (_Handler,), {"bucket": _Bucket(), "bytes_a_second": rate})
    ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()
