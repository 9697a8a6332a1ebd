"""The DAGs that an entry's ``hooks`` name: run before a restore, and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException

from db_backup.operators.base import leave_outcome
from db_backup.operators.outcome import TaskEnds
from db_backup.operators.restore import REPORT_KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

_LOOK_EVERY_SECONDS = 2
_STARTED = {"success", "failed"}


class _HookOperator(TriggerDagRunOperator):
    """Run the DAG that the plan names, and wait for its end; its failure, and that it is paused, fail this task."""

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "plan")

    def __init__(self, *, plan: Mapping[str, Any] | None, **kwargs: Any) -> None:
        super().__init__(
            trigger_dag_id="",  # the plan says which
            wait_for_completion=True,
            poke_interval=_LOOK_EVERY_SECONDS,
            fail_when_dag_is_paused=True,  # its run would wait for ever
            deferrable=False,
            **kwargs,
        )
        self.plan = plan

    def _run(self, context: Context, dag_id: str) -> None:
        plan = self.plan or {}
        self.trigger_dag_id = dag_id
        self.conf = {"database": plan["entry"], "backup_id": plan["backup_id"], "target": plan["target_address"]}
        super().execute(context)

    def _skip(self, context: Context, reason: str) -> None:
        leave_outcome(context, "skipped", reason)
        raise AirflowSkipException(reason)


class BeforeRestoreOperator(_HookOperator):
    """``hooks.before_restore``: what stops the application."""

    def execute(self, context: Context) -> None:
        dag_id = (self.plan or {}).get("before_dag")
        if not dag_id:
            self._skip(context, "The target's configuration names no DAG to run before a restore.")
        self._run(context, str(dag_id))


class AfterRestoreOperator(_HookOperator):
    """``hooks.after_restore``: what starts the application again, also when the restore failed that it was stopped for.

    Not where what was restored is in place and differs from the manifest, or fails the application's own checks: a
    person must look before anything writes to it.

    :param before_task_id: the task of the hook before.
    :param restore_task_id: the restore.
    """

    def __init__(self, *, before_task_id: str, restore_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.before_task_id = before_task_id
        self.restore_task_id = restore_task_id

    def execute(self, context: Context) -> None:
        dag_id = (self.plan or {}).get("after_dag")
        if not dag_id:
            self._skip(context, "The target's configuration names no DAG to run after a restore.")
        ends = TaskEnds(context["ti"], [self.before_task_id, self.restore_task_id])
        stopped = ends.of(self.before_task_id).state in _STARTED
        if not stopped and ends.of(self.restore_task_id).state != "success":
            self._skip(context, "Nothing was stopped and nothing was restored, so nothing has to be started again.")
        report = context["ti"].xcom_pull(task_ids=self.restore_task_id, key=REPORT_KEY) or {}
        if report.get("in_place") and report.get("differences"):
            self._skip(
                context,
                f"What is in place now differs from the backup's manifest, so '{dag_id}' was not run: look at the "
                "report, and run it by hand.",
            )
        self._run(context, str(dag_id))
