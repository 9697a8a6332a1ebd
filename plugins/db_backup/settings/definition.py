"""Every setting of SPEC §2, defined once: default, help, unit, validation. `docs/configuration.md` is made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, PrivateAttr, SecretStr, ValidationInfo, field_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from db_backup.frozen import FrozenModel
from db_backup.model import MOST_DAYS, MOST_JOBS, BackupType, Compression, VerificationLevel, level_for
from db_backup.settings.availability import NOT_YET_VARIABLES
from db_backup.settings.places import TEMP_FOLDER
from db_backup.settings.problems import WrongValue
from db_backup.settings.values import (
    CloudName,
    CloudUrl,
    Hours,
    HourWindow,
    KeyNames,
    PostgresFormat,
    StorageName,
    TimeOfDay,
    TimeZone,
    Weekday,
    Words,
)

MASK = "********"


def _setting(group: str, default: object, text: str, *, unit: str = "", shown: str | None = None, **rules: Any) -> Any:
    """A setting. ``shown`` is the default as documented, where it differs from the value."""
    details: JsonDict = {"group": group, "unit": unit, "default": text_of(default) if shown is None else shown}
    return Field(default=default, description=text, json_schema_extra=details, **rules)


def _path(group: str, default: str, text: str) -> Any:
    """A path, always absolute once loaded; its default counts from the project too, so the loader supplies it."""
    return Field(description=text, json_schema_extra={"group": group, "unit": "", "default": default})


def text_of(value: object) -> str:
    """A value as it is written in the environment; a secret is masked, and so is a login within an address."""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    return re.sub(r"//[^/@]*@", f"//{MASK}@", _written(value))


def _written(value: object) -> str:
    """A value as it is written in the environment, secrets and all."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)


_general = partial(_setting, "General")
_retention = partial(_setting, "Retention")
_schedules = partial(_setting, "Schedules")
_verification = partial(_setting, "Verification")
_storage = partial(_setting, "Storage")
_notifications = partial(_setting, "Notifications")
_security = partial(_setting, "Encryption and access")
_limits = partial(_setting, "Limits")
_engines = partial(_setting, "Engines")


class EffectiveSetting(FrozenModel):
    """One setting as it stands: ``value`` as text, masked when secret; ``source``: environment, .env or default."""

    name: str
    value: str
    source: str
    default: str
    help: str
    unit: str
    group: str
    available: bool


