"""Ports of this machine."""

from __future__ import annotations

import socket

_kept: list[socket.socket] = []  # until this process ends: some servers are stopped and started again


def free_port() -> int:
    """A port of 127.0.0.1 where nothing listens, and which the kernel gives to nobody else as long as we live.

    A server that is told of it can have it, for servers set SO_REUSEADDR as we do, and we do not listen (socket(7)).
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    _kept.append(keeper)
    return int(keeper.getsockname()[1])
