"""The tasks of ``backup_restore``: plan, approval, thaw, hooks around the restore, and at the end what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowFailException

from db_backup.operators.answer import ANSWER_KEY, HOLDS_FOR
from db_backup.operators.approval import RestoreApprovalOperator
from db_backup.operators.base import Job, WorkspaceOperator, given
from db_backup.operators.hooks import AfterRestoreOperator, BeforeRestoreOperator
from db_backup.operators.outcome import TaskEnds
from db_backup.operators.pools import RESTORE_POOL
from db_backup.operators.restore import REPORT_KEY, RESERVATION_KEY, PlanRestoreOperator, RestoreOperator
from db_backup.operators.thaw import ThawOperator
from db_backup.units import human_duration

APPROVAL_EXPIRES_AFTER = timedelta(hours=24)
RESERVED_FOR = APPROVAL_EXPIRES_AFTER + HOLDS_FOR + timedelta(hours=24)
"""Released by the last task. The yes may come at the last moment, and hold until its own; a day is for tasks to be
started. The restore has a lease of its own."""

_PLAN, _APPROVAL, _THAW, _BEFORE = "plan", "approval", "thaw", "before_restore"
_RESTORE, _AFTER = "restore", "after_restore"
_TASKS = (_PLAN, _APPROVAL, _THAW, _BEFORE, _RESTORE, _AFTER)
# An XComArg of a key that is not there would fail the last task when the first has.
_RESERVATION = f"{{{{ ti.xcom_pull(task_ids='{_PLAN}', key='{RESERVATION_KEY}') }}}}"
_NO_FAILURE = {"success", "skipped", "upstream_failed"}

_ASKED = {
    "backup": "{{ params.backup }}",
    "database": "{{ params.database }}",
    "to": "{{ params.to }}",
    "new_name": "{{ params.new_name }}",
    "source_database": "{{ params.source_database }}",
    "to_time": "{{ params.to_time }}",
    "tables": "{{ (params.tables or []) | tojson }}",
    "with_owners": "{{ params.with_owners }}",
    "force": "{{ params.force }}",
    "safety_backup": "{{ params.safety_backup }}",
    "scratch": "{{ params.test }}",
    "jobs": "{{ params.jobs }}",
    "from_storage": "{{ params.from_storage }}",
}


def restore_tasks() -> None:
    """All of them, in their order."""
    plan: Any = PlanRestoreOperator(task_id=_PLAN, reserved_for=RESERVED_FOR, **_ASKED)
    approval: Any = RestoreApprovalOperator(task_id=_APPROVAL, plan=plan.output, expires_after=APPROVAL_EXPIRES_AFTER)
    thaw = ThawOperator(task_id=_THAW, plan=plan.output)  # before the hook: nobody stops a shop for hours
    before = BeforeRestoreOperator(task_id=_BEFORE, plan=plan.output, retries=0)
    restore = RestoreOperator(
        task_id=_RESTORE,
        plan=plan.output,
        approval=approval.output,
        pool=RESTORE_POOL,
        trigger_rule=TriggerRule.NONE_FAILED,  # that there is nothing to run before is no reason against it
        execution_timeout=None,  # however long it takes: a database that is half back helps nobody
        **_ASKED,
    )
    after = AfterRestoreOperator(
        task_id=_AFTER,
        plan=plan.output,
        before_task_id=_BEFORE,
        restore_task_id=_RESTORE,
        trigger_rule=TriggerRule.ALL_DONE,
    )
    report = RestoreOutcomeOperator(task_id="report", reservation=_RESERVATION)
    # A rejection skips what comes directly after the approval, whatever its trigger rule.
    approval >> [thaw, before, restore, after]
    thaw >> before >> restore >> after >> report


class RestoreOutcomeOperator(WorkspaceOperator):
    """The last task of a run: lets the backups go, says what came of the restore, and fails when a task failed.

    A restore that was rejected is no failure.

    :param reservation: what the plan reserved the backups by; templated.
    """

    template_fields: Sequence[str] = ("reservation",)

    def __init__(self, *, reservation: Any, **kwargs: Any) -> None:
        super().__init__(trigger_rule=TriggerRule.ALL_DONE, **kwargs)
        self.reservation = reservation

    def work(self, job: Job) -> dict[str, Any]:
        if given(self.reservation):
            for reservation in str(self.reservation).split():
                job.workspace.catalog.release(reservation)
        instance = job.context["ti"]
        ends = TaskEnds(instance, _TASKS)
        failed = {task_id: end for task_id in _TASKS if (end := ends.of(task_id)).state not in _NO_FAILURE}
        report = instance.xcom_pull(task_ids=_RESTORE, key=REPORT_KEY)
        answer = instance.xcom_pull(task_ids=_APPROVAL, key=ANSWER_KEY)
        for line in report_lines(report) if report else ["Nothing was restored."]:
            self.log.info("%s", line)
        if failed:
            raise AirflowFailException(" ".join(f"{task_id}: {end.reason}" for task_id, end in failed.items()))
        if answer and not answer["approved"]:
            self.log.info("%s rejected it at %s: nothing was changed.", answer["by"], answer["at"])
        return {"restored": report is not None, "answer": answer, "report": report}


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """What was restored, for people."""
    lines = [
        f"Restored {report['backup_id']} to {report['restored_to']} ({report['target']}, way: {report['way']})",
        f"  rows        {report['rows']:,} in {report['tables']} tables",
        f"  took        {human_duration(report['duration_seconds'])}: waiting for the storage "
        f"{human_duration(report['fetch_seconds'])}, loading {human_duration(report['load_seconds'])}, "
        f"comparing {human_duration(report['check_seconds'])}",
        f"  differences {len(report['differences'])}",
        f"  checks      {sum(check['passed'] for check in report['checks'])} of {len(report['checks'])} passed",
    ]
    if storages := sorted(set(report["read_from"].values())):
        lines.append(f"  read from   {', '.join(storages)}")
    if recovered := report["recovered"]:
        lines.append(
            f"  as it was   at {recovered['asked']}; the last change in it is of {recovered['reached']}; rebuilt of "
            f"{len(recovered['links'])} backups in {human_duration(recovered['rebuild_seconds'])}"
        )
    if report["safety_backup_id"]:
        lines.append(f"  before      backed up as {report['safety_backup_id']}")
    if report["approved_by"]:
        lines.append(f"  approved by {report['approved_by']}")
    return lines
