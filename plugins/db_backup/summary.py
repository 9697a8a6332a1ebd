"""A backup as listings and programs see it: the `B` of SPEC §3, a pure function of manifest and state."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from db_backup import standing
from db_backup.frozen import FrozenModel
from db_backup.manifest import Copy, Manifest, Proof, State
from db_backup.model import (
    BackupStatus,
    BackupType,
    Compression,
    EngineName,
    Method,
    ProofResult,
    Scope,
    VerificationLevel,
)
from db_backup.storage_classes import needs_thaw


class PartSummary(FrozenModel):
    path: str
    size_bytes: int
    sha256: str


class CopySummary(FrozenModel):
    """One copy, there or wanted.

    ``missing``: why it is not there; ``damaged``: what its last reading showed that stands; empty: neither.
    ``proven_at``: when all of its bytes were last read and were as they were written.
    """

    storage: str
    missing: str = ""
    damaged: str = ""
    proven_at: datetime | None = None
    storage_class: str = ""


class BackupSummary(FrozenModel):
    """Field names are promises (SPEC §3): fields may be added, none renamed."""

    id: str
    database: str
    engine: EngineName
    type: BackupType
    status: BackupStatus
    created_at: datetime
    duration_seconds: float
    size_bytes: int
    plain_bytes: int
    compression: Compression
    encrypted: bool
    verified: bool
    proof_level: VerificationLevel | None
    proof_result: ProofResult | None
    proof_checked_at: datetime | None
    proof_reason: str
    restored_at: datetime | None = None  # restored for proof and found equal, with no failure since
    restore_seconds: float | None = None  # how long that restore took, where it was timed
    restore_setup_seconds: float = 0.0  # of these, what the scratch server took, whatever the backup's size
    storages: tuple[str, ...]
    missing_copies: tuple[str, ...] = ()  # storages that should hold it too; `db-backup replicate` sees to it
    damaged_copies: tuple[str, ...] = ()  # storages whose copy is not what was written; replication mends it too
    copies: tuple[CopySummary, ...] = ()
    cold: tuple[str, ...] = ()  # storages whose copy was archived to where it must be thawed before it can be read
    locked_until: dict[str, datetime] = Field(default_factory=dict)  # by storage, which lets nobody delete it before
    pinned: bool
    legal_hold: bool = False
    expires_at: datetime
    parts: tuple[PartSummary, ...]
    method: Method
    scope: Scope
    databases: tuple[str, ...]
    recovery_point: datetime
    base_id: str | None
    parent_id: str | None
    rows: int
    tables: int
    warnings: tuple[str, ...]
    safety: bool = False  # made before a restore replaced the database
    log_kept_seconds: int | None = None  # how long the server kept its log of changes when this was made

    @property
    def only_cold(self) -> bool:
        """Whether no copy can be read before it was thawed."""
        return bool(self.storages) and set(self.storages) <= set(self.cold)


def _seconds(restore: Proof | None) -> float | None:
    """Evidence is free text to readers: what is no number was not timed."""
    return _number(restore, "restore_seconds")


def _setup_seconds(restore: Proof | None) -> float:
    """The part of the whole that was neither fetching nor loading nor checking."""
    whole = _number(restore, "restore_seconds")
    parts = [_number(restore, f"{part}_seconds") for part in ("fetch", "load", "check")]
    if whole is None or None in parts:
        return 0.0
    return round(max(0.0, whole - sum(part for part in parts if part is not None)), 3)


def _number(restore: Proof | None, name: str) -> float | None:
    value = restore.evidence.get(name) if restore else None
    return float(value) if isinstance(value, int | float) else None


def _copy_summary(state: State, copy: Copy, damage: Proof | None) -> CopySummary:
    read = standing.newest_reading(state, copy.storage)
    return CopySummary(
        storage=copy.storage,
        missing=copy.missing,
        damaged=damage.reason if damage else "",
        proven_at=read.checked_at if read and not damage else None,
        storage_class=copy.storage_class,
    )


def summarise(manifest: Manifest, state: State) -> BackupSummary:
    proof = standing.newest_proof(state)
    restore = standing.newest_restore(state)
    damaged = standing.damaged_copies(state)
    return BackupSummary(
        id=manifest.id,
        database=manifest.entry,
        engine=manifest.engine,
        type=manifest.type,
        status=standing.status(manifest, state),
        created_at=manifest.created_at,
        duration_seconds=manifest.duration_seconds,
        size_bytes=manifest.size_bytes,
        plain_bytes=manifest.plain_bytes,
        compression=manifest.parts[0].compression,
        encrypted=all(part.cipher is not None for part in manifest.parts),
        verified=standing.is_verified(manifest, state),
        proof_level=standing.proof_level(state),
        proof_result=proof.result if proof else None,
        proof_checked_at=proof.checked_at if proof else None,
        proof_reason=proof.reason if proof else "",
        restored_at=restore.checked_at if restore else None,
        restore_seconds=_seconds(restore),
        restore_setup_seconds=_setup_seconds(restore),
        storages=tuple(copy.storage for copy in state.present),
        missing_copies=tuple(copy.storage for copy in state.missing),
        damaged_copies=tuple(copy.storage for copy in state.present if copy.storage in damaged),
        copies=tuple(_copy_summary(state, copy, damaged.get(copy.storage)) for copy in state.copies),
        cold=tuple(copy.storage for copy in state.present if needs_thaw(copy.storage_class)),
        locked_until={copy.storage: copy.locked_until for copy in state.present if copy.locked_until},
        pinned=state.pinned,
        legal_hold=state.legal_hold,
        expires_at=standing.expires_at(manifest),
        parts=tuple(
            PartSummary(path=part.path, size_bytes=part.stored_bytes, sha256=part.stored_sha256)
            for part in manifest.parts
        ),
        method=manifest.method,
        scope=manifest.scope,
        databases=manifest.databases,
        recovery_point=manifest.recovery_point,
        base_id=manifest.chain.base_id if manifest.chain else None,
        parent_id=manifest.chain.parent_id if manifest.chain else None,
        rows=manifest.inventory.rows,
        tables=len(manifest.inventory.tables),
        warnings=manifest.warnings,
        safety=manifest.safety,
        log_kept_seconds=manifest.consistency.log_kept_seconds,
    )
