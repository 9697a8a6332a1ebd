"""Connections by id: from ``AIRFLOW_CONN_<ID>``, else from Airflow, else the built-in demo database.

``AIRFLOW_CONN_<ID>``, in the environment or in the project's ``.env``, is read without Airflow, so that a restore works
when Airflow is down. Airflow is imported only when the variable is not there and Airflow is set up on this machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from db_backup.errors import ConfigurationError, ConnectionNotFound
from db_backup.model import ConnectionInfo, EngineName
from db_backup.settings import airflow_home, project_root
from db_backup.settings.demo import DEMO_CONN_ID, demo_database
from db_backup.settings.loading import read_dotenv
from db_backup.settings.problems import did_you_mean, nearest

#: Airflow's connection types that are a database of ours.
_ENGINES: Mapping[str, EngineName] = {
    "postgres": EngineName.POSTGRES,
    "mysql": EngineName.MYSQL,
    "mariadb": EngineName.MYSQL,
    "sqlite": EngineName.SQLITE,
}
_KEYS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")


@dataclass(frozen=True)
class AirflowConnection:
    """A connection with Airflow's fields, whatever it was read from. It never prints."""

    conn_type: str
    host: str
    login: str
    password: str
    schema: str
    port: int | None
    extra: Mapping[str, object]

    def __repr__(self) -> str:
        return f"AirflowConnection({self.conn_type})"

    @property
    def fields(self) -> dict[str, object]:
        """What is set, as Airflow writes a connection in JSON; with its password."""
        values = {key: getattr(self, key, None) for key in _KEYS}
        return {key: dict(self.extra) if key == "extra" else value for key, value in values.items() if value}


