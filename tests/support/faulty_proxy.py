"""A proxy before an object storage that lets go wrong what a test wants: slow, denied, down, cut off, answer lost."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

_PER_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding"})


@dataclass(frozen=True)
class Request:
    """One request as it came. ``path`` has the query with it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The path alone, decoded: some clients encode every slash."""
        return unquote(urlsplit(self.path).path)


@dataclass
class Fault:
    """What goes wrong with the requests that match; ``times``: with how many of them (None: with all).

    ``status``: this is the answer, and the server never hears of it. ``seconds``: it waits so long first. ``lost``: the
    server acts, and the connection breaks before the answer. ``refused``: it breaks before the server hears of it.
    ``cut_after``: it breaks after so many bytes of the answer. ``before``: called first. ``ignored``: a header that the
    server does not hear of.
    """

    matches: Callable[[Request], bool]
    times: int | None = None
    status: int | None = None
    seconds: float = 0.0
    cut_after: int | None = None
    lost: bool = False
    refused: bool = False
    before: Callable[[], object] | None = None
    ignored: str = ""


class FaultyProxy:
    """``requests``: all that came, in order."""

    def __init__(self, target: str) -> None:
        self._target = urlsplit(target)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Passing)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self._lock = threading.Lock()
        self.faults: list[Fault] = []
        self.requests: list[Request] = []

    @classmethod
    @contextmanager
    def before(cls, target: str) -> Iterator[FaultyProxy]:
        """:param target: the endpoint of the server behind it."""
        proxy = cls(target)
        thread = threading.Thread(target=proxy._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy._server.shutdown()
            thread.join()
            proxy._server.server_close()

    @property
    def endpoint(self) -> str:
        """What the storage is told."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{self._target.path}"

    def let(self, fault: Fault) -> None:
        """From now on."""
        self.faults.append(fault)

    def fault_for(self, request: Request) -> Fault | None:
        """What is to go wrong with this one."""
        with self._lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times != 0 and fault.matches(request):
                    fault.times = None if fault.times is None else fault.times - 1
                    return fault
        return None

    def forward(self, request: Request, ignored: str = "") -> tuple[int, Sequence[tuple[str, str]], bytes]:
        """What the server says to it."""
        assert self._target.hostname is not None
        connection = http.client.HTTPConnection(self._target.hostname, self._target.port)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in {*_PER_CONNECTION, ignored}:
                    connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: Any

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _pass(self) -> None:
        proxy: FaultyProxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, dict(self.headers), body)
        fault = proxy.fault_for(request) or Fault(lambda _: True)
        if fault.before is not None:
            fault.before()
        time.sleep(fault.seconds)
        if fault.refused:
            self._break_off()
        elif fault.status is not None:
            self._answer(fault.status, [], b"")
        else:
            status, headers, content = proxy.forward(request, fault.ignored)
            if fault.lost:
                self._break_off()
            else:
                self._answer(status, headers, content, fault.cut_after)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name in {"do_GET", "do_HEAD", "do_PUT", "do_POST", "do_DELETE"}:
            return self._pass
        raise AttributeError(name)

    def _answer(
        self, status: int, headers: Sequence[tuple[str, str]], content: bytes, cut_after: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = str(len(content))
        for name, value in headers:
            if name.lower() == "content-length":
                length = value  # of a HEAD, what GET would have
            elif name.lower() not in _PER_CONNECTION:
                self.send_header(name, value)
        if status >= 200 and status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content if cut_after is None else content[:cut_after])
        if cut_after is not None:
            self._break_off()

    def _break_off(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""
