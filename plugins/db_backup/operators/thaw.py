"""``ThawOperator``: have backups thawed that a restore needs, and wait for it without a worker's slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException

from db_backup.errors import UsageError
from db_backup.model import utc_now
from db_backup.operators.base import Job, WorkspaceOperator, leave_outcome, names
from db_backup.operators.thaw_trigger import ThawTrigger
from db_backup.units import human_duration

if TYPE_CHECKING:
    from airflow.sdk import Context


class ThawOperator(WorkspaceOperator):
    """Ask for backups that lie in a cold class, and defer until they can be read. All arguments are templated.

    A backup that can be read from any storage is not asked for, unless the plan names the storage to read. Returns
    ``thawed``: the ids of those that were cold, and ``waited_seconds``.

    :param backups: ids of backups, or names with commas between them.
    :param plan: of a restore (``RestorePlan`` as JSON), whose backups these are; in place of ``backups``.
    :param poll_seconds: how often the triggerer looks; not given: every five minutes.
    """

    template_fields: Sequence[str] = ("backups", "plan")

    def __init__(
        self,
        *,
        backups: str | Sequence[str] | None = None,
        plan: Mapping[str, Any] | None = None,
        poll_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backups = backups
        self.plan = plan
        self.poll_seconds = poll_seconds

    def execute(self, context: Context) -> dict[str, Any]:
        cold = super().execute(context)
        if cold:
            from db_backup.jobs.thaw import POLL_SECONDS

            # What the way back needs travels with the event: dag.test() loses what is given along beside it.
            trigger = ThawTrigger(cold, self.poll_seconds or POLL_SECONDS, utc_now().isoformat())
            self.defer(trigger=trigger, method_name="thawed")
        self.log.info("All of these backups can be read.")
        return {"thawed": [], "waited_seconds": 0.0}

    def work(self, job: Job) -> dict[str, Any]:
        """The storages whose copies are cold now, by the backups' ids."""
        from db_backup.jobs.copies import locate
        from db_backup.jobs.thaw import request_thaw, warmest

        only = self.plan.get("from_storage") if self.plan else None
        needed = [locate(job.workspace, backup, storage=only) for backup in self._wanted()]
        if only is None:
            needed = [warmest(job.workspace, backup) for backup in needed]
        cold = request_thaw(job.workspace, needed, run=job.run)
        for copy in cold:
            self.log.info("%s. It was asked for; the triggerer waits for it.", copy)
        return {copy.backup_id: copy.storage for copy in cold}

    def thawed(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """What the trigger's event comes to.

        :raises AirflowException: the storages do not say.
        """
        if event["state"] != "thawed":
            leave_outcome(context, "failed", event["reason"], event["hint"])
            raise AirflowException(f"{event['reason']} {event['hint']}".rstrip())
        waited = (utc_now() - datetime.fromisoformat(event["since"])).total_seconds()
        self.log.info("%s can be read after %s.", ", ".join(event["copies"]), human_duration(waited))
        return {"thawed": sorted(event["copies"]), "waited_seconds": round(waited, 3)}

    def _wanted(self) -> tuple[str, ...]:
        """:raises UsageError: nobody says which backups."""
        if self.plan:
            recovery = self.plan.get("recovery")
            return tuple(recovery["links"]) if recovery else (str(self.plan["backup_id"]),)
        wanted = names(self.backups)
        if not wanted:
            raise UsageError("ThawOperator was not told which backups.", hint="Give it backups, or a restore's plan.")
        return wanted
