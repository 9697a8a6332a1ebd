"""``OutcomeOperator``: what came of every entry of a run, and of what followed; the run is red when one failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TriggerRule
from airflow.sdk.exceptions import AirflowFailException

from db_backup.operators.base import OUTCOME_KEY
from db_backup.units import human_bytes

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True)
class TaskEnd:
    """How one task ended: what it returned or, if nothing, why. ``state`` is Airflow's, empty when it never was."""

    state: str
    returned: Mapping[str, Any] | None = None
    left: Mapping[str, str] | None = None

    @property
    def failed(self) -> bool:
        """Whether it is this task's own failure: neither a result nor a skip, nor stopped by a task before it."""
        return self.returned is None and self.state not in {"skipped", "upstream_failed"}

    @property
    def reason(self) -> str:
        if self.left:
            return f"{self.left['reason']} {self.left['hint']}".rstrip()
        if self.state == "skipped":
            return "it was skipped."
        return f"it ended as '{self.state or 'never started'}' without a word: see its log; it may have been killed."


@dataclass(frozen=True)
class EntryEnd:
    """What came of one entry."""

    database: str
    backup: TaskEnd
    proof: TaskEnd

    @property
    def failure(self) -> str:
        """Why this entry failed, as a sentence; empty when it did not."""
        if self.backup.failed or self.backup.state == "upstream_failed":
            return f"backup: {self.backup.reason}"
        if self.backup.returned is not None and self.proof.failed:
            return f"verification: {self.proof.reason}"
        return ""

    @property
    def remarks(self) -> list[str]:
        """What was made instead of what was asked for, and why; and where a copy is missing."""
        made = self.backup.returned
        if made is None:
            return []
        instead = [f"{self.database}: {made['warnings'][0]}"] if "instead_of" in made else []
        missing = ", ".join(f"'{storage}'" for storage in made.get("missing_copies", ()))
        return [*instead, f"{self.database}: it was made without a copy in {missing}."] if missing else instead

    @property
    def row(self) -> tuple[str, str, str, str]:
        """Entry, backup, stored size, and the proof or why there is none."""
        if self.backup.returned is None:
            return self.database, "FAILED" if self.failure else "skipped", "", self.backup.reason
        size = human_bytes(self.backup.returned["size_bytes"])
        return self.database, str(self.backup.returned["id"]), size, self._proof

    @property
    def _proof(self) -> str:
        proof = self.proof.returned
        if proof is None:
            return f"{'FAILED' if self.failure else 'not proven'}: {self.proof.reason}"
        if proof["result"] == "passed":
            return f"passed at level {proof['level']}" + ("" if proof["verified"] else ", and its type requires more")
        return f"not proven (inconclusive, reached {proof['reached'] or 'nothing'}): {proof['reason']}"


def table(entries: Sequence[EntryEnd]) -> list[str]:
    """The rows as aligned lines, with a head."""
    rows = [("ENTRY", "BACKUP", "STORED", "PROOF"), *(entry.row for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]


class OutcomeOperator(BaseOperator):
    """The last task of a run of backups: prints every entry's backup and proof, and fails when a task failed.

    It runs whatever came before it; without it, a run whose last tasks went well would be green (FACTS §1).

    :param databases: the entries, in the order of the mapped tasks; none is no failure, not to know them is.
    :param backup_task_id: the mapped task that backs up.
    :param verify_task_id: the mapped task that verifies.
    :param follow_up_task_ids: tasks after them, such as cleanup.
    """

    template_fields: Sequence[str] = ("databases", "backup_task_id", "verify_task_id", "follow_up_task_ids")

    def __init__(
        self,
        *,
        databases: Any,
        backup_task_id: str,
        verify_task_id: str,
        follow_up_task_ids: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("trigger_rule", TriggerRule.ALL_DONE)
        super().__init__(**kwargs)
        self.databases = databases
        self.backup_task_id = backup_task_id
        self.verify_task_id = verify_task_id
        self.follow_up_task_ids = follow_up_task_ids

    def execute(self, context: Context) -> list[dict[str, str]]:
        if self.databases is None:
            raise AirflowFailException(
                "Nothing was backed up: the entries could not be selected. The first task's log says why."
            )
        ends = TaskEnds(context["ti"], [self.backup_task_id, self.verify_task_id, *self.follow_up_task_ids])
        entries = [
            EntryEnd(str(database), ends.of(self.backup_task_id, index), ends.of(self.verify_task_id, index))
            for index, database in enumerate(self.databases)
        ]
        for line in table(entries) if entries else ["No entry asks for these backups: none was made."]:
            self.log.info("%s", line)
        for entry in entries:
            for remark in entry.remarks:
                self.log.warning("%s", remark)
        follow_ups = {task_id: ends.of(task_id) for task_id in self.follow_up_task_ids}
        told = _failures(entries, follow_ups)
        if told:
            raise AirflowFailException(told)
        return [dict(zip(("database", "backup", "stored", "proof"), entry.row, strict=True)) for entry in entries]


def _failures(entries: Sequence[EntryEnd], follow_ups: Mapping[str, TaskEnd]) -> str:
    """What failed, in sentences; empty when nothing did."""
    failed = [entry for entry in entries if entry.failure]
    told = [f"{entry.database}: {entry.failure}" for entry in failed]
    if failed:
        told.insert(0, f"{len(failed)} of {len(entries)} entries failed.")
    told += [f"{task_id} failed: {end.reason}" for task_id, end in follow_ups.items() if end.failed]
    return " ".join(told)


class TaskEnds:
    """How the tasks of this run ended."""

    def __init__(self, instance: Any, task_ids: Sequence[str]) -> None:
        self._instance = instance
        self._states = instance.get_task_states(
            dag_id=instance.dag_id, task_ids=list(task_ids), run_ids=[instance.run_id]
        ).get(instance.run_id, {})

    def of(self, task_id: str, index: int | None = None) -> TaskEnd:
        """:param index: of a mapped task."""
        state = str(self._states.get(task_id if index is None else f"{task_id}_{index}") or "")
        place = {"task_ids": task_id} if index is None else {"task_ids": task_id, "map_indexes": index}
        if state == "success":
            return TaskEnd(state, returned=self._instance.xcom_pull(**place))
        if state in {"failed", "skipped"}:
            return TaskEnd(state, left=self._instance.xcom_pull(**place, key=OUTCOME_KEY))
        return TaskEnd(state)
