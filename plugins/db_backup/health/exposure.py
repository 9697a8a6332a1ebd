"""How much would be lost now, against what may be (SPEC §9)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta

from db_backup.health.history import BackupRecord, Expectations, History, OpenWindow
from db_backup.health.report import Control, ControlResult
from db_backup.health.wording import moment, words

_LEAST_GRACE = timedelta(minutes=10)


def rpo_met(history: History, expectations: Expectations) -> Control:
    """Missed when exposure exceeds target and grace.

    Within a window only what was changed since it opened is held against its target: at nine in the morning nobody
    has lost an hour of work yet. A database is as well protected as the server that it names, if that is better.
    """
    name = "RPO met"
    candidates = [*history.restorable, *history.of_server]
    if not candidates:
        evidence = "There is no backup to restore from."
        return Control(name=name, result=ControlResult.FAIL, evidence=evidence, objective=True)
    newest = max(candidates, key=lambda backup: backup.recovery_point)
    grace = _grace(backup for backup in candidates if backup.type is newest.type)
    exposure, target = history.age(newest.recovery_point), expectations.recovery_point
    met = exposure <= target + grace
    evidence = (
        f"All changes of the last {words(exposure)} would be lost (since {moment(newest.recovery_point)}, "
        f"{newest.id}); the target is {words(target)}, with {words(grace)} of grace."
    )
    if expectations.window is not None:
        within = min(exposure, history.age(expectations.window.since))
        met = met and within <= expectations.window.recovery_point + grace
        evidence += f" {_in_window(expectations.window, within)}"
    return Control(
        name=name, result=ControlResult.PASS if met else ControlResult.FAIL, evidence=evidence, objective=True
    )


def _in_window(window: OpenWindow, within: timedelta) -> str:
    return (
        f"Of what was changed since {window.name} began, at {moment(window.since)}, {words(within)} would be lost; the "
        f"target is {words(window.recovery_point)}."
    )


def _grace(backups: Iterable[BackupRecord]) -> timedelta:
    """The larger of 10 minutes and twice the 95th percentile (nearest rank) of these backups' durations."""
    durations = sorted(backup.duration_seconds for backup in backups)
    percentile = durations[math.ceil(0.95 * len(durations)) - 1]
    return max(_LEAST_GRACE, 2 * timedelta(seconds=percentile))
