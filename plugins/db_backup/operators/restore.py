"""``RestoreOperator``: restore one backup; and the task before it, which plans what it will do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from db_backup.errors import BackupError, EntryLocked, RestoreMismatch, UsageError
from db_backup.model import MOST_JOBS
from db_backup.operators.answer import Answer, may_go_unasked, refuse_without_yes
from db_backup.operators.base import (
    Job,
    WorkspaceOperator,
    given,
    leave_outcome,
    names,
    text,
    whole_number,
    yes_or_no,
)
from db_backup.operators.forms import refuse_unknown_keys
from db_backup.operators.trail import Beginning, answer_written_down, mark_of_plan, mark_of_task
from db_backup.settings import load_settings

if TYPE_CHECKING:
    from db_backup.jobs.restore import PlannedRestore, RestorePlan, RestoreReport, RestoreRequest
    from db_backup.recovery import Point

REPORT_KEY = "report"
RESERVATION_KEY = "reservation"

_LONGEST_PURPOSE = 255  # characters that the catalogue keeps

_REQUEST_FIELDS = (
    "backup",
    "database",
    "to",
    "new_name",
    "source_database",
    "to_time",
    "tables",
    "with_owners",
    "force",
    "safety_backup",
    "scratch",
    "jobs",
    "from_storage",
)


class _RestoreTask(WorkspaceOperator):
    """What is asked for, of a restore or of its plan."""

    template_fields: Sequence[str] = _REQUEST_FIELDS

    def __init__(
        self,
        *,
        backup: str | None = None,
        database: str | None = None,
        to: str | None = None,
        new_name: str | None = None,
        source_database: str | None = None,
        to_time: str | None = None,
        tables: str | Sequence[str] | None = None,
        with_owners: bool | str = False,
        force: bool | str = False,
        safety_backup: bool | str = True,
        scratch: bool | str = False,
        jobs: int | str | None = None,
        from_storage: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.backup = backup
        self.database = database
        self.to = to
        self.new_name = new_name
        self.source_database = source_database
        self.to_time = to_time
        self.tables = tables
        self.with_owners = with_owners
        self.force = force
        self.safety_backup = safety_backup
        self.scratch = scratch
        self.jobs = jobs
        self.from_storage = from_storage

    def request(self) -> RestoreRequest:
        """:raises UsageError: an argument makes no sense."""
        from db_backup.jobs.restore import RestoreRequest

        return RestoreRequest(
            backup=text(self.backup),
            database=text(self.database),
            to=text(self.to),
            new_name=text(self.new_name),
            source_database=text(self.source_database),
            point=_point(text(self.to_time)),
            tables=_tables(self.tables),
            with_owners=yes_or_no(self.with_owners, "with_owners", default=False),
            force=yes_or_no(self.force, "force", default=False),
            safety_backup=yes_or_no(self.safety_backup, "safety_backup", default=True),
            scratch=yes_or_no(self.scratch, "scratch", default=False),
            jobs=whole_number(self.jobs, "jobs", most=MOST_JOBS) or 1,
            from_storage=text(self.from_storage),
        )


class RestoreOperator(_RestoreTask):
    """Restore one backup. All arguments are templated.

    Into a new database or a scratch server it simply goes. A database that holds something is replaced only with
    ``force``, one that is ``protected`` only with an approval, and with ``BACKUP_RESTORE_FOUR_EYES=true`` nothing that
    exists is changed without one: the DAG ``backup_restore`` asks for it. A restore that comes out different from the
    manifest, or whose application checks fail, fails the task; its report is in the XCom ``report`` all the same. One
    that has begun to change what exists is not tried again by itself.
    Returns the report as SPEC's ``restore`` names it: ``backup_id``, ``target``, ``restored_to``, ``rows``,
    ``differences``, ``duration_seconds`` and more, and ``approved_by``.

    :param backup: the backup's id; not given: the newest good full backup of ``database``.
    :param database: an entry of backup.yaml.
    :param to: a connection's id or a ``restore_targets`` entry; not given: the server that the backup is of.
    :param new_name: the database there (SQLite: absolute path); not given: the connection's own. It, ``to`` and
        ``to_time`` are refused where they were given and render to nothing, unless there is a ``plan``.
    :param source_database: one database of a backup that holds several.
    :param to_time: the moment to go back to; without a zone it is one of BACKUP_TIMEZONE. Not given: what the backup
        holds.
    :param tables: of a full backup only these: a list, or names with commas between them.
    :param with_owners: bring owners and grants back too.
    :param force: replace what the target holds.
    :param safety_backup: ``false``: replace without backing up before.
    :param scratch: into a scratch server that is thrown away, and nowhere else.
    :param jobs: how many streams load at the same time, where the backup's format lets them.
    :param from_storage: the copies in this storage and no other; not given: the best, or the next that can be read.
    :param plan: what was planned and approved (``RestorePlan`` as JSON): this very backup is restored, and only as long
        as nothing that matters has changed since.
    :param approval: what was answered, as ``RestoreApprovalOperator`` leaves it; where it is given, a yes is needed. It
        is believed only as far as the audit trail has that answer, to this plan in this DAG run; it holds for 24 hours,
        and for one restore.
    """

    template_fields: Sequence[str] = (*_REQUEST_FIELDS, "plan", "approval")

    def __init__(
        self, *, plan: Mapping[str, Any] | None = None, approval: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.approval = approval
        self._asks = approval is not None
        self._says_what = [name for name in ("to", "new_name", "to_time") if getattr(self, name) is not None]

    def request(self) -> RestoreRequest:
        if self._asks and not self.plan:
            raise UsageError(
                "RestoreOperator was given an approval, and not the plan that was approved.", hint="Pass plan too."
            )
        asked = super().request()
        if self.plan:  # of which the target is a part
            return replace(asked, backup=str(self.plan["backup_id"]))
        self._refuse_lost_arguments()
        return asked

    def _refuse_lost_arguments(self) -> None:
        """Without them it would go where the backup is of, or bring another moment, and with ``force`` replace that.

        :raises UsageError: an argument that says where to or what was given, and its template renders to nothing.
        """
        for argument in self._says_what:
            if not given(getattr(self, argument)):
                raise UsageError(
                    f"The argument {argument} of RestoreOperator was given and is empty now.",
                    hint="See what its template renders to, or leave it out to restore all of the backup to where it "
                    "is of.",
                )

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.restore import planned_restore

        begun: Beginning | None = None
        try:
            with planned_restore(job.workspace, self.request(), run=job.run, cancellation=job.cancellation) as restore:
                answer = self._refuse_unless_agreed(job, restore)
                begun = self._begin(job, restore.plan, answer)
                report = restore.carry_out(job.progress, job.cancellation)
                summary = {**report.model_dump(mode="json"), "approved_by": answer.by if answer else ""}
                # Before the act is closed: that its line cannot be written must not hide what was done.
                job.context["ti"].xcom_push(REPORT_KEY, summary)
            self._tell(report)
        except EntryLocked as locked:
            if begun:
                begun.end(untouched=True)
            # Unlike a backup that somebody else makes meanwhile, this restore is still wanted: no skip, but a retry.
            raise BackupError(locked.message, hint=locked.hint, database=locked.database) from locked
        except BackupError as error:
            if begun is None:
                raise
            begun.end(failed=True)
            if may_go_unasked(begun.plan):
                raise
            # What it has changed, a second try would take for what is to be replaced.
            leave_outcome(job.context, "failed", error.message, error.hint)
            raise AirflowFailException(str(error)) from error
        begun.end()
        return summary

    def _refuse_unless_agreed(self, job: Job, restore: PlannedRestore) -> Answer | None:
        """Who approved; None where nobody had to.

        :raises Refused: it is not what was planned any more, or it needs a yes and has none.
        """
        from db_backup.jobs.restore import RestorePlan

        answer = Answer.from_document(self.approval)
        if self.plan:
            approved = RestorePlan.model_validate(self.plan)
            restore.refuse_if_changed(approved)
            if answer and answer.approved:
                answer = answer_written_down(job.workspace.catalog, job.run, approved)
        refuse_without_yes(
            restore.plan,
            answer,
            asked=self._asks,
            four_eyes=job.workspace.settings.backup_restore_four_eyes,
            requester=job.run.actor,
        )
        return answer

    def _begin(self, job: Job, plan: RestorePlan, answer: Answer | None) -> Beginning:
        """Write down that the restore begins, which uses up the yes that it has.

        :raises Refused: the yes is used up; or an earlier try was killed, and may have changed the target.
        """
        from db_backup.jobs.restore import RestorePlan

        mark = mark_of_task(job.run)
        if answer and self.plan:
            mark = mark_of_plan(job.run, RestorePlan.model_validate(self.plan))
        beginning = Beginning(job.workspace.catalog, job.run, plan, mark)
        if not may_go_unasked(plan):
            beginning.refuse_a_second(answer)
        beginning.start()
        return beginning

    def _tell(self, report: RestoreReport) -> None:
        """:raises RestoreMismatch: it is not what the manifest says."""
        for warning in report.warnings:
            self.log.warning("%s", warning)
        if report.differences:
            shown = "; ".join(str(difference) for difference in report.differences[:3])
            where = report.restored_to if report.in_place else f"{report.restored_to}, and was not put in place"
            raise RestoreMismatch(
                f"{report.backup_id} was restored to {where}, with {len(report.differences)} differences: {shown}",
                hint="The XCom 'report' has all of them. Choose another backup, or look at what was restored.",
                backup_id=report.backup_id,
            )
        self.log.info(
            "Restored %s to %s: %d rows in %d tables, %.1f s (%.1f s of it waiting for the storage, %.1f s loading, "
            "%.1f s comparing)",
            report.backup_id,
            report.restored_to,
            report.rows,
            report.tables,
            report.duration_seconds,
            report.fetch_seconds,
            report.load_seconds,
            report.check_seconds,
        )


class PlanRestoreOperator(_RestoreTask):
    """What the run of ``backup_restore`` will do, found out without changing anything; returned as JSON.

    All backups that it takes are reserved from here on: nobody deletes them while a person makes up their mind. The
    XCom ``reservation`` is what releases them, one word for each.

    :param reserved_for: how long, at most.
    """

    def __init__(self, *, reserved_for: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reserved_for = reserved_for

    def work(self, job: Job) -> dict[str, Any]:
        from db_backup.jobs.copies import reserve
        from db_backup.jobs.restore import plan_lines, plan_restore

        instance, dag_run = job.context["ti"], job.context["dag_run"]
        refuse_unknown_keys(instance.dag_id, dag_run.conf, job.context["dag"].params)
        plan = plan_restore(job.workspace, self.request())
        for line in plan_lines(plan, triggers_dags=True):
            self.log.info("%s", line)
        purpose = f"restore that {instance.run_id} has planned"[:_LONGEST_PURPOSE]
        needed = plan.recovery.links if plan.recovery else (plan.backup_id,)
        reservations = [reserve(job.workspace, backup, purpose, lasting=self.reserved_for) for backup in needed]
        instance.xcom_push(RESERVATION_KEY, " ".join(reservations))
        return plan.model_dump(mode="json")


def _point(moment: str | None) -> Point | None:
    """:raises UsageError: it is no moment."""
    if moment is None:
        return None
    from db_backup.recovery import Point, parse_moment

    return Point(time=parse_moment(moment, load_settings().backup_timezone))


def _tables(value: object) -> tuple[str, ...]:
    """A list, that list as a template renders it (``{{ … | tojson }}``), or names with commas between them.

    :raises UsageError: it is a list that cannot be read.
    """
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise UsageError(f"The argument tables is '{value}'.", hint="Give a list of names.") from error
    return names(value) or ()
