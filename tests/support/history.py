"""Backups that were made long ago: whole ones in a real storage, though no server was asked for them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from db_backup import naming
from db_backup.jobs.roots import ready_storages
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Chain, Copy, Manifest, State
from db_backup.model import BackupType, ProofResult, VerificationLevel, utc_now
from support.factories import make_manifest, make_proof, make_state

DAYS = {BackupType.FULL: 30, BackupType.INCREMENTAL: 7, BackupType.STRUCTURE: 90, BackupType.DATA: 30}


def past_backup(
    age_days: float,
    *,
    entry: str = "shop",
    type: BackupType = BackupType.FULL,
    after: Manifest | None = None,
    result: ProofResult | None = ProofResult.PASSED,
    state: dict[str, Any] | None = None,
    **manifest: Any,
) -> tuple[Manifest, State]:
    """A backup of that age with that proof (None: never tried).

    :param after: the backup that it follows in its chain.
    """
    created_at = (utc_now() - timedelta(days=age_days)).replace(microsecond=0)
    chain = None
    if after is not None:
        base = after.chain.base_id if after.chain and after.chain.base_id else after.id
        chain = Chain(base_id=base, parent_id=after.id)
    made = make_manifest(
        entry=entry,
        type=type,
        created_at=created_at,
        **{"retention_days": DAYS[type], "chain": chain, **manifest},
    )
    proofs = ()
    if result is not None:
        level = VerificationLevel.RESTORE
        proofs = (make_proof(level=level, result=result, checked_at=created_at + timedelta(minutes=5)),)
    return made, make_state(made, *proofs, **(state or {}))


def publish(
    workspace: Workspace,
    pairs: Iterable[tuple[Manifest, State]],
    *,
    index: bool = True,
    storages: tuple[str, ...] = ("local",),
) -> list[str]:
    """Put them into these storages, parts first and manifest last, and into the catalogue; returns their ids."""
    places = ready_storages(workspace, storages)
    ids = []
    for manifest, state in pairs:
        for storage in places:
            for part in manifest.parts:
                sink = storage.open_sink(naming.part_key(part.path))
                sink.write(bytes(part.stored_bytes))
                sink.commit()
            storage.create(naming.state_key(manifest.id), state.to_json())
            storage.create(naming.manifest_key(manifest.id), manifest.to_json())
        if index:
            workspace.catalog.record(manifest, state)
        ids.append(manifest.id)
    return ids


def spread_over(pair: tuple[Manifest, State], *storages: str) -> tuple[Manifest, State]:
    """The same backup, with a copy in each of these storages."""
    manifest, state = pair
    copies = tuple(Copy(storage=name, storage_id="", created_at=manifest.finished_at) for name in storages)
    return manifest, state.model_copy(update={"copies": copies})