def resolve_connection(
    conn_id: str,
    *,
    engine: EngineName | None = None,
    environment: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> ConnectionInfo:
    """The connection of that id.

    :param engine: what the entry says it is; needed only where the connection's type does not tell.
    :param environment: in place of the process's own (Airflow itself always reads the process's own).
    :param root: in place of :func:`project_root`: relative SQLite paths count from it.
    :raises ConnectionNotFound: it is nowhere, or Airflow, which may have it, does not answer.
    :raises ConfigurationError: it is there and makes no sense. Its value is never part of the message.
    """
    environment = os.environ if environment is None else environment
    root = root or project_root(environment)
    return _described(conn_id, _found(conn_id, environment, root), engine, root)


def portable_connection(
    conn_id: str, *, engine: EngineName | None = None, environment: Mapping[str, str] | None = None
) -> AirflowConnection:
    """The connection of that id, whatever its type, as another machine can take it over: a SQLite path is absolute.

    :param engine: what the entry says it is, if it is an entry's.
    :param environment: in place of the process's own.
    :raises ConnectionNotFound, ConfigurationError: as :func:`resolve_connection`.
    """
    environment = os.environ if environment is None else environment
    root = project_root(environment)
    connection = _found(conn_id, environment, root)
    if connection is None or EngineName.SQLITE in {engine, _ENGINES.get(connection.conn_type)}:
        resolved = _described(conn_id, connection, engine, root)
        return AirflowConnection("sqlite", resolved.database, "", "", "", None, resolved.extra)
    return connection


def _found(conn_id: str, environment: Mapping[str, str], root: Path) -> AirflowConnection | None:
    connection = _from_variables(conn_id, environment, root)
    return _from_airflow(conn_id, environment) if connection is None else connection


def connection_variable(conn_id: str) -> str:
    """The name of the environment variable that stands for a connection."""
    return f"AIRFLOW_CONN_{conn_id.upper()}"


def connection_text(fields: Mapping[str, object]) -> str:
    """The value of such a variable, in Airflow's JSON."""
    return json.dumps(dict(fields))


def parse_connection(conn_id: str, text: str) -> AirflowConnection:
    """What an ``AIRFLOW_CONN_…`` variable says, by the rules of ``airflow.sdk.Connection.from_uri`` and ``from_json``.

    :raises ConfigurationError: it is neither; nothing of the text is in the message.
    """
    text = text.strip()
    try:
        return _parse_json(text) if text.startswith("{") else _parse_uri(text)
    except _Malformed as error:
        # Not chained: the causes quote pieces of the text, and the password is one of them.
        raise ConfigurationError(
            f"{connection_variable(conn_id)} is not a connection: {error}.",
            hint="Write it as postgres://user:password@host:5432/database, each part URL-encoded, or as JSON: "
            '{"conn_type": "postgres", "host": …, "login": …, "password": …, "schema": …}.',
        ) from None


class _Malformed(ValueError):
    """What is wrong with a connection's text, without a piece of it."""


def _from_variables(conn_id: str, environment: Mapping[str, str], root: Path) -> AirflowConnection | None:
    name = connection_variable(conn_id)
    text = environment.get(name) or read_dotenv(root / ".env").get(name)
    if not text or not text.strip():
        return None
    connection = parse_connection(conn_id, text)
    if _in_task() and connection.password:
        from airflow.sdk.log import mask_secret

        mask_secret(connection.password)
    return connection


def _parse_json(text: str) -> AirflowConnection:
    try:
        values = json.loads(text)
    except ValueError:
        raise _Malformed("it begins like JSON and is none") from None
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise _Malformed(f"it has the unknown key '{unknown[0]}' ({', '.join(_KEYS)} are known)")
    texts = {key: values.get(key) or "" for key in ("conn_type", "host", "login", "password", "schema")}
    for key, value in texts.items():
        if not isinstance(value, str):
            raise _Malformed(f"its '{key}' is not a text")
    try:
        port = int(values["port"]) if values.get("port") else None
    except (TypeError, ValueError):
        raise _Malformed("its port is not a number") from None
    return AirflowConnection(
        conn_type=_normal_type(texts["conn_type"]),
        host=texts["host"],
        login=texts["login"],
        password=texts["password"],
        schema=texts["schema"],
        port=port,
        extra=_parse_extra(values.get("extra")),
    )


def _parse_uri(text: str) -> AirflowConnection:
    if "://" not in text or text.count("://") > 2:
        raise _Malformed("it is neither a URI nor JSON")
    nested = text.count("://") == 2  # "http://https://host": the host has a protocol of its own
    try:
        scheme = urlsplit(text).scheme
        rest = text.replace(f"{scheme}://", "" if nested else "//")
        parts = urlsplit(rest)
        port = parts.port
    except ValueError:
        raise _Malformed("its host or port cannot be read; URL-encode the user and the password") from None
    if nested and any(mark in rest.split("://", 1)[0] for mark in "@:"):
        raise _Malformed("it has a second protocol after the user")
    host = _host_of(parts)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return AirflowConnection(
        conn_type=_normal_type(scheme),
        host=f"{parts.scheme}://{host}" if nested and host else host,
        login=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        schema=unquote(parts.path[1:]),
        port=port,
        extra=_parse_extra(query["__extra__"]) if "__extra__" in query else query,
    )


def _host_of(parts: SplitResult) -> str:
    """The host; ``hostname`` lower-cases it, which an encoded path (``sqlite://%2Fdata%2FShop.db``) must not be."""
    host = unquote(parts.hostname or "")
    if "/" in host:
        host = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    return host


def _normal_type(conn_type: str) -> str:
    return "postgres" if conn_type == "postgresql" else conn_type.replace("-", "_")


def _parse_extra(extra: object) -> dict[str, object]:
    if not extra:
        return {}
    try:
        values = json.loads(extra) if isinstance(extra, str) else extra
    except ValueError:
        raise _Malformed("its extra is not JSON") from None
    if not isinstance(values, dict):
        raise _Malformed("its extra is not a JSON object")
    return values


def _in_task() -> bool:
    """Whether Airflow runs this process for a task, a DAG file or a trigger: then only its Task SDK answers."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None) is not None


def _airflow_is_set_up(environment: Mapping[str, str]) -> bool:
    """Asked before Airflow is imported, which would create its folder and configuration where there are none."""
    configured = any(name.startswith("AIRFLOW__") or name == "AIRFLOW_CONFIG" for name in environment)
    return configured or (airflow_home(environment) / "airflow.cfg").exists()


def _from_airflow(conn_id: str, environment: Mapping[str, str]) -> AirflowConnection | None:
    """What Airflow knows; None for the demo connection, when nobody defined it.

    :raises ConnectionNotFound: with the reason.
    """
    if _in_task():
        found, reason = _ask_task_sdk(conn_id), "Airflow does not know it"
    elif _airflow_is_set_up(environment):
        with redirect_stdout(sys.stderr):  # what Airflow logs must not end up in a JSON document on stdout
            found = _ask_secrets_backends(conn_id)
        reason = "Airflow does not know it"
    else:
        found, reason = None, f"Airflow is not set up here (no airflow.cfg in {airflow_home(environment)})"
    if found is None and conn_id != DEMO_CONN_ID:
        raise _not_found(conn_id, f"{connection_variable(conn_id)} is not set, and {reason}")
    return found


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
        conn_type=_normal_type(found.conn_type or ""),
        host=found.host or "",
        login=found.login or "",
        password=found.password or "",
        schema=found.schema or "",
        port=found.port or None,
        extra=found.extra_dejson or {},
    )


def _not_found(conn_id: str, reason: str) -> ConnectionNotFound:
    return ConnectionNotFound(
        f"There is no connection '{conn_id}': {reason}.",
        hint=f"Define it in Airflow (`airflow connections add {conn_id} …`) or set {connection_variable(conn_id)}, "
        "such as postgres://user:password@host:5432/database.",
    )


def _unanswered(conn_id: str, reason: str) -> ConnectionNotFound:
    return ConnectionNotFound(
        f"The connection '{conn_id}' cannot be looked up: {reason}.",
        hint=f"Start or repair Airflow's metadata database, or set {connection_variable(conn_id)}, "
        "which needs no Airflow.",
    )


def _described(
    conn_id: str, connection: AirflowConnection | None, engine: EngineName | None, root: Path
) -> ConnectionInfo:
    """What engines need to know of a connection; the demo's, when there is none."""
    if connection is None:
        return ConnectionInfo(conn_id, EngineName.SQLITE, database=str(demo_database(root)))
    engine = _engine_of(conn_id, connection.conn_type, engine)
    if engine is EngineName.SQLITE:
        path = _sqlite_path(conn_id, connection, root)
        return ConnectionInfo(conn_id, engine, database=str(path), extra=connection.extra)
    return ConnectionInfo(
        conn_id=conn_id,
        engine=engine,
        host=connection.host,
        port=connection.port,
        login=connection.login,
        password=connection.password,
        database=connection.schema,
        extra=connection.extra,
    )


def _engine_of(conn_id: str, conn_type: str, asked: EngineName | None) -> EngineName:
    found = _ENGINES.get(conn_type)
    chosen = asked or found
    if chosen is None:
        known = nearest(conn_type.partition("+")[0], _ENGINES)  # SQLAlchemy writes postgresql+psycopg2://
        raise ConfigurationError(
            f"The connection '{conn_id}' is of type '{conn_type}', which is no database that can be backed up "
            "(there are: sqlite, mysql, postgres).",
            hint=did_you_mean(known) or "Change the connection's type, or name the entry's engine in backup.yaml.",
        )
    if found is not None and found is not chosen:
        raise ConfigurationError(
            f"The connection '{conn_id}' is of type '{conn_type}', but backup.yaml says engine: {asked}.",
            hint="Remove engine from the entry, or give it the connection of its database.",
        )
    return chosen


def _sqlite_path(conn_id: str, connection: AirflowConnection, root: Path) -> Path:
    """``sqlite:///relative``, ``sqlite:////absolute``, ``sqlite://%2Fabsolute`` or the host in JSON."""
    text = "/".join(part for part in (connection.host, connection.schema) if part)
    if not text or text == ":memory:":
        raise ConfigurationError(
            f"The SQLite connection '{conn_id}' names no file.",
            hint=f"Write {connection_variable(conn_id)}=sqlite:////folder/file.sqlite: "
            "four slashes begin an absolute path.",
        )
    return Path(os.path.normpath(root / Path(text).expanduser()))
