"""The two sidecars of a backup: the immutable manifest and the rewritable state (DESIGN, "Manifest and state").

Both are JSON. Unknown fields are kept, so that an older program never loses what a newer one wrote; a newer major
version is refused. Times are UTC, sizes are bytes, durations are seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from db_backup.errors import ManifestError
from db_backup.model import (
    ENTRY_PATTERN,
    BackupType,
    Compression,
    EngineName,
    Method,
    ProofResult,
    Scope,
    VerificationLevel,
)

MANIFEST_VERSION = 1
STATE_VERSION = 1
_LARGEST = 2**63 - 1  # integer that a catalogue holds


def _bare_file_name(value: str) -> str:
    if value in {"", ".", ".."} or not value.isprintable() or "/" in value or "\\" in value:
        raise ValueError("must be a bare file name, without a folder")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


BareFileName = Annotated[
    str,
    AfterValidator(_bare_file_name),
    WithJsonSchema({"type": "string", "pattern": r"^(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]+$"}),
]
BackupId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # names files: no dot, no folder
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Document(BaseModel):
    """Part of a sidecar: immutable, and it keeps fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ServerInfo(_Document):
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


class ToolInfo(_Document):
    """A client tool as it was used: its name and the version that it printed."""

    name: str
    version: str


class Consistency(_Document):
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


class TableInventory(_Document):
    """One table as it went through the dump stream.

    ``checksum``: sum of the 64-bit xxh3 hashes of its rows as the dump printed them, modulo 2**64, 16 hex digits; the
    order of rows does not matter.
    """

    name: str  # as the engine qualifies it: "public.orders", "orders"
    rows: Count
    checksum: str | None = None


class DatabaseObject(_Document):
    """An object of the system catalogue: table, view, routine, trigger, event, sequence, index …"""

    kind: str
    name: str


class Inventory(_Document):
    """What the backup holds: tables counted in the stream, objects listed independently in the same snapshot."""

    tables: tuple[TableInventory, ...] = ()
    objects: tuple[DatabaseObject, ...] = ()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


class Cipher(_Document):
    """How a part is encrypted. ``name``: Tink's name of the streaming AEAD. ``key_id``: the data key's fingerprint.

    The data key itself is wrapped in the state (:class:`WrappedKey`), never here: a rotation re-wraps it.
    """

    name: str
    key_id: str


class WrappedKey(_Document):
    """The backup's data key, wrapped for one recipient.

    ``recipient``: the key-encryption key's name in the configuration; ``key_id``: its fingerprint, which tells it from
    another of that name. ``kind``: ``local``, ``airflow``, ``public``, ``aws_kms`` or ``gcp_kms``. ``wrapped``: base64.
    """

    recipient: str
    kind: str
    key_id: str
    wrapped: str
    wrapped_at: Moment


class Part(_Document):
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


class Chain(_Document):
    """Where an incremental stands; a full that can anchor one has only ``to``. Positions are the engine's own text."""

    base_id: BackupId | None = None
    parent_id: BackupId | None = None
    from_position: str | None = None
    to_position: str | None = None


class StockCommand(_Document):
    """A command that restores this backup with stock tools alone; run in the folder that holds the parts."""

    description: str
    command: str


class RunInfo(_Document):
    """Who made the backup: a person at a terminal, or an Airflow task."""

    origin: str  # "cli" or "airflow"
    actor: str = ""
    host: str = ""
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: Annotated[int, Field(ge=-1, le=_LARGEST)] | None = None  # -1: not mapped
    try_number: Count | None = None


class Manifest(_Document):
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
        if max(self.size_bytes, self.plain_bytes, self.inventory.rows) > _LARGEST:
            raise ValueError(f"sizes and rows must add up to {_LARGEST} at most")
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
        return _dump(self)

    @classmethod
    def from_json(cls, document: bytes, *, source: str) -> Self:
        """:raises ManifestError: not JSON, not a manifest, or of a newer major version."""
        return _load(cls, document, source, "manifest_version", MANIFEST_VERSION)


class Difference(_Document):
    """One thing that a verification or restore found to be other than the manifest says."""

    kind: str  # "table", "object", "artefact", "check"
    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: expected {self.expected}, found {self.found}"


class Proof(_Document):
    """One verification: ``level`` is what was asked, ``reached`` what was really passed (None: not even checksum)."""

    level: VerificationLevel
    reached: VerificationLevel | None
    result: ProofResult
    checked_at: Moment
    duration_seconds: float
    storage: str
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    evidence: dict[str, Any] = Field(default_factory=dict)


class Copy(_Document):
    """Where one copy of the backup lies, or should lie.

    ``storage_id``: the root's `.storage-id` at the time of writing; empty where it could not be asked. ``missing``: why
    there is none there, though one is wanted; empty: there is one. ``storage_class``: where its parts were archived to;
    empty: they can be read at once. ``locked_until``: until when the storage lets nobody delete it.
    """

    storage: str
    storage_id: str
    created_at: Moment
    missing: str = ""
    storage_class: str = ""
    archived_at: Moment | None = None
    locked_until: Moment | None = None


class Tombstone(_Document):
    """Set before the parts are removed, so that a crash in between is finished, not forgotten."""

    marked_at: Moment
    reason: str
    actor: str


class State(_Document):
    """What changes about a backup after it was published. Rewritten atomically, never edited in place."""

    state_version: int = STATE_VERSION
    id: BackupId
    proofs: tuple[Proof, ...] = ()
    copies: tuple[Copy, ...] = ()
    pinned: bool = False
    legal_hold: bool = False
    suspect_reason: str | None = None
    wrapped_keys: tuple[WrappedKey, ...] = ()
    tombstone: Tombstone | None = None

    @property
    def present(self) -> tuple[Copy, ...]:
        """The copies that are there."""
        return tuple(copy for copy in self.copies if not copy.missing)

    @property
    def missing(self) -> tuple[Copy, ...]:
        """The copies that are wanted and not there; `db-backup replicate` makes them."""
        return tuple(copy for copy in self.copies if copy.missing)

    def to_json(self) -> bytes:
        return _dump(self)

    @classmethod
    def from_json(cls, document: bytes, *, source: str) -> Self:
        """:raises ManifestError: not JSON, not a state, or of a newer major version."""
        return _load(cls, document, source, "state_version", STATE_VERSION)


D = TypeVar("D", bound=BaseModel)


def _dump(document: BaseModel) -> bytes:
    return (json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def _load(cls: type[D], document: bytes, source: str, version_field: str, known: int) -> D:
    try:
        fields = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{source} is not a {cls.__name__.lower()}: {error}.", hint="Restore the file from another copy."
        ) from error
    version = fields.get(version_field) if isinstance(fields, dict) else None
    if type(version) is not int:  # true is no version
        raise ManifestError(
            f"{source} is not a {cls.__name__.lower()}: it has no {version_field}.",
            hint="Restore the file from another copy.",
        )
    if version > known:
        raise ManifestError(
            f"{source} has {version_field} {version!r}; this program knows up to {known}.",
            hint="Use the release of db-backup that wrote it, or a newer one.",
        )
    try:
        return cls.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ManifestError(
            f"{source} is not a valid {cls.__name__.lower()}: {where}: {first['msg']}.",
            hint="Restore the file from another copy.",
        ) from error
