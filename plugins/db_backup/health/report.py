"""The document ``health`` of SPEC §3. Field names and the names of components and controls are promises."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from pydantic import PlainSerializer

from db_backup.frozen import FrozenModel
from db_backup.model import BackupType

Points = Annotated[Fraction, PlainSerializer(float, return_type=float)]
"""Exact, so that sums and boundaries are; a number in JSON."""


class HealthStatus(StrEnum):
    """From best to worst."""

    EXCELLENT = "excellent"
    GOOD = "good"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(HealthStatus).index(self)


def status_of(score: int) -> HealthStatus:
    """From 95 excellent, from 80 good, from 60 warning, below critical."""
    if score >= 95:
        return HealthStatus.EXCELLENT
    if score >= 80:
        return HealthStatus.GOOD
    return HealthStatus.WARNING if score >= 60 else HealthStatus.CRITICAL


class ControlResult(StrEnum):
    PASS = "pass"  # noqa: S105 - an outcome, no password
    WARNING = "warning"
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"


class Component(FrozenModel):
    """A part of the score. ``improvement``: what would raise it; empty where nothing is missing."""

    name: str
    points: Points
    max_points: int
    reason: str
    improvement: str = ""


class Control(FrozenModel):
    """A question with an answer, beside the score.

    ``objective``: it is a target of SPEC §9. ``event``: as what the answer is news (SPEC §7); empty: it is none.
    """

    name: str
    result: ControlResult
    evidence: str
    objective: bool = False
    event: str = ""


class RecoveryTime(FrozenModel):
    """How long a restore of this type takes, against its target, in seconds (SPEC §9).

    ``measured_seconds``: of the last timed restore, that of ``measured_on``, of which ``setup_seconds`` went into the
    scratch server. ``predicted_seconds``: of the newest backup, ``predicted_for``, with the same for its server and at
    the rate at which the plain bytes of the former came back; None where it had none.
    """

    type: BackupType
    target_seconds: float
    measured_seconds: float
    measured_on: str
    measured_at: datetime
    setup_seconds: float
    bytes_per_second: float
    predicted_seconds: float | None
    predicted_for: str

    @property
    def met(self) -> bool:
        """Both, what was measured and what is predicted, lie within the target."""
        return max(self.measured_seconds, self.predicted_seconds or 0.0) <= self.target_seconds


class EntryHealth(FrozenModel):
    database: str
    score: int
    status: HealthStatus
    components: tuple[Component, ...]
    controls: tuple[Control, ...]
    recovery_times: tuple[RecoveryTime, ...] = ()

    @property
    def misses_objective(self) -> bool:
        return any(control.objective and control.result is ControlResult.FAIL for control in self.controls)


class Health(FrozenModel):
    """``score`` is the lowest entry's."""

    score: int
    status: HealthStatus
    checked_at: datetime
    databases: tuple[EntryHealth, ...]

    @property
    def alarming(self) -> bool:
        """Critical, or an objective is missed: what ends ``db-backup health`` with 3."""
        return self.status is HealthStatus.CRITICAL or any(entry.misses_objective for entry in self.databases)
