"""The tasks of ``backup_restore_drill``: the newest good backup of each database restored into scratch, and timed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Param, TriggerRule, XComArg, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from db_backup.config import load_config
from db_backup.errors import BackupError, ConfigurationError, RestoreMismatch, UsageError
from db_backup.model import ENTRY_PATTERN, BackupType, ProofResult
from db_backup.operators.base import Job, WorkspaceOperator, choice, given
from db_backup.operators.forms import refuse_unknown_keys
from db_backup.operators.outcome import TaskEnds
from db_backup.operators.pools import SCRATCH_POOL
from db_backup.settings import load_settings
from db_backup.units import human_bytes, human_duration

_DRILL = "drill"
_COLUMNS = ("DATABASE", "TYPE", "BACKUP", "SIZE", "FETCH", "LOAD", "CHECK", "TOTAL", "TARGET", "RESULT")

log = logging.getLogger(__name__)


def drill_params() -> dict[str, Param]:
    """The form: which databases."""
    try:
        entries = list(load_config(load_settings()).entries)
    except ConfigurationError as error:
        log.warning("backup_restore_drill offers no databases, because the configuration is wrong: %s", error)
        entries = []
    return {
        "databases": Param(
            [],
            type=["array", "null"],  # an emptied multi-select sends null
            items={"type": "string", "pattern": ENTRY_PATTERN},
            uniqueItems=True,
            examples=entries,
            description="Entries of backup.yaml. Empty: all of them.",
        )
    }


@task(retries=0)
def select_drills(
    params: Mapping[str, Any] | None = None, dag: Any = None, dag_run: Any = None
) -> list[dict[str, str]]:
    """One drill for each entry that was asked for (all, unless some are named) and each type that restores it."""
    from db_backup.jobs.drill import drills

    try:
        refuse_unknown_keys(dag.dag_id, dag_run.conf, dag.params)
        config = load_config(load_settings())
        entries = [config.entry(name) for name in (params or {})["databases"] or config.entries]
    except BackupError as error:
        raise AirflowFailException(str(error)) from error
    return [{"database": entry.name, "type": str(each)} for entry in entries for each in drills(entry)]


def drill_each(drills: XComArg) -> Any:
    """The task ``drill`` for each of them, none of which stops another."""
    return DrillOperator.partial(
        task_id=_DRILL, pool=SCRATCH_POOL, map_index_template="{{ task.database }}, {{ task.type }}"
    ).expand_kwargs(drills)


class DrillOperator(WorkspaceOperator):
    """Restore the newest good backup of an entry into a scratch server, compare, and time it. Arguments are templated.

    A restore that does not come out as the manifest says, or whose application checks fail, fails the task; where
    nothing could be restored here (no scratch server, no space, too large) it is skipped with the reason. What was
    measured is kept in the backup's state. Returns ``backup_id``, ``database``, ``type``, ``result``, ``rows``,
    ``plain_bytes``, ``fetch_seconds``, ``load_seconds``, ``check_seconds``, ``restore_seconds``, ``target_seconds``.

    :param database: the entry.
    :param type: full or structure.
    """

    template_fields: Sequence[str] = ("database", "type")

    def __init__(self, *, database: str, type: str = "full", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.database = database
        self.type = type

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.drill import drill

        if not given(self.database):
            raise UsageError("DrillOperator was given no database.", hint="Name an entry of backup.yaml.")
        report = drill(
            job.workspace,
            str(self.database),
            choice(BackupType, self.type, "type") or BackupType.FULL,
            run=job.run,
            progress=job.progress,
            cancellation=job.cancellation,
        )
        for passed_over in report.passed_over:
            self.log.warning("%s", passed_over)
        if report.result is ProofResult.INCONCLUSIVE:
            raise AirflowSkipException(f"{report.backup_id} was not restored: {report.reason}")
        if report.result is ProofResult.FAILED:
            raise RestoreMismatch(
                f"The drill of '{report.database}' failed. {report.backup_id}: {report.reason}",
                hint="See how it stands now with `db-backup list --detailed`, and find out what is wrong before it is "
                "needed.",
                database=report.database,
                backup_id=report.backup_id,
            )
        if report.target_seconds is not None and (report.restore_seconds or 0.0) > report.target_seconds:
            self.log.warning(
                "%s was restored in %s, and its target is %s",
                report.backup_id,
                human_duration(report.restore_seconds or 0.0),
                human_duration(report.target_seconds),
            )
        return report.model_dump(mode="json")


class DrillOutcomeOperator(BaseOperator):
    """The last task: what was measured, as a table; it carries every failure.

    :param drills: as :func:`select_drills` returns them.
    """

    template_fields: Sequence[str] = ("drills",)

    def __init__(self, *, drills: Any, **kwargs: Any) -> None:
        super().__init__(trigger_rule=TriggerRule.ALL_DONE, **kwargs)
        self.drills = drills

    def execute(self, context: Any) -> list[dict[str, str]]:
        if self.drills is None:
            raise AirflowFailException("Nothing was restored: the first task's log says why.")
        if not self.drills:
            raise AirflowFailException("No entry takes backups that could be restored by themselves.")
        ends = TaskEnds(context["ti"], [_DRILL])
        rows, failures = [], []
        for index, one in enumerate(self.drills):
            end = ends.of(_DRILL, index)
            rows.append(_row(one, end.returned) if end.returned else _row_without(one, end.reason))
            if end.failed:
                failures.append(f"{one['database']}, {one['type']}: {end.reason}")
        for line in _table(rows):
            self.log.info("%s", line)
        if failures:
            raise AirflowFailException(f"{len(failures)} of {len(rows)} drills failed. {' '.join(failures)}")
        return [dict(zip(map(str.lower, _COLUMNS), row, strict=True)) for row in rows]


def _row(asked: Mapping[str, str], report: Mapping[str, Any]) -> tuple[str, ...]:
    target = report["target_seconds"]
    return (
        asked["database"],
        asked["type"],
        report["backup_id"],
        human_bytes(report["plain_bytes"]),
        *(human_duration(report[f"{part}_seconds"]) for part in ("fetch", "load", "check", "restore")),
        human_duration(target) if target else "-",
        "passed",
    )


def _row_without(asked: Mapping[str, str], reason: str) -> tuple[str, ...]:
    return (asked["database"], asked["type"], *("-",) * (len(_COLUMNS) - 3), reason)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The rows as aligned lines, with a head."""
    widths = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in (_COLUMNS, *rows)
    ]
