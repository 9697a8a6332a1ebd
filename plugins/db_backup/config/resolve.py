"""From the keys of the file to entries: each value from the entry, else the file's defaults, else the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from db_backup.config.entry import Entry, KeyConfig
from db_backup.config.schema import (
    Channels,
    DatabaseKeys,
    DefaultKeys,
    EntryKeys,
    FileKeys,
    Hooks,
    Objectives,
    RetentionKeys,
    ServerKeys,
)
from db_backup.config.storages import usual_storages
from db_backup.model import BackupType, Compression, Scope, Tier, level_for
from db_backup.settings import Settings

_Value = TypeVar("_Value")
#: Those that have a schedule which every engine can keep (SPEC §1).
USUAL_TYPES = (BackupType.FULL, BackupType.STRUCTURE)
#: A server is named for its history, and has no structure of its own.
USUAL_TYPES_OF_SERVERS = (BackupType.FULL, BackupType.INCREMENTAL)


def choose_compression(
    inherited: tuple[Compression, int | None], compression: Compression | None, level: int | None
) -> tuple[Compression, int | None]:
    """Compression and level over what they inherit. A level belongs to its compression: another one starts afresh.

    :raises ValueError: the compression does not take this level.
    """
    chosen, inherited_level = inherited
    if compression is not None and compression is not chosen:
        chosen, inherited_level = compression, None
    return chosen, level_for(chosen, inherited_level if level is None else level)


def resolve_entries(keys: FileKeys, settings: Settings) -> dict[str, Entry]:
    """Every entry of the file, servers first."""
    defaults = keys.defaults or DefaultKeys()
    entries: dict[str, EntryKeys] = {**(keys.servers or {}), **(keys.databases or {})}
    return {name: resolve_entry(name, entry, defaults, settings) for name, entry in entries.items()}


def resolve_entry(name: str, keys: EntryKeys, defaults: DefaultKeys, settings: Settings) -> Entry:
    inherited = choose_compression(compression_of(settings), defaults.compression, defaults.level)
    compression, level = choose_compression(inherited, keys.compression, keys.level)
    server = isinstance(keys, ServerKeys)
    return Entry(
        name=name,
        scope=Scope.SERVER if server else Scope.DATABASE,
        conn_id=keys.conn_id,
        engine=keys.engine,
        tier=keys.tier or Tier.STANDARD,
        types=tuple(dict.fromkeys(keys.types or (USUAL_TYPES_OF_SERVERS if server else USUAL_TYPES))),
        compression=compression,
        level=level,
        encrypt=_first(keys.encrypt, defaults.encrypt, settings.backup_encrypt),
        jobs=_first(keys.jobs, defaults.jobs, settings.backup_parallel_jobs),
        verify=_first(keys.verify, defaults.verify, settings.backup_verification_level),
        retention=_retention(keys.retention or RetentionKeys(), settings),
        storages=tuple(dict.fromkeys(keys.storages or usual_storages(settings))),
        protected=bool(keys.protected),
        owner=keys.owner or "",
        databases=(keys.databases or ()) if isinstance(keys, ServerKeys) else (),
        exclude_tables=keys.exclude_tables or (),
        read_conn_id=keys.read_conn_id,
        server=keys.server if isinstance(keys, DatabaseKeys) else None,
        objectives=keys.objectives or Objectives(),
        checks=keys.checks or (),
        hooks=keys.hooks or Hooks(),
        channels=keys.channels or Channels(),
    )


def resolve_keys(keys: FileKeys) -> dict[str, KeyConfig]:
    """The key-encryption keys that the file names."""
    return {name: KeyConfig(name, key.file, key.conn_id, key.kms) for name, key in (keys.keys or {}).items()}


def compression_of(settings: Settings) -> tuple[Compression, int | None]:
    return settings.backup_default_compression, settings.backup_compression_level


def _retention(keys: RetentionKeys, settings: Settings) -> Mapping[BackupType, int]:
    return {
        BackupType.FULL: _first(keys.full, settings.backup_retention_days),
        BackupType.INCREMENTAL: _first(keys.incremental, settings.backup_retention_incremental_days),
        BackupType.STRUCTURE: _first(keys.structure, settings.backup_retention_structure_days),
        BackupType.DATA: _first(keys.data, settings.backup_retention_days),
    }


def _first(*values: _Value | None) -> _Value:
    """The first value that was given; the last one always is."""
    return next(value for value in values if value is not None)
