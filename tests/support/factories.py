"""Manifests, states and proofs for tests: whole and plausible, with any field overridden."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from db_backup.manifest import (
    Consistency,
    Copy,
    DatabaseObject,
    Inventory,
    Manifest,
    Part,
    Proof,
    RunInfo,
    ServerInfo,
    State,
    StockCommand,
    TableInventory,
    ToolInfo,
)
from db_backup.model import BackupType, Compression, EngineName, ProofResult, VerificationLevel
from db_backup.naming import BackupName

MORNING = datetime(2026, 1, 31, 3, 0, 0, tzinfo=UTC)


def make_part(path: str, **overrides: Any) -> Part:
    """A gzip part of 4 kB stored and 16 kB plain, with hashes of its own."""
    fields: dict[str, Any] = {
        "path": path,
        "stored_bytes": 4096,
        "stored_sha256": hashlib.sha256(f"stored {path}".encode()).hexdigest(),
        "plain_bytes": 16384,
        "plain_sha256": hashlib.sha256(f"plain {path}".encode()).hexdigest(),
        "compression": Compression.GZIP,
        "level": 9,
    }
    return Part(**{**fields, **overrides})


def make_manifest(
    *,
    entry: str = "shop",
    type: BackupType = BackupType.FULL,
    created_at: datetime = MORNING,
    serial: int = 1,
    **overrides: Any,
) -> Manifest:
    """A logical PostgreSQL backup of one part and two tables; the id follows from the named parameters."""
    backup_id = str(BackupName(entry, type, created_at, serial))
    fields: dict[str, Any] = {
        "id": backup_id,
        "entry": entry,
        "databases": (entry,),
        "engine": EngineName.POSTGRES,
        "type": type,
        "format": "pg_dump custom",
        "created_at": created_at,
        "finished_at": created_at + timedelta(seconds=12.5),
        "recovery_point": created_at + timedelta(seconds=0.25),
        "server": ServerInfo(engine=EngineName.POSTGRES, flavour="PostgreSQL", version="15.20", identity="7310"),
        "tools": (ToolInfo(name="pg_dump", version="15.20"),),
        "consistency": Consistency(snapshot="exported snapshot", lsn="0/1A2B3C"),
        "parts": (make_part(f"{backup_id}.dump.gz"),),
        "inventory": Inventory(
            tables=(
                TableInventory(name="public.orders", rows=120, checksum="00000000000000aa"),
                TableInventory(name="public.users", rows=7, checksum="00000000000000bb"),
            ),
            objects=(
                DatabaseObject(kind="table", name="public.orders"),
                DatabaseObject(kind="view", name="public.sums"),
            ),
        ),
        "stock_restore": (StockCommand(description="Into a new database", command="gunzip -c … | pg_restore …"),),
        "run": RunInfo(origin="cli", actor="ada", host="tower"),
        "retention_class": type,
        "retention_days": 30,
    }
    fields |= overrides
    # The names of parts begin with the id; a test may give what follows it.
    own = f"{fields['id']}."
    fields["parts"] = tuple(
        part if part.path.startswith(own) else part.model_copy(update={"path": f"{own}{part.path}"})
        for part in fields["parts"]
    )
    return Manifest(**fields)


def make_proof(**overrides: Any) -> Proof:
    """A passed proof at level restore, ten minutes after ``MORNING``; ``reached`` follows ``level`` if it passed."""
    level = overrides.get("level", VerificationLevel.RESTORE)
    passed = overrides.get("result", ProofResult.PASSED) is ProofResult.PASSED
    fields: dict[str, Any] = {
        "level": level,
        "reached": level if passed else None,
        "result": ProofResult.PASSED,
        "checked_at": MORNING + timedelta(minutes=10),
        "duration_seconds": 3.5,
        "storage": "local",
    }
    return Proof(**{**fields, **overrides})


def make_state(manifest: Manifest, *proofs: Proof, **overrides: Any) -> State:
    """The state of that backup: one copy, in the storage ``local``, and these proofs."""
    fields: dict[str, Any] = {
        "id": manifest.id,
        "proofs": proofs,
        "copies": (Copy(storage="local", storage_id="3f2a", created_at=manifest.finished_at),),
    }
    return State(**{**fields, **overrides})
