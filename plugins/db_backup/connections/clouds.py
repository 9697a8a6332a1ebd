"""What object storages need of a connection, by the kind of their address.

What knows one cloud's connections is imported when such a storage is opened: no command waits for the other clouds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from db_backup.connections.access import AWS_EXAMPLE, AZURE_EXAMPLE, GOOGLE_EXAMPLE, CloudAccess
from db_backup.connections.airflow import find_connection
from db_backup.connections.fields import Fields
from db_backup.connections.text import AirflowConnection
from db_backup.errors import ConfigurationError
from db_backup.settings import project_root
from db_backup.settings.addresses import StorageAddress, StorageKind


@dataclass(frozen=True)
class _Cloud:
    """``usual``: Airflow's default id. ``types``: the types of connection that fit; the first is the one to name.

    ``secrets``: the fields of the extra that open the storage; the password does, too.
    """

    usual: str
    types: tuple[str, ...]
    secrets: tuple[str, ...]
    example: str
    access: Callable[[Fields, StorageAddress], CloudAccess]


def _s3_access(fields: Fields, address: StorageAddress) -> CloudAccess:
    from db_backup.connections.aws import s3_access

    return s3_access(fields, address)


def _google_access(fields: Fields, address: StorageAddress) -> CloudAccess:
    from db_backup.connections.google import google_access

    return google_access(fields, address)


def _azure_access(fields: Fields, address: StorageAddress) -> CloudAccess:
    from db_backup.connections.azure import azure_access

    return azure_access(fields, address)


_CLOUDS: Mapping[StorageKind, _Cloud] = {
    StorageKind.S3: _Cloud(
        usual="aws_default",
        types=("aws", "s3", "generic"),
        secrets=("aws_secret_access_key",),
        example=AWS_EXAMPLE,
        access=_s3_access,
    ),
    StorageKind.GCS: _Cloud(
        usual="google_cloud_default",
        types=("google_cloud_platform", "gcs", "generic"),
        secrets=("keyfile_dict", "key_path", "credential_config_file", "is_anonymous"),
        example=GOOGLE_EXAMPLE,
        access=_google_access,
    ),
    StorageKind.AZURE: _Cloud(
        usual="wasb_default",
        types=("wasb", "adls", "azure_data_lake", "azure_blob_storage", "generic"),
        secrets=("connection_string", "shared_access_key", "sas_token", "account_key"),
        example=AZURE_EXAMPLE,
        access=_azure_access,
    ),
}


def usual_connection(kind: StorageKind) -> str | None:
    """The id of the connection that a storage of this kind takes where it names none; None: it takes none."""
    return _CLOUDS[kind].usual if kind in _CLOUDS else None


def storage_access(
    address: StorageAddress, conn_id: str | None = None, *, environment: Mapping[str, str] | None = None
) -> CloudAccess:
    """Access to the object storage at that address; asks the provider for credentials where they are temporary.

    :param conn_id: None: Airflow's default id of the kind. A connection of that id need not exist: what this machine
        may do by itself counts then, as it does where a connection holds no credentials.
    :param environment: in place of the process's own, for connections; a cloud's own variables are read from that.
    :raises ConnectionNotFound: it is nowhere, or Airflow, which may have it, does not answer.
    :raises ConfigurationError: it makes no sense for this address, or nothing gives credentials.
    :raises StorageAccessDenied, StorageError: who gives temporary credentials refuses or does not answer.
    """
    return _CLOUDS[address.kind].access(_fitting(address.kind, conn_id, environment, str(address)), address)


def aws_client(
    service: str, conn_id: str | None = None, *, region: str = "", environment: Mapping[str, str] | None = None
) -> Any:
    """A boto3 client of another service of AWS ("kms") by the same kind of connection.

    :param region: over that of the connection and of this machine: a key's address names its own.
    :raises: as :func:`storage_access`.
    """
    from db_backup.connections.aws import service_client

    return service_client(_fitting(StorageKind.S3, conn_id, environment, service), service, region)


def google_credentials(conn_id: str | None = None, *, environment: Mapping[str, str] | None = None) -> Any:
    """What a client of another service of Google ("kms") takes as its credentials, by the same kind of connection.

    :raises: as :func:`storage_access`.
    """
    from db_backup.connections.google import service_credentials

    return service_credentials(_fitting(StorageKind.GCS, conn_id, environment, "Google"))


def find_storage_connection(
    kind: StorageKind, conn_id: str | None, *, environment: Mapping[str, str] | None = None
) -> AirflowConnection | None:
    """The connection that such a storage uses; None where it needs none and there is none.

    :raises ConnectionNotFound, ConfigurationError: as :func:`storage_access`.
    """
    fields = _fields(_CLOUDS[kind], conn_id, environment)
    return fields.connection if fields.exists else None


def opens_by_itself(kind: StorageKind, conn_id: str, connection: AirflowConnection | None) -> bool:
    """Whether the connection holds the credentials; otherwise those of the machine that uses it count."""
    if connection is None:
        return False
    fields = Fields(conn_id, connection)
    return bool(connection.password) or any(fields.value(name) for name in _CLOUDS[kind].secrets)


def _fitting(kind: StorageKind, conn_id: str | None, environment: Mapping[str, str] | None, purpose: str) -> Fields:
    """:raises ConfigurationError: it is a connection to something else."""
    cloud = _CLOUDS[kind]
    fields = _fields(cloud, conn_id, environment)
    if fields.exists and fields.connection.conn_type not in cloud.types:
        raise ConfigurationError(
            f"The connection '{fields.conn_id}' is of type '{fields.connection.conn_type}', and {purpose} takes one of "
            f"type {cloud.types[0]}.",
            hint=f"Name another conn_id, or make the connection {cloud.example}.",
        )
    return fields


def _fields(cloud: _Cloud, conn_id: str | None, environment: Mapping[str, str] | None) -> Fields:
    environment = os.environ if environment is None else environment
    name = conn_id or cloud.usual
    found = find_connection(
        name, environment, project_root(environment), required=name != cloud.usual, example=cloud.example
    )
    return Fields(name) if found is None else Fields(name, found)
