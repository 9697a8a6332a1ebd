"""``RestoreApprovalOperator``: a person reads the plan of a restore and says yes or no."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from db_backup.errors import BackupError, Refused
from db_backup.operators.answer import ANSWER_KEY, Answer, may_go_unasked, refuse_own_approval
from db_backup.operators.base import leave_outcome, run_info, task_failure
from db_backup.operators.trail import words_of_answer

if TYPE_CHECKING:
    from airflow.sdk import Context

    from db_backup.jobs.restore import RestorePlan
    from db_backup.manifest import RunInfo

_HOUR = timedelta(hours=1)
_MARKUP = re.compile(r"([\\`*\[\]<>])")


class RestoreApprovalOperator(ApprovalOperator):
    """Show the plan, wait for an answer, and write down who gave it.

    Nobody is asked where nothing that exists is touched. A rejection skips the tasks that come next; no answer in time
    fails this one, and so does, with ``BACKUP_RESTORE_FOUR_EYES=true``, the approval of whoever started the run. Who
    may answer is Airflow's to say: a viewer may not. Returns the answer, which is in the XCom ``answer`` too, even if
    it is a no. Where nobody was asked there is none.

    :param plan: of :class:`~db_backup.operators.restore.PlanRestoreOperator`; templated.
    :param expires_after: how long to wait.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "plan")

    def __init__(self, *, plan: Mapping[str, Any] | None, expires_after: timedelta, **kwargs: Any) -> None:
        kwargs.setdefault("subject", "Approve a restore")
        super().__init__(response_timeout=expires_after, retries=0, **kwargs)
        self.plan = plan
        self.expires_after = expires_after

    def execute(self, context: Context) -> None:
        plan = self._plan()
        if may_go_unasked(plan):
            self.log.info("Nobody has to approve it: nothing that exists is touched.")
            return
        if context["ti"].try_number > 1:
            # Airflow 3.3 keeps the text of the first question (execution_api/routes/hitl.py, upsert_hitl_detail).
            raise _told(
                context,
                Refused(
                    "This run has asked for approval before, and Airflow would show the plan of that time again.",
                    hint="Start a new run.",
                    backup_id=plan.backup_id,
                ),
            )
        run = run_info(context)
        what = f"'{plan.entry}' as it was at {plan.recovery.asked}" if plan.recovery else plan.backup_id
        self.subject = f"Restore {what} to {plan.target_address}?"
        self.body = approval_text(plan, run, self.expires_after)
        super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        plan, run = self._plan(), run_info(context)
        try:
            answer = self._written_down(plan, run, event)
        except BackupError as error:
            raise _told(context, error) from error
        context["ti"].xcom_push(ANSWER_KEY, answer.document)
        if not answer.approved:
            leave_outcome(context, "rejected", f"{answer.by} rejected it. Nothing was changed.")
        super().execute_complete(context, event)
        return answer.document

    def _written_down(self, plan: RestorePlan, run: RunInfo, event: Mapping[str, Any]) -> Answer:
        """The answer, in the audit trail under the name of who gave it.

        :raises Refused: nobody answered in time; or the one who asked did, where it must be another.
        """
        from db_backup.catalog import AuditAct
        from db_backup.jobs.acts import audited
        from db_backup.jobs.workspace import Workspace

        user = event.get("responded_by_user") or {}
        by = str(user.get("name") or user.get("id") or "")
        actor = run.model_copy(update={"actor": by})
        with (
            Workspace.open() as workspace,
            audited(workspace, AuditAct.APPROVAL, actor, entry=plan.entry, backup_id=plan.backup_id) as act,
        ):
            if "error" in event:
                raise Refused(
                    f"Nobody answered within {self.expires_after / _HOUR:g} hours, so {plan.backup_id} was not "
                    "restored. Nothing was changed.",
                    hint="Start a new run when somebody is there who can approve it.",
                    database=plan.entry,
                    backup_id=plan.backup_id,
                )
            answer = Answer(self.APPROVE in event["chosen_options"], by, event["responded_at"].isoformat())
            act.detail = words_of_answer(answer, plan, run)
            if answer.approved and workspace.settings.backup_restore_four_eyes:
                refuse_own_approval(plan, answer, run.actor)
        return answer

    def _plan(self) -> RestorePlan:
        from db_backup.jobs.restore import RestorePlan

        return RestorePlan.model_validate(self.plan)


def _told(context: Context, error: BackupError) -> Exception:
    """What to raise for it, once it is left for the last task to tell."""
    leave_outcome(context, "failed", error.message, error.hint)
    return task_failure(error)


def approval_text(plan: RestorePlan, run: RunInfo, expires_after: timedelta) -> str:
    """The plan as Markdown."""
    from db_backup.jobs.restore import plan_lines

    asked_by = f"**{_escaped(run.actor)}** asks for this restore." if run.actor else "A restore is asked for."
    lines = "\n".join(f"- {_escaped(line)}" for line in plan_lines(plan, triggers_dags=True))
    return (
        f"{asked_by} Nothing is changed until it is approved; it expires after {expires_after / _HOUR:g} hours.\n\n"
        f"{lines}\n\n"
        "The plan is checked again after approval: if anything of it has changed by then, nothing is restored.\n"
    )


def _escaped(text: str) -> str:
    """Names come from databases: what they look like must not depend on what Markdown makes of them."""
    return _MARKUP.sub(r"\\\1", text)
