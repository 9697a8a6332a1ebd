"""One run of a real DAG, parsed from its file, and what Airflow's database says about it afterwards.

Airflow is imported inside functions: its home is set by ``tests/airflow/conftest.py``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from airflow.sdk import DAG


@dataclass(frozen=True)
class TaskEnd:
    """One task instance at its end. ``name``: its map name."""

    state: str
    name: str | None
    tries: int


@dataclass(frozen=True)
class Run:
    state: str
    tasks: dict[tuple[str, int], TaskEnd]
    xcoms: dict[tuple[str, int, str], Any]
    assets: dict[str, dict[str, Any]]

    def task(self, task_id: str, index: int = -1) -> TaskEnd:
        return self.tasks[task_id, index]


def dag_named(dag_id: str) -> DAG:
    """The DAG as its file gives it under the present environment.

    :raises AssertionError: a file does not import.
    """
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags[dag_id]


def run_dag(
    dag_id: str, *, conf: dict[str, Any] | None = None, scheduled: bool = False, due: datetime | None = None
) -> Run:
    """Run it to its end, tasks one after the other in this process.

    :param scheduled: as the schedule starts it; otherwise as a person does.
    :param due: when the schedule wanted it to start; None: just now.
    """
    from airflow.models.dagrun import get_or_create_dagrun
    from airflow.utils.types import DagRunType

    def create(**arguments: Any) -> Any:
        dag_run = get_or_create_dagrun(**arguments)
        dag_run.run_type = DagRunType.SCHEDULED
        dag_run.run_after = due or dag_run.run_after
        arguments["session"].commit()
        return dag_run

    dag = dag_named(dag_id)
    if not scheduled:
        return read_run(dag.test(run_conf=conf))
    with patch("airflow.models.dagrun.get_or_create_dagrun", create):
        return read_run(dag.test(run_conf=conf))


def read_run(dag_run: Any) -> Run:
    """What Airflow's database knows of a run that has ended."""
    from airflow.models.asset import AssetEvent
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    of_run = {"dag_id": dag_run.dag_id, "run_id": dag_run.run_id}
    with create_session() as session:
        instances = session.scalars(select(TaskInstance).filter_by(**of_run)).all()
        xcoms = session.scalars(select(XComModel).filter_by(**of_run)).all()
        events = session.scalars(
            select(AssetEvent).filter_by(source_dag_id=dag_run.dag_id, source_run_id=dag_run.run_id)
        ).all()
        return Run(
            state=str(dag_run.state),
            tasks={
                (one.task_id, one.map_index): TaskEnd(str(one.state), one.rendered_map_index, one.try_number)
                for one in instances
            },
            xcoms={(one.task_id, one.map_index, one.key): _plain(one.value) for one in xcoms},
            assets={event.asset.uri: dict(event.extra) for event in events},
        )


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in '{["' else value


def logs_of_home() -> str:
    """Every log file that Airflow has written in its home."""
    logs = Path(os.environ["AIRFLOW_HOME"]) / "logs"
    return "\n".join(path.read_text(errors="replace") for path in logs.rglob("*.log"))
