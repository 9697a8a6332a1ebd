"""What every operator of the suite shares: the workspace, who runs, progress, stopping, and what an error means."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from db_backup.errors import (
    AccessDenied,
    ActUnaudited,
    ArtefactError,
    BackupError,
    EntryLocked,
    HealthTooLow,
    LimitExceeded,
    ManifestError,
    PrivilegeMissing,
    Refused,
    RestoreMismatch,
    SourceUnsupported,
    StorageAccessDenied,
    StorageFull,
    StorageNotMounted,
    ToolMissing,
    ToolVersionMismatch,
    UsageError,
)
from db_backup.operators.progress import TaskProgress
from db_backup.progress import Cancellation, Progress

if TYPE_CHECKING:
    from airflow.sdk import Context

    from db_backup.jobs.workspace import Workspace
    from db_backup.manifest import RunInfo

OUTCOME_KEY = "outcome"
"""The XCom under which a task that did not return leaves ``{"state": "failed"|"skipped", "reason": …, "hint": …}``."""

_NOT_WORTH_A_RETRY = (
    UsageError,
    AccessDenied,
    PrivilegeMissing,
    SourceUnsupported,
    ToolMissing,
    ToolVersionMismatch,
    LimitExceeded,
    StorageAccessDenied,
    StorageFull,
    StorageNotMounted,
    ArtefactError,
    ManifestError,
    ActUnaudited,
    RestoreMismatch,
    HealthTooLow,
    Refused,
)

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Job:
    """What a task's work needs: the opened workspace, and who runs, watches and stops it."""

    workspace: Workspace
    context: Context
    run: RunInfo
    progress: Progress
    cancellation: Cancellation

    @property
    def scheduled(self) -> bool:
        """Whether the schedule started this run; toggles never stop a run that a person started (SPEC §2)."""
        return self.context["dag_run"].run_type == "scheduled"


class WorkspaceOperator(BaseOperator):
    """A task that works in the suite's workspace.

    A failure that time may heal (a server that does not answer, a broken dump) may be retried; one that a person must
    heal (a wrong password, a wrong setting, a full disk) fails at once. An entry at which another backup is at work is
    skipped. What came of a task that did not return is in its XCom ``outcome``.
    """

    ui_color = "#d9e8f5"
    _cancellation: Cancellation | None = None

    @abstractmethod
    def work(self, job: Job) -> dict[str, Any]:
        """The task itself; what it returns goes to XCom and must be JSON-able.

        :raises BackupError, AirflowSkipException:
        """

    def execute(self, context: Context) -> dict[str, Any]:
        from db_backup.jobs.workspace import Workspace

        self._cancellation = cancellation = Cancellation()
        try:
            with Workspace.open() as workspace:
                progress = TaskProgress(self.log, context.get("task_state_store"))
                try:
                    return self.work(Job(workspace, context, run_info(context), progress, cancellation))
                finally:
                    for warning in workspace.warnings:
                        self.log.warning("%s", warning)
        except AirflowSkipException as skipped:
            leave_outcome(context, "skipped", str(skipped))
            raise
        except EntryLocked as locked:
            leave_outcome(context, "skipped", locked.message, locked.hint)
            raise AirflowSkipException(str(locked)) from locked
        except BackupError as error:
            leave_outcome(context, "failed", error.message, error.hint)
            raise task_failure(error) from error
        finally:
            # AirflowTaskTimeout is a BaseException, raised in the middle of anything: whatever still works is stopped.
            cancellation.cancel("the task has ended")

    def on_kill(self) -> None:
        """Called from Airflow's SIGTERM handler, where nothing is raised: ask the work to stop, and let it clean up."""
        if self._cancellation is not None:
            self._cancellation.cancel("Airflow stopped the task")


def task_failure(error: BackupError) -> AirflowException:
    """What a task raises for it: one that only a person can heal is not tried again."""
    return (AirflowFailException if isinstance(error, _NOT_WORTH_A_RETRY) else AirflowException)(str(error))


@contextmanager
def opened_workspace() -> Iterator[Workspace]:
    """The workspace for a task function; errors of the suite become those of Airflow.

    :raises AirflowException: as :func:`task_failure` says.
    """
    from db_backup.jobs.workspace import Workspace

    try:
        with Workspace.open() as workspace:
            yield workspace
    except BackupError as error:
        raise task_failure(error) from error


def run_info(context: Context) -> RunInfo:
    """Who runs, for the manifest and the audit; the actor is the person who triggered the run, where there is one."""
    from db_backup.manifest import RunInfo

    instance, dag_run = context["ti"], context["dag_run"]
    map_index = instance.map_index
    return RunInfo(
        origin="airflow",
        actor=dag_run.triggering_user_name or "",
        host=socket.gethostname(),
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        map_index=map_index if map_index is not None and map_index >= 0 else None,
        try_number=instance.try_number,
    )


def leave_outcome(context: Context, state: str, reason: str, hint: str = "") -> None:
    """Say under ``OUTCOME_KEY`` why this task returns nothing, for the tasks after it."""
    context["ti"].xcom_push(OUTCOME_KEY, {"state": state, "reason": reason, "hint": hint})


def given(value: object) -> bool:
    """Whether a templated argument was given: Jinja renders an absent value as an empty text or as ``None``."""
    return value is not None and str(value) not in {"", "None"}


def choice(kind: type[E], value: object, argument: str) -> E | None:
    """A templated argument as one of a closed set; None where it was not given.

    :raises UsageError: it is not one of the set.
    """
    if not given(value):
        return None
    try:
        return kind(str(value))
    except ValueError as error:
        raise UsageError(
            f"The argument {argument} is '{value}', which is not known.", hint=f"Use one of: {', '.join(kind)}."
        ) from error


def whole_number(value: object, argument: str, *, least: int = 1, most: int | None = None) -> int | None:
    """A templated argument as a number; None where it was not given.

    :raises UsageError: it is not a whole number, or beyond the bounds.
    """
    if not given(value):
        return None
    span = f"of {least} or more" if most is None else f"from {least} to {most}"
    with suppress(ValueError):
        number = int(str(value))
        if least <= number and (most is None or number <= most):
            return number
    raise UsageError(f"The argument {argument} is '{value}'.", hint=f"Give a whole number {span}.")


def yes_or_no(value: object, argument: str, *, default: bool) -> bool:
    """A templated argument as a truth value.

    :raises UsageError: it is neither true nor false.
    """
    if not given(value):
        return default
    text = str(value).lower()
    if text not in {"true", "false"}:
        raise UsageError(f"The argument {argument} is '{value}'.", hint="Give true or false.")
    return text == "true"


def names(value: object) -> tuple[str, ...] | None:
    """A templated argument as names, from a list or from a text with commas; None where it was not given."""
    if not given(value):
        return None
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else str(value).split(",")
    return tuple(str(name).strip() for name in listed)


def text(value: object) -> str | None:
    """A templated argument as a text; None where it was not given."""
    return str(value) if given(value) else None
