"""What stands in for Google's token endpoint: it gives a token to whoever asks in Google's form."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

TOKEN = "ya29.hunter2"


@dataclass
class TokenEndpoint:
    """``answer``: status and body of the next answers. ``asked``: the forms that came in."""

    url: str = ""
    answer: tuple[int, dict[str, Any]] = (200, {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"})
    asked: list[dict[str, list[str]]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[TokenEndpoint]:
        endpoint = cls()

        class Handler(_Handler):
            told = endpoint

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            endpoint.url = f"http://127.0.0.1:{server.server_port}/token"
            yield endpoint
            server.shutdown()

    def key(self) -> dict[str, str]:
        """A service account's key as Google makes it, whose tokens come from here."""
        return {
            "type": "service_account",
            "project_id": "shop",
            "private_key_id": "1",
            "private_key": _private_key(),
            "client_email": "backup@shop.iam.gserviceaccount.com",
            "token_uri": self.url,
        }


class _Handler(BaseHTTPRequestHandler):
    told: TokenEndpoint

    def do_POST(self) -> None:
        self.told.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        status, body = self.told.answer
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@cache
def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
