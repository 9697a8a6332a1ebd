"""Connections by id: from ``AIRFLOW_CONN_<ID>``, else from Airflow; the demo database's is there by itself."""

from db_backup.connections.databases import portable_connection, resolve_connection
from db_backup.connections.text import AirflowConnection, connection_text, connection_variable, parse_connection

__all__ = [
    "AirflowConnection",
    "connection_text",
    "connection_variable",
    "parse_connection",
    "portable_connection",
    "resolve_connection",
]
