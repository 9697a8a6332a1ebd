"""A backup that takes its time, so that others meet it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from db_backup.jobs.create import CreateRequest, create_backup
from db_backup.jobs.creation import Creation, Made
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.model import BackupType
from db_backup.progress import Cancellation, Silent

_PATIENCE_SECONDS = 240  # a whole DAG may run meanwhile


@contextmanager
def backup_at_work(
    entry: str, monkeypatch: pytest.MonkeyPatch, *, type: BackupType = BackupType.FULL
) -> Iterator[threading.Event]:
    """A real backup in another thread, which locks the entry and publishes once the event is set, or at the end."""
    begun, may_end = threading.Event(), threading.Event()
    publish = Creation.publish

    def slowly(creation: Creation) -> Made:
        if threading.current_thread() is thread:
            begun.set()
            assert may_end.wait(_PATIENCE_SECONDS)
        return publish(creation)

    def back_up() -> None:
        run = RunInfo(origin="airflow", dag_id="backup_on_demand", run_id="by_anna")
        with Workspace.open(os.environ) as workspace:
            request = CreateRequest(entry, type)
            create_backup(workspace, request, run=run, progress=Silent(), cancellation=Cancellation())

    thread = threading.Thread(target=back_up)
    monkeypatch.setattr(Creation, "publish", slowly)
    thread.start()
    try:
        assert begun.wait(_PATIENCE_SECONDS)
        yield may_end
    finally:
        may_end.set()
        thread.join(_PATIENCE_SECONDS)
