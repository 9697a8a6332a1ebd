"""What the demo asks of Airflow, through its public REST API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from scripts.demo.errors import DemoFailed
from scripts.demo.installation import USER, Address

_PATIENCE_SECONDS = 60.0


class AirflowApi:
    def __init__(self, address: Address, password: str) -> None:
        # trust_env: a proxy of the caller's must not stand between two programs of one machine.
        self._client = httpx.Client(base_url=address.url, timeout=_PATIENCE_SECONDS, trust_env=False)
        self._password = password

    def health(self) -> dict[str, str | None]:
        """Service → "healthy", "unhealthy" or None; empty while nobody answers."""
        try:
            response = self._client.get("/api/v2/monitor/health")
        except httpx.TransportError:
            return {}
        return {name: part.get("status") for name, part in response.json().items()} if response.is_success else {}

    def log_in(self) -> None:
        """:raises DemoFailed: the password is not the one that this Airflow knows."""
        response = self._client.post("/auth/token", json={"username": USER, "password": self._password})
        if response.is_error:
            raise DemoFailed(f"Airflow refused the login of {USER} (status {response.status_code}).", response.text)
        self._client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def create(self, kind: str, name: str, body: Mapping[str, object]) -> None:
        """Create a connection or a pool, or bring the one of this name to what is asked."""
        if self._client.get(f"/api/v2/{kind}/{name}").is_success:
            self._ask("PATCH", f"{kind}/{name}", json=body)
        else:
            self._ask("POST", kind, json=body)

    def dag_is_known(self, dag_id: str) -> bool:
        """:raises DemoFailed: Airflow cannot import a DAG file; with the traceback."""
        if self._client.get(f"/api/v2/dags/{dag_id}").is_success:
            return True
        for error in self._ask("GET", "importErrors")["import_errors"]:
            raise DemoFailed(f"Airflow cannot import {error['filename']}.", error["stack_trace"])
        return False

    def unpause(self, dag_id: str) -> None:
        self._ask("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        """Start a run now and return its id."""
        run = self._ask("POST", f"dags/{dag_id}/dagRuns", json={"logical_date": None, "note": "make demo"})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """A run's tasks in the order in which they started; those to come are last."""
        query = {"limit": 500}
        tasks = self._ask("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", params=query)["task_instances"]
        return sorted(tasks, key=lambda task: (task["start_date"] is None, task["start_date"]))

    def progress(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """What a running task has said of its progress; empty when it has said nothing."""
        response = self._client.get(
            f"/api/v2/{_path(task)}/state-store/progress", params={"map_index": task["map_index"]}
        )
        value = response.json().get("value") if response.is_success else None
        return value if isinstance(value, dict) else {}

    def log_tail(self, task: Mapping[str, Any], lines: int = 10) -> str:
        """The last lines of a task's log, and the error that ended it."""
        number = max(task["try_number"], 1)
        query = {"map_index": task["map_index"], "full_content": True}
        headers = {"Accept": "application/json"}
        response = self._client.get(f"/api/v2/{_path(task)}/logs/{number}", params=query, headers=headers)
        content = response.json().get("content", []) if response.is_success else []
        told = [line for event in content if isinstance(event, dict) for line in _lines_of(event)]
        return "\n".join(told[-lines:])

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._client.request(method, f"/api/v2/{path}", **options)
        if response.is_error:
            raise DemoFailed(f"Airflow answered {response.status_code} to {method} {path}.", response.text)
        return dict(response.json())


def _path(task: Mapping[str, Any]) -> str:
    return f"dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}"


def _lines_of(event: Mapping[str, Any]) -> list[str]:
    """An event of a structured task log as text; those that only fold the log have none."""
    text = str(event.get("event", ""))
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in event.get("error_detail") or []]
    return [] if text.startswith("::") else [text, *errors]
