"""The manifest: what was backed up, and where its bytes are; never changed once it was published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from db_backup.manifest.documents import (
    LARGEST,
    BackupId,
    BareFileName,
    Count,
    Moment,
    Sha256,
    SidecarModel,
    dump,
    load,
)
from db_backup.model import (
    ENTRY_PATTERN,
    BackupType,
    Compression,
    EngineName,
    Method,
    Scope,
    VerificationLevel,
)

MANIFEST_VERSION = 1


class ServerInfo(SidecarModel):
    """The server that was backed up. ``identity``: system identifier or server UUID; empty where there is none.

    ``encoding``, ``collation`` and ``character_type`` are the database's own; a scratch server is made alike.
    """

    engine: EngineName
    flavour: str  # "PostgreSQL", "MariaDB", "MySQL", "SQLite"
    version: str  # "15.20", "10.11.19", "3.40.1"
    identity: str = ""
    address: str = ""
    encoding: str = ""
    collation: str = ""
    character_type: str = ""

    @property
    def major(self) -> str:
        """What must match between tool and server: "15" for PostgreSQL, "10.11" for MariaDB, "8.0" for MySQL."""
        pieces = self.version.split(".")
        return pieces[0] if self.engine is EngineName.POSTGRES else ".".join(pieces[:2])


class ToolInfo(SidecarModel):
    """A client tool as it was used: its name and the version that it printed."""

    name: str
    version: str


class Consistency(SidecarModel):
    """What makes the dump one moment. Positions are there when the server gave them.

    ``standby``: the server is a replica, and the positions are those of the replica. ``log_kept_seconds``: how long the
    server keeps the history that increments are taken of; None where no time is set, or nobody looked.
    """

    snapshot: str  # "exported snapshot", "single transaction", "backup api"
    standby: bool = False
    lsn: str | None = None
    binlog_file: str | None = None
    binlog_position: Count | None = None
    gtid: str | None = None
    log_kept_seconds: Count | None = None


class TableInventory(SidecarModel):
    """One table as it went through the dump stream.

    ``checksum``: sum of the 64-bit xxh3 hashes of its rows as the dump printed them, modulo 2**64, 16 hex digits; the
    order of rows does not matter.
    """

    name: str  # as the engine qualifies it: "public.orders", "orders"
    rows: Count
    checksum: str | None = None


class DatabaseObject(SidecarModel):
    """An object of the system catalogue: table, view, routine, trigger, event, sequence, index …"""

    kind: str
    name: str


class Inventory(SidecarModel):
    """What the backup holds: tables counted in the stream, objects listed independently in the same snapshot."""

    tables: tuple[TableInventory, ...] = ()
    objects: tuple[DatabaseObject, ...] = ()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class Cipher(SidecarModel):
    """How a part is encrypted. ``name``: Tink's name of the streaming AEAD. ``key_id``: the data key's fingerprint.

    The data key itself is wrapped in the state (:class:`WrappedKey`), never here: a rotation re-wraps it.
    """

    name: str
    key_id: str


class Part(SidecarModel):
    """One stored file. ``path`` is a bare name inside the storage's ``database/`` folder.

    ``stream``: which of the dump's streams these bytes are of; a parallel dump has several.
    """

    path: BareFileName
    stream: str = "main"
    stored_bytes: Count
    stored_sha256: Sha256
    plain_bytes: Count
    plain_sha256: Sha256
    compression: Compression
    level: Count | None = None
    cipher: Cipher | None = None


def by_stream(parts: Sequence[Part]) -> dict[str, tuple[Part, ...]]:
    """The parts of each stream, both in their order."""
    names = dict.fromkeys(part.stream for part in parts)
    return {name: tuple(part for part in parts if part.stream == name) for name in names}


class Chain(SidecarModel):
    """Where an incremental stands; a full that can anchor one has only ``to``. Positions are the engine's own text."""

    base_id: BackupId | None = None
    parent_id: BackupId | None = None
    from_position: str | None = None
    to_position: str | None = None


class StockCommand(SidecarModel):
    """A command that restores this backup with stock tools alone; run in the folder that holds the parts."""

    description: str
    command: str


class RunInfo(SidecarModel):
    """Who made the backup: a person at a terminal, or an Airflow task."""

    origin: str  # "cli" or "airflow"
    actor: str = ""
    host: str = ""
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: Annotated[int, Field(ge=-1, le=LARGEST)] | None = None  # -1: not mapped
    try_number: Count | None = None


class Manifest(SidecarModel):
    """The commit point of a backup: published once, complete and hashed, and never changed."""

    manifest_version: int = MANIFEST_VERSION
    id: BackupId
    entry: Annotated[str, Field(pattern=ENTRY_PATTERN)]
    databases: Annotated[tuple[str, ...], Field(min_length=1)]
    scope: Scope = Scope.DATABASE
    method: Method = Method.LOGICAL
    engine: EngineName
    type: BackupType
    format: str  # what the plain bytes are: "pg_dump custom", "pg_dump plain, data", "sqlite image"
    created_at: Moment
    finished_at: Moment
    recovery_point: Moment
    server: ServerInfo
    tools: tuple[ToolInfo, ...] = ()
    consistency: Consistency
    chain: Chain | None = None
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]
    inventory: Inventory
    excluded_tables: tuple[str, ...] = ()  # whose rows were left out; the inventory has them with 0 rows
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what whoever keeps or restores it should know, though nothing is wrong
    estimated_plain_bytes: Count | None = None
    stock_restore: tuple[StockCommand, ...] = ()
    run: RunInfo
    retention_class: BackupType
    retention_days: Count
    required_proof: VerificationLevel = VerificationLevel.RESTORE
    safety: bool = False  # of what a restore was about to replace: never what "latest" means

    @model_validator(mode="after")
    def _totals_fit(self) -> Self:
        if max(self.size_bytes, self.plain_bytes, self.inventory.rows) > LARGEST:
            raise ValueError(f"sizes and rows must add up to {LARGEST} at most")
        return self

    @property
    def size_bytes(self) -> int:
        return sum(part.stored_bytes for part in self.parts)

    @property
    def plain_bytes(self) -> int:
        return sum(part.plain_bytes for part in self.parts)

    @property
    def streams(self) -> dict[str, tuple[Part, ...]]:
        """The dump's streams by name, in the order of loading, each with the parts whose plain bytes make it up."""
        return by_stream(self.parts)

    @property
    def duration_seconds(self) -> float:
        return (self.finished_at - self.created_at).total_seconds()

    @model_validator(mode="after")
    def _owns_its_parts(self) -> Self:
        """What deletes or reads a backup's parts goes by these names: none may be another backup's."""
        for part in self.parts:
            if not part.path.startswith(f"{self.id}."):
                raise ValueError(f"the part {part.path} is not one of {self.id}")
        return self

    def to_json(self) -> bytes:
        return dump(self)

    @classmethod
    def from_json(cls, document: bytes, *, source: str) -> Self:
        """:raises ManifestError: not JSON, not a manifest, or of a newer major version."""
        return load(cls, document, source, "manifest_version", MANIFEST_VERSION)
