"""moto's server, with one request at a time.

Conditions of a request (``If-Match``, ``If-None-Match``) it looks at first and acts on afterwards: of two that come at
once it may let both through, which S3 never does.

python -m support.moto_process PORT
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import moto.server

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def one_at_a_time(application: Application) -> Application:
    lock = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if length := environ.get("CONTENT_LENGTH"):  # else it comes in pieces, or not at all
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))  # at its sender's leisure
        with lock:
            answered = application(environ, start_response)
            try:
                return list(answered)
            finally:
                getattr(answered, "close", lambda: None)()

    return answer


if __name__ == "__main__":
    serve = moto.server.run_simple
    moto.server.run_simple = lambda host, port, application, **options: serve(
        host, port, one_at_a_time(application), **options
    )
    moto.server.main(["-H", "127.0.0.1", "-p", sys.argv[1]])
