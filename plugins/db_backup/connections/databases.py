"""What engines need to know of a connection; the built-in demo database has one by itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from db_backup.connections.airflow import find_connection
from db_backup.connections.text import AirflowConnection, connection_variable
from db_backup.errors import ConfigurationError
from db_backup.model import ConnectionInfo, EngineName
from db_backup.settings import project_root
from db_backup.settings.demo import DEMO_CONN_ID, demo_database
from db_backup.settings.problems import did_you_mean, nearest

#: Airflow's connection types that are a database of ours.
_ENGINES: Mapping[str, EngineName] = {
    "postgres": EngineName.POSTGRES,
    "mysql": EngineName.MYSQL,
    "mariadb": EngineName.MYSQL,
    "sqlite": EngineName.SQLITE,
}


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
    return _described(conn_id, _connection(conn_id, environment, root), engine, root)


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
    connection = _connection(conn_id, environment, root)
    if connection is None or EngineName.SQLITE in {engine, _ENGINES.get(connection.conn_type)}:
        resolved = _described(conn_id, connection, engine, root)
        return AirflowConnection("sqlite", resolved.database, "", "", "", None, resolved.extra)
    return connection


def _connection(conn_id: str, environment: Mapping[str, str], root: Path) -> AirflowConnection | None:
    """None for the demo's connection alone, when nobody defined it."""
    return find_connection(conn_id, environment, root, required=conn_id != DEMO_CONN_ID)


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
