"""The keys of ``backup.yaml`` (SPEC §2) as they are written; ``None`` means that a key was not given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from db_backup.config.window import WeeklyWindow
from db_backup.model import MOST_DAYS, MOST_JOBS, BackupType, Compression, EngineName, Tier, VerificationLevel
from db_backup.settings.addresses import StorageAddress
from db_backup.settings.problems import WrongValue

# Airflow's own rule for connection ids (airflow.models.connection.RE_SANITIZE_CONN_ID).
_CONNECTION_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")

_KMS_KEY = re.compile(
    r"aws-kms://arn:aws:kms:[a-z0-9-]+:\d+:key/[A-Za-z0-9-]+"
    r"|gcp-kms://projects/[^/]+/locations/[\w-]+/keyRings/[\w-]+/cryptoKeys/[\w-]+",
    re.ASCII,
)


def _connection_id(value: object) -> object:
    if isinstance(value, str) and ("://" in value or not _CONNECTION_ID.fullmatch(value)):
        raise WrongValue("the id of a connection (its address and password belong into the connection itself)")
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        StorageAddress.parse(value)
    return value


def _kms_key(value: object) -> object:
    """An alias may be pointed at another key, and what the first one wrapped then stays shut."""
    if isinstance(value, str) and not _KMS_KEY.fullmatch(value):
        raise WrongValue(
            "a key's own address, aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID (no alias) or "
            "gcp-kms://projects/…/locations/…/keyRings/…/cryptoKeys/NAME"
        )
    return value


def _databases(value: object) -> object:
    if value == "all":
        return None
    if isinstance(value, list | None):
        return value
    raise WrongValue("'all' or a list of database names", "all")


def _one_value(value: object) -> object:
    if isinstance(value, list | dict):
        raise WrongValue("one value, such as true, 0 or 'ok'")
    return value


def _weekly_window(value: object) -> object:
    if value is None or isinstance(value, WeeklyWindow):
        return value
    try:
        return WeeklyWindow.parse(str(value))
    except ValueError:
        raise WrongValue("days and hours in BACKUP_TIMEZONE, such as Mon-Fri 09:00-18:00") from None


ConnectionId = Annotated[str, BeforeValidator(_connection_id)]
Days = Annotated[StrictInt, Field(ge=1, le=MOST_DAYS)]
Minutes = Annotated[StrictInt, Field(ge=1)]
#: How firmly objects are kept until their day: governance can be lifted by whoever has the right, compliance by nobody.
ObjectLock = Literal["governance", "compliance"]
#: The most parts that one object can be uploaded in, by the limits of S3 ("Multipart upload limits").
MOST_PARTS = 10_000

#: Values of these keys never appear in a message: people put passwords there by mistake.
UNSHOWN_KEYS = frozenset({"conn_id", "read_conn_id", "url", "slack", "email"})


class _Keys(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Archive(_Keys):
    """When objects go to a colder class, and to which: the provider's own word, such as DEEP_ARCHIVE."""

    after_days: Days
    storage_class: Annotated[str, Field(min_length=1)]


class StorageKeys(_Keys):
    url: Annotated[str, BeforeValidator(_address)]
    conn_id: ConnectionId | None = None
    max_parts: Annotated[StrictInt, Field(ge=1, le=MOST_PARTS)] | None = None
    off_site: StrictBool | None = None
    object_lock: ObjectLock | None = None
    archive: Archive | None = None
    quota_mb: Annotated[StrictInt, Field(ge=1)] | None = None


class KeyKeys(_Keys):
    """Of ``file``, ``conn_id`` and ``kms`` there is one; beside ``kms``, ``conn_id`` says whose credentials count."""

    file: Annotated[str, Field(min_length=1)] | None = None
    conn_id: ConnectionId | None = None
    kms: Annotated[str, BeforeValidator(_kms_key)] | None = None


class RestoreTarget(_Keys):
    """Where restores may go besides scratch servers and a new name on the source."""

    conn_id: ConnectionId


class Objectives(_Keys):
    """Targets in minutes (SPEC §9).

    Where there is a ``window``, hours of the week in BACKUP_TIMEZONE, ``rpo_minutes`` holds within it, and outside of
    it ``otherwise``, or what is usual for the tier.
    """

    rpo_minutes: Minutes | None = None
    rto_minutes: Minutes | None = None
    window: Annotated[WeeklyWindow | None, BeforeValidator(_weekly_window)] = None
    otherwise: Minutes | None = None


class Check(_Keys):
    """An application check: a query and the one value that it must give."""

    sql: str
    expect: Annotated[Any, BeforeValidator(_one_value)]


class Hook(_Keys):
    trigger_dag: str


class Hooks(_Keys):
    before_restore: Hook | None = None
    after_restore: Hook | None = None


class Channels(_Keys):
    slack: str | None = None
    email: tuple[str, ...] = ()


class RetentionKeys(_Keys):
    full: Days | None = None
    incremental: Days | None = None
    structure: Days | None = None
    data: Days | None = None


class DefaultKeys(_Keys):
    compression: Compression | None = None
    level: StrictInt | None = None
    encrypt: StrictBool | None = None
    jobs: Annotated[StrictInt, Field(ge=1, le=MOST_JOBS)] | None = None
    verify: VerificationLevel | None = None


class EntryKeys(DefaultKeys):
    conn_id: ConnectionId
    engine: EngineName | None = None
    read_conn_id: ConnectionId | None = None
    tier: Tier | None = None
    types: tuple[BackupType, ...] | None = None
    exclude_tables: tuple[str, ...] | None = None
    retention: RetentionKeys | None = None
    storages: tuple[str, ...] | None = None
    objectives: Objectives | None = None
    protected: StrictBool | None = None
    checks: tuple[Check, ...] | None = None
    hooks: Hooks | None = None
    owner: str | None = None
    channels: Channels | None = None


class DatabaseKeys(EntryKeys):
    server: str | None = None


class ServerKeys(EntryKeys):
    """``databases: all`` reads as ``None``, which means the same."""

    databases: Annotated[tuple[str, ...] | None, BeforeValidator(_databases)] = None


class FileKeys(_Keys):
    version: Literal[1] | None = None
    project: str | None = None
    environment: str | None = None
    contacts: Mapping[str, str] | None = None
    storages: Mapping[str, StorageKeys] | None = None
    keys: Mapping[str, KeyKeys] | None = None
    restore_targets: Mapping[str, RestoreTarget] | None = None
    defaults: DefaultKeys | None = None
    servers: Mapping[str, ServerKeys] | None = None
    databases: Mapping[str, DatabaseKeys] | None = None


_SECTIONS: Mapping[str | int, type[BaseModel]] = {
    "storages": StorageKeys,
    "keys": KeyKeys,
    "restore_targets": RestoreTarget,
    "servers": ServerKeys,
    "databases": DatabaseKeys,
}
_NESTED: Mapping[str | int, type[BaseModel]] = {
    "defaults": DefaultKeys,
    "retention": RetentionKeys,
    "objectives": Objectives,
    "checks": Check,
    "hooks": Hooks,
    "before_restore": Hook,
    "after_restore": Hook,
    "channels": Channels,
    "archive": Archive,
}


def keys_at(location: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys that a mapping at this place of the file may have; none where names are free."""
    if not location:
        return tuple(FileKeys.model_fields)
    if len(location) == 2 and location[0] in _SECTIONS:
        return tuple(_SECTIONS[location[0]].model_fields)
    last = next(step for step in reversed(location) if isinstance(step, str))
    return tuple(_NESTED[last].model_fields) if last in _NESTED else ()
