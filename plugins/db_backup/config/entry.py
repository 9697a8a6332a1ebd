"""What is protected, fully resolved: an entry's own keys over the file's defaults over the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from db_backup.config.schema import (
    MOST_PARTS,
    Archive,
    Channels,
    Check,
    Hooks,
    Objectives,
    ObjectLock,
    RestoreTarget,
)
from db_backup.errors import UnknownDatabase
from db_backup.model import BackupType, Compression, EngineName, Scope, Tier, VerificationLevel
from db_backup.settings.addresses import StorageAddress, StorageKind
from db_backup.settings.problems import did_you_mean, nearest


@dataclass(frozen=True)
class StorageConfig:
    """A named place for artefacts. ``local`` is a ``file://`` address of BACKUP_LOCAL_PATH.

    ``conn_id`` is None where none is named: the usual one of its kind is taken, where it exists.
    """

    name: str
    url: str
    conn_id: str | None = None
    max_parts: int = MOST_PARTS
    off_site: bool = False
    object_lock: ObjectLock | None = None
    archive: Archive | None = None
    quota_mb: int | None = None

    @property
    def address(self) -> StorageAddress:
        return StorageAddress.parse(self.url)

    @property
    def kind(self) -> StorageKind:
        return self.address.kind


@dataclass(frozen=True)
class KeyConfig:
    """A key-encryption key: a file, the password of a connection, or a key service's (``kms``, asked by ``conn_id``).

    A relative ``file`` counts from BACKUP_KEYS_PATH.
    """

    name: str
    file: str | None = None
    conn_id: str | None = None
    kms: str | None = None


@dataclass(frozen=True)
class Entry:
    """A database or a whole server, and how it is backed up.

    ``engine`` is None where only the connection's type tells it. ``level`` is None where the compression takes none.
    ``retention`` is in days and has every type. ``databases`` is for servers; empty means all of them.
    """

    name: str
    scope: Scope
    conn_id: str
    engine: EngineName | None
    tier: Tier
    types: tuple[BackupType, ...]
    compression: Compression
    level: int | None
    encrypt: bool
    jobs: int
    verify: VerificationLevel
    retention: Mapping[BackupType, int]
    storages: tuple[str, ...]
    protected: bool = False
    owner: str = ""
    databases: tuple[str, ...] = ()
    exclude_tables: tuple[str, ...] = ()
    read_conn_id: str | None = None
    server: str | None = None
    objectives: Objectives = field(default_factory=Objectives)
    checks: tuple[Check, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    channels: Channels = field(default_factory=Channels)

    @property
    def has_chains(self) -> bool:
        """Whether its fulls are such that increments can follow them."""
        return self.scope is Scope.SERVER or BackupType.INCREMENTAL in self.types

    def can_take(self, backup_type: BackupType) -> bool:
        """Whether a backup of this type can be asked for, whether or not a schedule takes it."""
        if backup_type is BackupType.INCREMENTAL:
            return self.has_chains
        return backup_type is BackupType.FULL or self.scope is Scope.DATABASE


@dataclass(frozen=True)
class Config:
    """The whole configuration. ``name``: for people. ``path`` is None where it is of no file: the demo's, a kit's."""

    entries: Mapping[str, Entry]
    storages: Mapping[str, StorageConfig]
    keys: Mapping[str, KeyConfig] = field(default_factory=dict)
    restore_targets: Mapping[str, RestoreTarget] = field(default_factory=dict)
    contacts: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    environment: str = ""
    path: Path | None = None
    name: str = ""

    def entries_taking(self, backup_type: BackupType, tier: Tier | None = None) -> list[str]:
        """The names of the entries whose ``types`` hold this one; only those of the tier, where one is given."""
        return [
            name for name, entry in self.entries.items() if backup_type in entry.types and tier in (None, entry.tier)
        ]

    def entry(self, name: str) -> Entry:
        """:raises UnknownDatabase: there is no such entry; the error names the nearest one and the file."""
        if name in self.entries:
            return self.entries[name]
        place = str(self.path or self.name)
        known = f"Known: {', '.join(sorted(self.entries))}."
        guess = did_you_mean(nearest(name, self.entries))
        raise UnknownDatabase(f"There is no database '{name}' in {place}.", hint=f"{guess} {known}".strip())
