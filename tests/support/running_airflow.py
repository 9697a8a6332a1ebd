"""A whole Airflow that runs: API server, scheduler and DAG processor as processes of their own, on one SQLite file.

Not ``airflow standalone``: that starts a triggerer that nothing here needs, and listens on every address.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from support.ports import free_port

_PATIENCE_SECONDS = 120.0
_SERVICES = {"api-server": ("--workers", "1"), "scheduler": (), "dag-processor": ()}
_PASSWORD = "for-this-test-only"
_ROLES = {"anna": "admin", "bob": "admin", "victor": "viewer"}


class RunningAirflow:
    """Asked over its public REST API, as anybody would; here by one of ``_ROLES``."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._home = home
        self._client = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def answers(self) -> bool:
        try:
            health = self._client.get("/api/v2/monitor/health")
        except httpx.TransportError:
            return False
        return health.is_success

    def log_in(self, user: str = "anna") -> None:
        response = self._client.post("/auth/token", json={"username": user, "password": _PASSWORD})
        assert response.is_success, response.text
        self._client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def seen_by(self, user: str) -> RunningAirflow:
        """The same, asked by somebody else."""
        other = RunningAirflow(self._url, self._home)
        other.log_in(user)
        return other

    def knows(self, dag_id: str) -> bool:
        return self._client.get(f"/api/v2/dags/{dag_id}").is_success

    def get(self, path: str) -> dict[str, Any]:
        response = self._client.get(f"/api/v2/{path}")
        assert response.is_success, response.text
        return dict(response.json())

    def unpause(self, dag_id: str) -> None:
        assert self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False}).is_success

    def trigger(self, dag_id: str, conf: Mapping[str, object]) -> httpx.Response:
        return self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": dict(conf)})

    def state_of(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        state = self.get(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")["state"]
        return None if state is None else str(state)

    def asks(self, dag_id: str, run_id: str, task_id: str) -> bool:
        """Whether the task waits for a person, and the scheduler has heard that its process ended.

        An answer before that, which no person is quick enough for, fails the task in Airflow 3.3: the scheduler takes
        the end of the process that asked for the end of the one that is to go on.
        """
        heard = ("Received executor event", task_id, run_id)
        return self.state_of(dag_id, run_id, task_id) == "awaiting_input" and any(
            all(word in line for word in heard) for line in (self._home / "scheduler.log").read_text().splitlines()
        )

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> httpx.Response:
        """Choose an option of a task that waits for a person."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
        return self._client.patch(path, json={"chosen_options": [option], "params_input": {}})

    def forge_answer(self, dag_id: str, run_id: str, task_id: str, answer: Mapping[str, object]) -> None:
        """Write the task's result over REST, and call the task a success."""
        task = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
        written = self._client.post(f"{task}/xcomEntries", json={"key": "return_value", "value": dict(answer)})
        assert written.is_success, written.text
        changed = self._client.patch(task, json={"new_state": "success"})
        assert changed.is_success, changed.text

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Run the task again in this run, and what comes after it."""
        asked = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": False}
        cleared = self._client.post(
            f"/api/v2/dags/{dag_id}/clearTaskInstances",
            json={**asked, "include_downstream": True, "reset_dag_runs": True},
        )
        assert cleared.is_success, cleared.text

    def let_time_pass(self, run_id: str, task_id: str) -> None:
        """As if the task had waited for a person as long as it may."""
        with closing(sqlite3.connect(self._home / "airflow.db", timeout=60)) as database, database:
            changed = database.execute(
                "update task_instance set trigger_timeout = '2020-01-01 00:00:00.000000' where run_id = ? "
                "and task_id = ? and state = 'awaiting_input'",
                (run_id, task_id),
            ).rowcount
        assert changed == 1

    def end_of(self, dag_id: str, run_id: str) -> str:
        """The run's state, once it has ended."""
        path = f"dags/{dag_id}/dagRuns/{run_id}"
        wait_until(lambda: self.get(path)["state"] in {"success", "failed"}, f"{run_id} did not end")
        return str(self.get(path)["state"])


@contextmanager
def running_airflow(home: Path, database: Path, environment: Mapping[str, str]) -> Iterator[RunningAirflow]:
    """Airflow in this empty folder, logged in to, until the block ends.

    :param database: a migrated metadata database, of which it takes a copy.
    :param environment: with the settings of the suite; Airflow's own are added.
    """
    port = free_port()
    home.mkdir()
    shutil.copy(database, home / "airflow.db")
    (home / "passwords.json").write_text(json.dumps(dict.fromkeys(_ROLES, _PASSWORD)))
    url = f"http://127.0.0.1:{port}"
    own = {
        "AIRFLOW_HOME": str(home),
        # Three write to it; who waits longer than five seconds for the others fails, unless it is told otherwise.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=60",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in _ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }
    with ExitStack() as stopping:
        for service, options in _SERVICES.items():
            stopping.enter_context(_service(service, options, home, {**environment, **own}))
        airflow = RunningAirflow(url, home)
        wait_until(airflow.answers, "the API server did not answer")
        airflow.log_in()
        yield airflow


@contextmanager
def _service(name: str, options: tuple[str, ...], home: Path, environment: Mapping[str, str]) -> Iterator[None]:
    command = [str(Path(sys.executable).with_name("airflow")), name, *options]
    with (home / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers are of its own process group
        process.wait()


def wait_until(done: Callable[[], bool], or_else: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"{or_else} within {_PATIENCE_SECONDS:.0f} seconds"
        time.sleep(0.3)
