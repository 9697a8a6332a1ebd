"""Connections by id: from ``AIRFLOW_CONN_<ID>``, else from Airflow; the demo database's is there by itself."""

from db_backup.connections.access import AzureAccess, CloudAccess, GoogleAccess, S3Access
from db_backup.connections.clouds import (
    aws_client,
    find_storage_connection,
    google_credentials,
    opens_by_itself,
    storage_access,
    usual_connection,
)
from db_backup.connections.databases import portable_connection, resolve_connection
from db_backup.connections.text import AirflowConnection, connection_text, connection_variable, parse_connection

__all__ = [
    "AirflowConnection",
    "AzureAccess",
    "CloudAccess",
    "GoogleAccess",
    "S3Access",
    "aws_client",
    "connection_text",
    "connection_variable",
    "find_storage_connection",
    "google_credentials",
    "opens_by_itself",
    "parse_connection",
    "portable_connection",
    "resolve_connection",
    "storage_access",
    "usual_connection",
]