class Settings(BaseSettings):
    """What the environment says. Made by :func:`db_backup.settings.load_settings`, which reads and anchors it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    backup_enabled: bool = _general(True, "Scheduled backups run; off, each of them skips and says so.")
    backup_default_type: BackupType = _general(BackupType.FULL, "Type of a backup when none is asked for.")
    backup_default_compression: Compression = _general(Compression.GZIP, "How backups are compressed.")
    backup_compression_level: int | None = _general(
        None,
        "How hard to compress: gzip, bzip2, xz 1 to 9, zstd 1 to 19, lz4 1 to 12. Unset, each codec takes its default.",
        shown="9 (zstd: 3, lz4: 1, xz: 6)",
        validate_default=True,
    )
    backup_config: Path = _path(
        "General", "include/backup.yaml", "The file that lists what is backed up. Without it, the demo database is."
    )

    backup_retention_days: int = _retention(
        30, "How long full and data backups are kept.", unit="days", ge=1, le=MOST_DAYS
    )
    backup_retention_incremental_days: int = _retention(
        7, "How long incremental backups are kept.", unit="days", ge=1, le=MOST_DAYS
    )
    backup_retention_structure_days: int = _retention(
        90, "How long structure backups are kept.", unit="days", ge=1, le=MOST_DAYS
    )

    backup_daily_enabled: bool = _schedules(True, "The daily full backup is scheduled.")
    backup_daily_time: TimeOfDay = _schedules(time(3), "When the daily backup starts, in BACKUP_TIMEZONE.")
    backup_weekly_enabled: bool = _schedules(True, "The weekly structure backup is scheduled.")
    backup_weekly_time: TimeOfDay = _schedules(time(4), "When the weekly backup starts, in BACKUP_TIMEZONE.")
    backup_weekly_day: Weekday = _schedules(Weekday.SUNDAY, "Day of the weekly backup.")
    backup_hourly_enabled: bool = _schedules(False, "The hourly incremental backup is scheduled.")
    backup_hourly_window: Hours = _schedules(
        HourWindow(9, 18), "Hours of the hourly backup, Monday to Friday, both included, in BACKUP_TIMEZONE."
    )
    backup_timezone: TimeZone = _schedules(ZoneInfo("UTC"), "Time zone of all schedules.")

    backup_verification_enabled: bool = _verification(
        True, "Scheduled backups are verified right after, and stored ones by the daily check."
    )
    backup_verification_daily_check: bool = _verification(True, "The daily check of stored backups is scheduled.")
    backup_verification_time: TimeOfDay = _verification(time(6), "When that check starts, in BACKUP_TIMEZONE.")
    backup_verification_level: VerificationLevel = _verification(
        VerificationLevel.RESTORE, "How far a verification goes: read back, read by its tool, or restored and compared."
    )
    backup_verification_restore_max_mb: int = _verification(
        10240, "Uncompressed size up to which a verification restores.", unit="MB", ge=1
    )

    backup_storage_disk: StorageName = _storage("local", "Name of the storage that backups go to.")
    backup_local_path: Path = _path("Storage", "storage/backups", "Folder of the storage `local`.")
    backup_file_group: str = _storage("", "Group that owns the files of the storage `local`; empty: the process's own.")
    backup_cloud_enabled: bool = _storage(False, "Backups go to BACKUP_CLOUD_DISK as well.")
    backup_cloud_disk: CloudName = _storage("s3", "Name of the cloud storage.")
    backup_cloud_url: CloudUrl = _storage(
        "",
        "Its address: s3://bucket/prefix, gs://bucket/prefix or azure://container/prefix; empty where backup.yaml has "
        "it. It takes the connection aws_default, google_cloud_default or wasb_default.",
    )
    backup_keep_local_copy: bool = _storage(
        True, "The copy in `local` stays; off, it goes once a proven one is in another storage."
    )

    backup_notifications_enabled: bool = _notifications(False, "Messages are sent.")
    backup_notify_failure: bool = _notifications(True, "Failures are reported.")
    backup_notify_success: bool = _notifications(False, "Successes are reported.")
    backup_slack_webhook_url: SecretStr = _notifications(SecretStr(""), "Slack's incoming webhook. Secret.")
    backup_slack_conn_id: str = _notifications("", "Airflow connection of a Slack webhook or bot.")
    backup_webhook_url: SecretStr = _notifications(SecretStr(""), "Address that receives events as JSON. Secret.")
    backup_email_to: Words = _notifications((), "Addresses that receive messages, separated by commas.")
    backup_smtp_conn_id: str = _notifications("smtp_default", "Airflow connection of the mail server.")

    backup_encrypt: bool = _security(False, "Backups are encrypted.")
    backup_encryption_key_id: KeyNames = _security(
        (), "Keys that new backups are encrypted for, separated by commas: any of them opens. Unset: the key `default`."
    )
    backup_keys_path: Path = _path(
        "Encryption and access",
        "$AIRFLOW_HOME/db_backup_keys",
        "Folder of key files; a key that backup.yaml does not list is NAME.json in it.",
    )
    backup_admin_roles: Words = _security(("Admin",), "Airflow roles that may use the REST API, separated by commas.")
    backup_restore_four_eyes: bool = _security(False, "A restore must be approved by somebody else.")

    backup_max_size_mb: int = _limits(
        1024, "A backup whose stored size grows past this stops and fails; 0: no limit.", unit="MB", ge=0
    )
    backup_timeout_seconds: int = _limits(3600, "A backup that takes longer stops and fails.", unit="seconds", ge=1)
    backup_parallel_jobs: int = _limits(
        1, "Streams to dump at the same time, at most; each is a part.", ge=1, le=MOST_JOBS
    )

    backup_catalog_conn_id: str = _setting("Paths", "", "Airflow connection of a PostgreSQL that holds the catalogue.")
    backup_catalog_path: Path = _path(
        "Paths",
        "$AIRFLOW_HOME/db_backup_catalog.sqlite",
        "The embedded catalogue: a file on this machine, never on a network folder.",
    )
    backup_scratch_path: Path = _path("Paths", TEMP_FOLDER, "Folder in which verifications restore.")
    backup_staging_path: Path = _path("Paths", TEMP_FOLDER, "Folder for what a dump must write before it is stored.")

    mysql_backup_single_transaction: bool = _engines(True, "MySQL: one consistent snapshot (--single-transaction).")
    mysql_backup_routines: bool = _engines(True, "MySQL: stored procedures and functions are in the backup.")
    mysql_backup_triggers: bool = _engines(True, "MySQL: triggers are in the backup.")
    mysql_backup_events: bool = _engines(True, "MySQL: events are in the backup.")
    pgsql_backup_format: PostgresFormat = _engines(PostgresFormat.CUSTOM, "PostgreSQL: format of the dump.")
    pgsql_backup_no_owner: bool = _engines(True, "PostgreSQL: restores do not set owners (--no-owner).")
    pgsql_backup_no_privileges: bool = _engines(True, "PostgreSQL: restores do not set grants (--no-privileges).")
    backup_sqlite_vacuum: bool = _engines(
        False, "SQLite: the image leaves out unused pages (VACUUM INTO), unless the entry has increments."
    )

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _root: Path = PrivateAttr(default_factory=Path)

    @field_validator("backup_compression_level", mode="after")
    @classmethod
    def _level_fits(cls, level: int | None, info: ValidationInfo) -> int | None:
        compression = info.data.get("backup_default_compression")
        if compression is None:  # refused already
            return level
        try:
            return level_for(compression, level)
        except ValueError as error:
            fitting = text_of(level_for(compression, None)) or None
            raise WrongValue(f"a level for BACKUP_DEFAULT_COMPRESSION={compression}: {error}", fitting) from error

    @property
    def root(self) -> Path:
        """The project's root, which relative paths count from."""
        return self._root

    def source_of(self, name: str) -> str:
        """``environment``, ``.env`` or ``default``, for a variable's name."""
        return self._origins.get(name, "default")

    def given(self) -> dict[str, str]:
        """The variables that are set, as the environment would hold them: secrets in the clear, paths absolute."""
        return {name: _written(getattr(self, name.lower())) for name in variable_names() if name in self._origins}

    def effective(self) -> tuple[EffectiveSetting, ...]:
        """Every setting, in the order of the reference page, ready to be shown to anybody."""
        return tuple(self._effective(name, field) for name, field in type(self).model_fields.items())

    def _effective(self, field_name: str, field: FieldInfo) -> EffectiveSetting:
        name, details = field_name.upper(), details_of(field)
        return EffectiveSetting(
            name=name,
            value=text_of(getattr(self, field_name)),
            source=self.source_of(name),
            default=details["default"],
            help=field.description or "",
            unit=details["unit"],
            group=details["group"],
            available=name not in NOT_YET_VARIABLES,
        )


def details_of(field: FieldInfo) -> Mapping[str, str]:
    """``group``, ``unit`` and ``default`` (as documented) of a setting."""
    return {key: str(value) for key, value in (field.json_schema_extra or {}).items()}  # type: ignore[union-attr]


def variable_names() -> tuple[str, ...]:
    """The names of all variables, in the order of the reference page."""
    return tuple(name.upper() for name in Settings.model_fields)


def missing_feature(name: str, settings: Settings) -> str | None:
    """What a variable asks for that is not there yet; None when it asks for nothing of the kind."""
    field_name = name.lower()
    value = getattr(settings, field_name)
    if name in NOT_YET_VARIABLES and value != Settings.model_fields[field_name].get_default():
        return NOT_YET_VARIABLES[name]
    return None
