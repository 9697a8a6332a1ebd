"""The state: what changes about a backup after it was published."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from db_backup.manifest.documents import BackupId, Moment, SidecarModel, dump, load
from db_backup.model import ProofResult, VerificationLevel

STATE_VERSION = 1


class WrappedKey(SidecarModel):
    """The backup's data key, wrapped for one recipient.

    ``recipient``: the key-encryption key's name in the configuration; ``key_id``: its fingerprint, which tells it from
    another of that name. ``kind``: ``local``, ``airflow``, ``public``, ``aws_kms`` or ``gcp_kms``. ``wrapped``: base64.
    """

    recipient: str
    kind: str
    key_id: str
    wrapped: str
    wrapped_at: Moment


class Difference(SidecarModel):
    """One thing that a verification or restore found to be other than the manifest says."""

    kind: str  # "table", "object", "artefact", "check"
    name: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: expected {self.expected}, found {self.found}"


class Proof(SidecarModel):
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


class Copy(SidecarModel):
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


class Tombstone(SidecarModel):
    """Set before the parts are removed, so that a crash in between is finished, not forgotten."""

    marked_at: Moment
    reason: str
    actor: str


class State(SidecarModel):
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
        return dump(self)

    @classmethod
    def from_json(cls, document: bytes, *, source: str) -> Self:
        """:raises ManifestError: not JSON, not a state, or of a newer major version."""
        return load(cls, document, source, "state_version", STATE_VERSION)
