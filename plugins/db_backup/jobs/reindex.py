"""The catalogue is an index: rebuilt from what lies in storage, and held against it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from db_backup import naming
from db_backup.errors import BackupError, ManifestError, ObjectMissing
from db_backup.jobs.acts import audited
from db_backup.jobs.roots import adopt_storages
from db_backup.jobs.sidecars import backup_ids, known_state, read_manifest, read_state
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo, State
from db_backup.storage import Storage


class CatalogProblem(BaseModel):
    """Something in a storage or in the catalogue that the other does not bear out."""

    model_config = ConfigDict(frozen=True)

    storage: str
    backup_id: str
    problem: str
    remedy: str


class CatalogReport(BaseModel):
    """``backups``: how many were read from the storages. ``catalog``: which catalogue, for people."""

    model_config = ConfigDict(frozen=True)

    catalog: str
    backups: int
    problems: tuple[CatalogProblem, ...]


def reindex_catalog(workspace: Workspace, *, run: RunInfo) -> CatalogReport:
    """Rebuild the index from every manifest and state. Sidecars that cannot be read are reported and left out."""
    with audited(workspace, "catalog", run) as act:
        problems: list[CatalogProblem] = []
        adopt_storages(workspace)
        indexed = workspace.catalog.replace_index(_pairs(workspace, problems))
        act.detail = f"reindexed {indexed} backups, {len(problems)} problems"
    return CatalogReport(catalog=workspace.catalog.name, backups=indexed, problems=tuple(problems))


def refresh_index(workspace: Workspace) -> tuple[CatalogProblem, ...]:
    """Let a catalogue that belongs to these storages alone know what lies in them now; writes to none of them.

    :raises StorageError:
    """
    problems: list[CatalogProblem] = []
    workspace.catalog.replace_index(_pairs(workspace, problems))
    return tuple(problems)


def check_catalog(workspace: Workspace) -> CatalogReport:
    """Hold catalogue and storages against each other; changes nothing."""
    problems: list[CatalogProblem] = []
    found = set()
    for storage in workspace.storages.values():
        files = {item.key: item.size_bytes for item in storage.list(naming.DATABASE_FOLDER)}
        # In this order: whoever holds no lock by now has published what there is of his backup among the files.
        at_work = {lock.entry for lock in workspace.catalog.locks()}
        published = set(backup_ids(storage))
        found |= published
        for manifest, state in _readable(storage, problems):
            if state.tombstone is not None:
                problems.append(_half_deleted(storage, manifest))
                continue
            for part in manifest.parts:
                key = naming.part_key(part.path)
                size = files[key] if key in files else _size_now(storage, key)  # published since they were listed
                if size != part.stored_bytes:
                    problems.append(_wrong_part(storage, manifest, part.path, size, part.stored_bytes))
        unclaimed = (key for key in sorted(files) if _id_of(key) not in published)
        problems.extend(_unclaimed(storage, key) for key in unclaimed if naming.entry_of(_id_of(key)) not in at_work)
    indexed = set(workspace.catalog.ids())
    problems.extend(
        CatalogProblem(
            storage="catalogue",
            backup_id=backup_id,
            problem="is in no storage" if backup_id in indexed else "is not in the catalogue",
            remedy="Run `db-backup catalog reindex`.",
        )
        for backup_id in sorted(indexed ^ found)
    )
    return CatalogReport(catalog=workspace.catalog.name, backups=len(found), problems=tuple(problems))


def _size_now(storage: Storage, key: str) -> int | None:
    try:
        return storage.stat(key).size_bytes
    except ObjectMissing:
        return None


def _pairs(workspace: Workspace, problems: list[CatalogProblem]) -> Iterator[tuple[Manifest, State]]:
    """Each backup once: from the first storage that holds it."""
    seen: set[str] = set()
    for storage in workspace.storages.values():
        for manifest, state in _readable(storage, problems):
            if manifest.id not in seen:
                seen.add(manifest.id)
                yield manifest, state


def _readable(storage: Storage, problems: list[CatalogProblem]) -> Iterator[tuple[Manifest, State]]:
    for backup_id in backup_ids(storage):
        try:
            manifest = read_manifest(storage, backup_id)
            try:
                state = read_state(storage, backup_id)
            except (ManifestError, ObjectMissing) as lost:
                problems.append(_lost_state(storage, backup_id, lost))
                state = known_state(storage, manifest)
            yield manifest, state
        except (ManifestError, ObjectMissing) as error:
            problems.append(
                CatalogProblem(storage=storage.name, backup_id=backup_id, problem=error.message, remedy=error.hint)
            )


def _lost_state(storage: Storage, backup_id: str, error: BackupError) -> CatalogProblem:
    return CatalogProblem(
        storage=storage.name,
        backup_id=backup_id,
        problem=f"its state is lost, and with it its proofs and pins: {error.message}",
        remedy="The backup itself is whole: verify it again, and pin it again if it was pinned.",
    )


def _half_deleted(storage: Storage, manifest: Manifest) -> CatalogProblem:
    return CatalogProblem(
        storage=storage.name,
        backup_id=manifest.id,
        problem="its deletion was interrupted, and is not finished",
        remedy="Run `db-backup cleanup`.",
    )


def _id_of(key: str) -> str:
    return naming.backup_id_of_file(key.rpartition("/")[2])


def _wrong_part(storage: Storage, manifest: Manifest, path: str, found: int | None, expected: int) -> CatalogProblem:
    problem = f"{path} is missing" if found is None else f"{path} has {found} bytes instead of {expected}"
    return CatalogProblem(
        storage=storage.name, backup_id=manifest.id, problem=problem, remedy="Restore the file from another copy."
    )


def _unclaimed(storage: Storage, key: str) -> CatalogProblem:
    name = key.rpartition("/")[2]
    return CatalogProblem(
        storage=storage.name,
        backup_id=_id_of(key),
        problem=f"{name} has no manifest: its backup was never published",
        remedy="Look at it, then remove the file by hand.",
    )
