"""Waiting for backups to be thawed without a worker's slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from db_backup.errors import BackupError


class ThawTrigger(BaseTrigger):
    """Fires when all of these copies can be read: the event is ``{"state": "thawed", "copies": …, "since": …}``.

    What keeps it from finding that out for good is its event too: ``{"state": "failed", "reason": …, "hint": …}``.
    Only names are stored in Airflow's database; connections are looked up where it runs.

    :param copies: the storage to look at, by the backup's id.
    :param poll_seconds: how often to look.
    :param since: when it was asked for, for whoever gets the event.
    """

    _MOST_FAILURES = 12  # in a row

    def __init__(self, copies: Mapping[str, str], poll_seconds: float, since: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.copies = dict(copies)
        self.poll_seconds = poll_seconds
        self.since = since

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {"copies": self.copies, "poll_seconds": self.poll_seconds, "since": self.since}
        return f"{ThawTrigger.__module__}.ThawTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        failures = 0
        while True:
            # First of all: the scheduler must have heard that the process has ended which asked for this, or it takes
            # that end for the failure of the one that is to go on (Airflow 3.3).
            await asyncio.sleep(self.poll_seconds)
            try:
                # In a thread: it speaks to storages and to the catalogue, and the loop is that of all triggers.
                waiting = await asyncio.to_thread(still_cold, self.copies)
                failures = 0
            except BackupError as error:
                failures += 1
                if failures >= self._MOST_FAILURES:
                    yield _event(state="failed", reason=error.message, hint=error.hint)
                    return
            else:
                if not waiting:
                    yield _event(state="thawed", copies=self.copies, since=self.since)
                    return


def _event(**payload: object) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def still_cold(copies: Mapping[str, str]) -> Sequence[str]:
    """Of these copies, the ids of the backups that cannot be read yet.

    :param copies: as :class:`ThawTrigger` has them.
    :raises BackupError: a storage does not say.
    """
    from db_backup.jobs.copies import locate
    from db_backup.jobs.thaw import cold_copy
    from db_backup.jobs.workspace import Workspace

    with Workspace.open_without_need_of_catalogue() as workspace:
        return [
            backup_id
            for backup_id, storage in copies.items()
            if cold_copy(locate(workspace, backup_id, storage=storage)) is not None
        ]
