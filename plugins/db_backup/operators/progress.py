"""Progress of a task: lines in its log, and the newest figures in Airflow's task state store."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from airflow.sdk.exceptions import AirflowRuntimeError

from db_backup.units import human_bytes

if TYPE_CHECKING:
    from pydantic import JsonValue

LOG_EVERY_SECONDS = 5.0
LOG_EVERY_PERCENT = 10
STATE_KEY = "progress"


class Log(Protocol):
    """What is used of a logger; Airflow's is structlog's."""

    def info(self, event: str, *arguments: object) -> object: ...

    def warning(self, event: str, *arguments: object) -> object: ...


class StateStore(Protocol):
    """What is used of ``context["task_state_store"]`` (Airflow 3.3): readable over REST while the task runs."""

    def set(self, key: str, value: JsonValue) -> None: ...


class TaskProgress:
    """Logs each stage, and within it every 10 % or, where the total is not known, every 5 seconds.

    :param store: told the same figures; None where the context has none.
    :param clock: seconds, monotonic.
    """

    def __init__(self, log: Log, store: StateStore | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._stage = ""
        self._total_bytes: int | None = None
        self._done_bytes = 0
        self._began = self._told_at = clock()
        self._told_percent = 0

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        self._stage = description
        self._total_bytes = total_bytes or None
        self._done_bytes = 0
        self._began = self._told_at = self._clock()
        self._told_percent = 0
        estimate = f" (about {human_bytes(total_bytes)})" if total_bytes else ""
        self._log.info("%s%s", self._stage, estimate)
        self._save(0.0)

    def advance(self, plain_bytes: int) -> None:
        self._done_bytes += plain_bytes
        now = self._clock()
        percent = min(self._done_bytes * 100 // self._total_bytes, 100) if self._total_bytes else 0
        step = percent // LOG_EVERY_PERCENT > self._told_percent // LOG_EVERY_PERCENT
        if now - self._told_at < LOG_EVERY_SECONDS and not (step and now - self._told_at >= 1.0):
            return
        self._told_at, self._told_percent = now, percent
        rate = self._done_bytes / max(now - self._began, 0.001)
        share = f" of about {human_bytes(self._total_bytes)} ({percent} %)" if self._total_bytes else ""
        self._log.info("%s: %s%s, %s/s", self._stage, human_bytes(self._done_bytes), share, human_bytes(int(rate)))
        self._save(rate)

    def _save(self, rate: float) -> None:
        """Progress is for looking at: a state store that refuses it is told of once, and the work goes on."""
        if self._store is None:
            return
        try:
            self._store.set(
                STATE_KEY,
                {
                    "stage": self._stage,
                    "done_bytes": self._done_bytes,
                    "total_bytes": self._total_bytes,
                    "bytes_per_second": int(rate),
                },
            )
        except AirflowRuntimeError as error:
            self._store = None
            self._log.warning("Airflow's task state store refused the progress, which stays in this log: %s", error)
