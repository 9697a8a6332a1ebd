"""Restores carried out in this process, at whose steps a test may step in."""

from __future__ import annotations

from collections.abc import Callable

from db_backup.jobs.restore import RestoreReport, RestoreRequest, restore_backup
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.progress import Cancellation
from support.project import Project

RUN = RunInfo(origin="cli", actor="ada", host="tower")


class Watched:
    """Progress that calls ``act`` once: when a stage that begins with ``stage`` begins, or some of its bytes went by.

    :param at_bytes: how many at least; None: at the beginning of the stage.
    """

    def __init__(self, stage: str, act: Callable[[], object], *, at_bytes: int | None = None) -> None:
        self._stage = stage
        self._act: Callable[[], object] | None = act
        self._at_bytes = at_bytes
        self._now = ""
        self._bytes = 0

    def stage(self, description: str, total_bytes: int | None = None) -> None:
        self._now = description
        if self._at_bytes is None:
            self._reached()

    def advance(self, plain_bytes: int) -> None:
        if self._at_bytes is not None and self._now.startswith(self._stage):
            self._bytes += plain_bytes
            if self._bytes >= self._at_bytes:
                self._reached()

    def _reached(self) -> None:
        if self._act is not None and self._now.startswith(self._stage):
            act, self._act = self._act, None
            act()


def restore(
    project: Project, request: RestoreRequest, progress: Watched, cancellation: Cancellation | None = None
) -> RestoreReport:
    with Workspace.open(project.environment) as workspace:
        return restore_backup(
            workspace, request, run=RUN, progress=progress, cancellation=cancellation or Cancellation()
        )
