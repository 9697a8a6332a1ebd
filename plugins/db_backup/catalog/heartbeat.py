"""Claims are kept alive while they are held: the sign of life for those who cannot ask the kernel about the holder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Table, update

from db_backup.catalog.database import Database
from db_backup.errors import CatalogError

INTERVAL_SECONDS = 20.0
LIFETIME = timedelta(minutes=3)  # several beats may fail before others take the holder for dead


@dataclass(frozen=True)
class _Claim:
    table: Table
    on_lost: Callable[[], None] | None


def next_expiry(now: datetime) -> datetime:
    """Until when a claim holds that shows a sign of life now."""
    return now + LIFETIME


class Heartbeat:
    """Moves ``expires_at`` of the claims of this process ahead, from one background thread.

    The thread starts with the first claim; a forked child starts afresh, with none of its parent's claims.
    """

    _pid: int
    _guard: threading.Lock
    _stopping: threading.Event
    _claims: dict[str, _Claim]
    _thread: threading.Thread | None
    _last_beat: float  # monotonic seconds

    def __init__(self, database: Database, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._database = database
        self._interval_seconds = interval_seconds
        self._start_afresh()

    def keep(self, table: Table, token: str, on_lost: Callable[[], None] | None = None) -> None:
        """Keep a claim alive. ``on_lost`` is called, in the thread, when somebody took it away or it ran out."""
        if self._pid != os.getpid():
            self._start_afresh()
        with self._guard:
            self._claims[token] = _Claim(table, on_lost)
            if self._thread is None:
                self._last_beat = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="catalogue heartbeat", daemon=True)
                self._thread.start()

    def drop(self, token: str) -> bool:
        """Let a claim go; False if it is none of this process's."""
        if self._pid != os.getpid():
            return False
        with self._guard:
            return self._claims.pop(token, None) is not None

    def stop(self) -> None:
        """End the thread, if it is this process's."""
        if self._pid == os.getpid() and self._thread is not None:
            self._stopping.set()
            self._thread.join()

    def beat(self) -> None:
        """One sign of life for every claim."""
        with self._guard:
            claims = dict(self._claims)
        try:
            lost = self._extend(claims)
        except CatalogError:
            # The next beat tries again. Once others may take us for dead, the claims are as good as lost.
            if time.monotonic() - self._last_beat < LIFETIME.total_seconds():
                return
            lost = list(claims)
        else:
            self._last_beat = time.monotonic()
        for token in lost:
            # A claim that was released during this beat is gone from the list, and not lost.
            with self._guard:
                claim = self._claims.pop(token, None)
            if claim is not None and claim.on_lost is not None:
                claim.on_lost()

    def _extend(self, claims: dict[str, _Claim]) -> list[str]:
        """Returns those that are not there any more."""
        if not claims:
            return []
        with self._database.write() as connection:
            expires_at = next_expiry(self._database.now(connection))
            return [
                token
                for token, claim in claims.items()
                if not connection.execute(
                    update(claim.table).where(claim.table.c.token == token).values(expires_at=expires_at)
                ).rowcount
            ]

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_seconds):
            self.beat()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._claims = {}
        self._thread = None
        self._last_beat = time.monotonic()
