"""Finding a connection by its id: in ``AIRFLOW_CONN_<ID>``, else in Airflow.

``AIRFLOW_CONN_<ID>``, in the environment or in the project's ``.env``, is read without Airflow, so that a restore works
when Airflow is down. Airflow is imported only when the variable is not there and Airflow is set up on this machine.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from db_backup.connections.text import AirflowConnection, connection_variable, normal_type, parse_connection
from db_backup.errors import ConnectionNotFound
from db_backup.settings import airflow_home
from db_backup.settings.loading import read_dotenv

_EXAMPLE = "postgres://user:password@host:5432/database"
_UNKNOWN = "Airflow does not know it"


def find_connection(
    conn_id: str, environment: Mapping[str, str], root: Path, *, required: bool = True, example: str = _EXAMPLE
) -> AirflowConnection | None:
    """The connection of that id, whatever its type.

    :param root: the project's root, whose ``.env`` counts.
    :param required: without it, None is the answer where the connection is nowhere.
    :param example: of such a connection as a URI, for the hint.
    :raises ConnectionNotFound: it is nowhere, or Airflow, which may have it, does not answer.
    :raises ConfigurationError: it is there and makes no sense. Its value is never part of the message.
    """
    connection = _from_variables(conn_id, environment, root)
    if connection is not None:
        return connection
    connection, reason = _from_airflow(conn_id, environment)
    if connection is None and required:
        variable = connection_variable(conn_id)
        raise _not_found(conn_id, f"{variable} is not set, and {reason}", example)
    return connection


def _from_variables(conn_id: str, environment: Mapping[str, str], root: Path) -> AirflowConnection | None:
    name = connection_variable(conn_id)
    text = environment.get(name) or read_dotenv(root / ".env").get(name)
    if not text or not text.strip():
        return None
    connection = parse_connection(conn_id, text)
    mask_in_task(connection.password)
    return connection


def mask_in_task(secret: str) -> None:
    """Let Airflow mask it in everything that a task writes from now on; outside of a task nothing is done."""
    if secret and _in_task():
        from airflow.sdk.log import mask_secret

        mask_secret(secret)


def _in_task() -> bool:
    """Whether Airflow runs this process for a task, a DAG file or a trigger: then only its Task SDK answers."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None


def _airflow_is_set_up(environment: Mapping[str, str]) -> bool:
    """Asked before Airflow is imported, which would create its folder and configuration where there are none."""
    configured = any(name.startswith("AIRFLOW__") or name == "AIRFLOW_CONFIG" for name in environment)
    return configured or (airflow_home(environment) / "airflow.cfg").exists()


def _from_airflow(conn_id: str, environment: Mapping[str, str]) -> tuple[AirflowConnection | None, str]:
    """What Airflow knows, or None and why.

    :raises ConnectionNotFound: it does not answer.
    """
    if _in_task():
        return _ask_task_sdk(conn_id), _UNKNOWN
    if _airflow_is_set_up(environment):
        with redirect_stdout(sys.stderr):  # what Airflow logs must not end up in a JSON document on stdout
            return _ask_secrets_backends(conn_id), _UNKNOWN
    return None, f"Airflow is not set up here (no airflow.cfg in {airflow_home(environment)})"


def _ask_task_sdk(conn_id: str) -> AirflowConnection | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return _from_airflow_object(Connection.get(conn_id))
    except AirflowNotFoundException:
        return None
    except Exception as error:  # noqa: BLE001 - Airflow lets through whatever its parts raise
        raise _unanswered(conn_id, f"Airflow did not answer ({type(error).__name__})") from None


def _ask_secrets_backends(conn_id: str) -> AirflowConnection | None:
    """Outside of a task: Airflow's secrets backends, then its metadata database.

    Airflow's own ``get_connection_from_secrets`` would report a database that is down as a connection not defined.
    """
    try:
        from airflow.configuration import ensure_secrets_loaded

        backends = ensure_secrets_loaded()
    except ImportError as error:
        raise _not_found(conn_id, f"Airflow cannot be imported ({error.name or type(error).__name__})") from None
    except Exception as error:  # noqa: BLE001 - Airflow lets through whatever its parts raise
        raise _unanswered(conn_id, f"Airflow does not start ({type(error).__name__})") from None
    failures = []
    for backend in backends:
        try:
            found = backend.get_connection(conn_id=conn_id)
            if found is not None:
                return _from_airflow_object(found)
        except PermissionError:  # airflow.sdk.exceptions.AirflowSecretsBackendAccessDenied: the last word
            raise _unanswered(conn_id, f"{type(backend).__name__} denies access to it") from None
        except Exception as error:  # noqa: BLE001 - a backend raises anything; the next one may have the connection
            failures.append(f"{type(backend).__name__}: {type(error).__name__}")
    if failures:
        raise _unanswered(conn_id, f"Airflow could not look it up ({'; '.join(failures)})")
    return None


def _from_airflow_object(found: Any) -> AirflowConnection:
    return AirflowConnection(
        conn_type=normal_type(found.conn_type or ""),
        host=found.host or "",
        login=found.login or "",
        password=found.password or "",
        schema=found.schema or "",
        port=found.port or None,
        extra=found.extra_dejson or {},
    )


def _not_found(conn_id: str, reason: str, example: str = _EXAMPLE) -> ConnectionNotFound:
    return ConnectionNotFound(
        f"There is no connection '{conn_id}': {reason}.",
        hint=f"Define it in Airflow (`airflow connections add {conn_id} …`) or set {connection_variable(conn_id)}, "
        f"such as {example}.",
    )


def _unanswered(conn_id: str, reason: str) -> ConnectionNotFound:
    return ConnectionNotFound(
        f"The connection '{conn_id}' cannot be looked up: {reason}.",
        hint=f"Start or repair Airflow's metadata database, or set {connection_variable(conn_id)}, "
        "which needs no Airflow.",
    )
