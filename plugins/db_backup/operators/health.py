"""``HealthScoreOperator``: how well everything is protected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from db_backup.errors import HealthTooLow
from db_backup.operators.base import Job, WorkspaceOperator, choice

if TYPE_CHECKING:
    from db_backup.health import Health


class HealthScoreOperator(WorkspaceOperator):
    """Score every entry (SPEC §6), log what is missing, return the document of ``db-backup health --json``.

    :param fail_when: good, warning or critical: the task fails when the overall status is this or worse.
        Not given: a low score alone fails nothing. Templated.
    """

    template_fields: Sequence[str] = ("fail_when",)

    def __init__(self, *, fail_when: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fail_when = fail_when

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.health import HealthStatus
        from db_backup.jobs.health_report import health_report

        limit = choice(HealthStatus, self.fail_when, "fail_when")
        health = health_report(job.workspace)
        self._log_missing(health)
        if limit is not None and health.status.rank >= limit.rank:
            worst = min(health.databases, key=lambda entry: entry.score)
            raise HealthTooLow(
                f"The health score is {health.score} of 100, {health.status}; '{worst.database}' is the lowest.",
                hint="See this task's log, or `db-backup health`, for what would raise it.",
                database=worst.database,
            )
        return health.model_dump(mode="json")

    def _log_missing(self, health: Health) -> None:
        from db_backup.health import ControlResult

        for entry in health.databases:
            self.log.info("%s: %d of 100, %s", entry.database, entry.score, entry.status)
            for part in entry.components:
                if part.improvement:
                    points = f"{float(part.points):.4g} of {part.max_points}"
                    self.log.info("  %s, %s: %s %s", part.name, points, part.reason, part.improvement)
            for control in entry.controls:
                if control.result in {ControlResult.FAIL, ControlResult.WARNING}:
                    self.log.warning("  %s: %s. %s", control.name, control.result, control.evidence)
        self.log.info("Overall: %d of 100, %s", health.score, health.status)
