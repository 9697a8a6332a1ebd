"""What the audit trail knows of a run: who approved its restore, and which restores its tasks have begun.

XComs can be written over Airflow's REST API by whoever may run DAGs; the catalogue cannot.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db_backup.errors import CatalogError, Refused
from db_backup.model import utc_now
from db_backup.operators.answer import Answer

if TYPE_CHECKING:
    from db_backup.catalog import AuditOutcome, Catalog
    from db_backup.jobs.restore import RestorePlan
    from db_backup.manifest import RunInfo

log = logging.getLogger(__name__)

_APPROVED = "approved"
_REJECTED = "rejected"


def mark_of_plan(run: RunInfo, plan: RestorePlan) -> str:
    """What stands at the end of every act about this plan in this DAG run, and of no other."""
    return _mark("plan", run.dag_id, run.run_id, plan.model_dump(mode="json"))


def mark_of_task(run: RunInfo) -> str:
    """The same for a task of this DAG run that nobody is asked about."""
    return _mark("task", run.dag_id, run.run_id, run.task_id, run.map_index)


def _mark(*parts: object) -> str:
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"mark {digest[:32]}"


def words_of_answer(answer: Answer, plan: RestorePlan, run: RunInfo) -> str:
    """The detail of an ``approval`` act, for :func:`answer_written_down`."""
    verb = _APPROVED if answer.approved else _REJECTED
    asked_by = f", which {run.actor} asked for" if run.actor else ""
    return f"{verb} the restore to {plan.target_address} ({plan.way}){asked_by}; {mark_of_plan(run, plan)}"


def answer_written_down(catalog: Catalog, run: RunInfo, plan: RestorePlan) -> Answer | None:
    """What a person answered to this plan in this run, as the approval task wrote it down; None: nobody did."""
    from db_backup.catalog import AuditAct, AuditOutcome

    for act in catalog.acts_marked(AuditAct.APPROVAL, mark_of_plan(run, plan)):
        if act.outcome is AuditOutcome.DONE:
            return Answer(act.detail.startswith(f"{_APPROVED} "), act.actor, act.at.isoformat())
    return None


@dataclass(frozen=True)
class Beginning:
    """A restore that begins, in the catalogue's audit trail under the act ``carry_out``.

    ``started`` is written before anything is changed, and what came of it afterwards. Where nothing is, the task was
    killed, and nobody knows what it had done. ``refused``: it never came to change anything.
    """

    catalog: Catalog
    run: RunInfo
    plan: RestorePlan
    mark: str

    def refuse_a_second(self, answer: Answer | None) -> None:
        """:raises Refused: the yes was used; or an earlier try was killed, and may have changed the target."""
        from db_backup.catalog import AuditAct, AuditOutcome

        last = next(iter(self.catalog.acts_marked(AuditAct.CARRY_OUT, self.mark)), None)
        if last is None or last.outcome is AuditOutcome.REFUSED:
            return
        killed = last.outcome is AuditOutcome.STARTED
        if answer is None and not killed:
            return
        when = f"{last.at:%Y-%m-%d %H:%M:%S} UTC"
        if killed:
            reason = f"this run began it at {when} and was stopped: the target may have been replaced already"
            hint = "Look at the target first. Start a new run if the restore is still wanted."
        else:
            reason = f"the approval was for one restore, which ended at {when}"
            hint = "Start a new run, which asks again."
        raise Refused(
            f"The restore of {self.plan.backup_id} to {self.plan.target_address} is refused: {reason}. "
            "This try changed nothing.",
            hint=hint,
            database=self.plan.entry,
            backup_id=self.plan.backup_id,
        )

    def start(self) -> None:
        """:raises CatalogError: it cannot be written down."""
        from db_backup.catalog import AuditOutcome

        self._write(AuditOutcome.STARTED)

    def end(self, *, failed: bool = False, untouched: bool = False) -> None:
        """Write down that it is over. That this cannot be written is no failure: then nobody tries it a second time.

        :param untouched: it did not come to change anything.
        """
        from db_backup.catalog import AuditOutcome

        outcome = AuditOutcome.REFUSED if untouched else AuditOutcome.FAILED if failed else AuditOutcome.DONE
        try:
            self._write(outcome)
        except CatalogError as error:
            log.warning("That the restore has ended could not be written down: %s", error)

    def _write(self, outcome: AuditOutcome) -> None:
        from db_backup.catalog import AuditAct, AuditOrigin, AuditRecord

        self.catalog.audit(
            AuditRecord(
                at=utc_now(),
                act=AuditAct.CARRY_OUT,
                actor=self.run.actor,
                host=self.run.host,
                origin=AuditOrigin(self.run.origin),
                entry=self.plan.entry,
                backup_id=self.plan.backup_id,
                outcome=outcome,
                detail=f"{self.plan.way} {self.plan.target_address}; {self.mark}",
            )
        )
