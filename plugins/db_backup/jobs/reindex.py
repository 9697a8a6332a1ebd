"""The catalogue is an index: rebuilt from what lies in storage, and held against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from db_backup import naming
from db_backup.catalog import AuditAct, BackupQuery
from db_backup.errors import BackupError, ObjectMissing
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.copies import Copies
from db_backup.jobs.listing import Listing, Survey, listed, survey
from db_backup.jobs.looks import GONE
from db_backup.jobs.reach import Unanswered, refuse_second_name
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, RunInfo
from db_backup.storage import Storage
from db_backup.summary import BackupSummary


class CatalogProblem(FrozenModel):
    """Something in a storage or in the catalogue that the other does not bear out."""

    storage: str
    backup_id: str
    problem: str
    remedy: str


class CatalogReport(FrozenModel):
    """``backups``: how many were read from the storages. ``catalog``: which catalogue, for people."""

    catalog: str
    backups: int
    problems: tuple[CatalogProblem, ...]


def reindex_catalog(workspace: Workspace, *, run: RunInfo) -> CatalogReport:
    """Rebuild the index from every manifest and state. Sidecars that cannot be read are reported and left out.

    What only storages hold that do not answer stays as the catalogue knows it.

    :raises StorageNotMounted, StorageError: no storage answers.
    """
    with audited(workspace, AuditAct.CATALOG, run) as act:
        problems: list[CatalogProblem] = []
        listed = _adopted(workspace, problems)
        indexed = _reindexed(workspace, listed, problems)
        act.detail = f"reindexed {indexed} backups, {len(problems)} problems"
    return CatalogReport(catalog=workspace.catalog.name, backups=indexed, problems=tuple(problems))


def refresh_index(workspace: Workspace) -> tuple[CatalogProblem, ...]:
    """Let a catalogue that belongs to these storages alone know what lies in them now; writes to none of them.

    :raises StorageError: no storage answers.
    """
    problems: list[CatalogProblem] = []
    listed = survey(workspace, parts=False)
    problems += map(_silent, listed.unasked)
    _reindexed(workspace, listed, problems)
    return tuple(problems)


def check_catalog(workspace: Workspace) -> CatalogReport:
    """Hold catalogue and storages against each other; changes nothing.

    :raises StorageError: no storage answers.
    """
    # In this order: whoever holds no lock by the time of the second look has published what there is of his backup.
    files = survey(workspace)
    at_work = {lock.entry for lock in workspace.catalog.locks()}
    listed = survey(workspace, [listing.storage for listing in files.listings], parts=False)
    problems = [_silent(silent) for silent in (*files.unasked, *listed.unasked)]
    published = listed.published()
    known = {copies.backup_id: copies for copies in _known(workspace, listed, problems)}
    sizes = {listing.storage.name: listing.part_sizes for listing in files.listings}
    for listing in listed.listings:
        problems += _of_storage(listing, sizes[listing.storage.name], known)
        ids = {name: naming.backup_id_of_file(name) for name in sorted(sizes[listing.storage.name])}
        problems += [
            _unclaimed(listing.storage, name)
            for name, backup_id in ids.items()
            if backup_id not in listing.manifests and naming.entry_of(backup_id) not in at_work
        ]
    problems += _of_index(workspace, published, {silent.storage.name for silent in (*files.unasked, *listed.unasked)})
    return CatalogReport(catalog=workspace.catalog.name, backups=len(published), problems=tuple(problems))


def _adopted(workspace: Workspace, problems: list[CatalogProblem]) -> Survey:
    """The storages as they are mounted now, taken for the ones that the catalogue should know."""

    def adopt(storage: Storage) -> Listing:
        refuse_second_name(workspace, storage)
        workspace.catalog.remember_storage(storage.name, storage.storage_id, storage.location)
        return listed(storage, parts=False)

    found = survey(workspace, look=adopt)
    problems += map(_silent, found.unasked)
    return found


def _reindexed(workspace: Workspace, listed: Survey, problems: list[CatalogProblem]) -> int:
    """Returns how many backups the index holds now."""
    kept = _beyond_reach(workspace, listed) if listed.unasked else []
    known = list(_known(workspace, listed, problems))
    _remember_silent(workspace, listed, known)
    pairs = ((copies.found[0].manifest, copies.found[0].state) for copies in known if copies.found)
    return workspace.catalog.replace_index(pairs, kept=kept)


def _remember_silent(workspace: Workspace, listed: Survey, known: Sequence[Copies]) -> None:
    """A new catalogue knows a storage that does not answer by what the states say of their copies there.

    Otherwise an empty folder, where its disk is not mounted, would be taken for a storage that was never used.
    """
    for silent in listed.unasked:
        name = silent.storage.name
        told = [
            copy
            for copies in known
            for copy in (copies.state.copies if copies.state else ())
            if copy.storage == name and copy.storage_id
        ]
        if told and workspace.catalog.storage_id(name) is None:
            newest = max(told, key=lambda copy: copy.created_at)
            workspace.catalog.remember_storage(name, newest.storage_id, silent.storage.location)


def _beyond_reach(workspace: Workspace, listed: Survey) -> list[BackupSummary]:
    """What the catalogue knows of backups of which no storage that answers has a copy, though a silent one has."""
    silent = {unanswered.storage.name for unanswered in listed.unasked}
    published = listed.published()
    return [
        summary
        for summary in workspace.catalog.newest_first(BackupQuery())
        if summary.id not in published and silent.intersection(summary.storages)
    ]


def _known(workspace: Workspace, listed: Survey, problems: list[CatalogProblem]) -> Iterator[Copies]:
    """Every published backup as its copies know it; what is wrong with their sidecars is told."""

    def with_a_sidecar(backup_id: str) -> Sequence[Storage]:
        return [
            listing.storage
            for listing in listed.listings
            if backup_id in listing.manifests or backup_id in listing.states
        ]

    def without(backup_id: str) -> Sequence[Storage]:
        held = with_a_sidecar(backup_id)
        return [listing.storage for listing in listed.listings if listing.storage not in held]

    for backup_id, look in copies_ahead(workspace, sorted(listed.published()), with_a_sidecar, without=without):
        copies = look()
        problems += _of_sidecars(copies, with_a_sidecar(backup_id))
        yield copies


def _of_sidecars(copies: Copies, storages: Sequence[Storage]) -> Iterator[CatalogProblem]:
    backup_id = copies.backup_id
    held = {copy.storage.name for copy in copies.found}
    for storage in storages:
        if storage.name in copies.unreadable:
            error = copies.unreadable[storage.name]
            if storage.name in held:
                yield _lost_state(storage, backup_id, error, alone=not copies.own_states)
            else:
                yield CatalogProblem(
                    storage=storage.name, backup_id=backup_id, problem=error.message, remedy=error.hint
                )
        elif storage.name in held and storage.name not in copies.own_states:
            missing = f"there is no {naming.state_key(backup_id)}"
            yield _lost_state(storage, backup_id, missing, alone=not copies.own_states)


def _of_storage(listing: Listing, sizes: Mapping[str, int], known: Mapping[str, Copies]) -> Iterator[CatalogProblem]:
    """What is wrong with the copies in one storage."""
    for copies in known.values():
        copy = next((copy for copy in copies.found if copy.storage.name == listing.storage.name), None)
        if copy is None:
            if copies.found:
                yield from _missing(listing.storage, copies.found[0])
            continue
        if copy.state.tombstone is not None:
            yield _half_deleted(copy.storage, copy.manifest)
            continue
        own = copies.own_states.get(copy.storage.name)
        if own is not None and own.tombstone is not None:
            yield _entombed_alone(copy.storage, copy.manifest)
        for part in copy.manifest.parts:
            # One that was published since they were listed is looked at by itself.
            size = sizes[part.path] if part.path in sizes else _size_now(copy.storage, naming.part_key(part.path))
            if size != part.stored_bytes:
                yield _wrong_part(copy.storage, copy.manifest, part.path, size, part.stored_bytes)


def _of_index(workspace: Workspace, published: set[str], silent: set[str]) -> Iterator[CatalogProblem]:
    """Where the catalogue and the storages that answer differ."""
    indexed = set(workspace.catalog.ids())
    for backup_id in sorted(indexed ^ published):
        if backup_id in indexed and silent.intersection(workspace.catalog.get(backup_id).storages):
            continue  # its storage is told of by itself
        yield CatalogProblem(
            storage="catalogue",
            backup_id=backup_id,
            problem="is in no storage" if backup_id in indexed else "is not in the catalogue",
            remedy="Run `db-backup catalog reindex`.",
        )


def _size_now(storage: Storage, key: str) -> int | None:
    try:
        return storage.stat(key).size_bytes
    except ObjectMissing:
        return None


def _silent(unanswered: Unanswered) -> CatalogProblem:
    return CatalogProblem(
        storage=unanswered.storage.name,
        backup_id="",
        problem=f"it did not answer: {unanswered.error.message}",
        remedy=unanswered.error.hint or "Run it again when the storage answers.",
    )


def _missing(storage: Storage, other: Located) -> Iterator[CatalogProblem]:
    """Where there should be a copy."""
    for copy in other.state.copies:
        if copy.storage == storage.name and other.state.tombstone is None:
            yield CatalogProblem(
                storage=storage.name,
                backup_id=other.manifest.id,
                problem=f"its copy is not there: {copy.missing or GONE}",
                remedy=f"Run `db-backup replicate`: it lies in '{other.storage.name}'.",
            )


def _lost_state(storage: Storage, backup_id: str, why: BackupError | str, *, alone: bool) -> CatalogProblem:
    """:param alone: no other copy has its state either."""
    reason = why if isinstance(why, str) else why.message
    return CatalogProblem(
        storage=storage.name,
        backup_id=backup_id,
        problem=f"its state is lost, and with it its proofs and pins: {reason}"
        if alone
        else f"its state is lost here: {reason}",
        remedy="The backup itself is whole: verify it again, and pin it again if it was pinned."
        if alone
        else "Run `db-backup replicate`: the other copies have it.",
    )


def _half_deleted(storage: Storage, manifest: Manifest) -> CatalogProblem:
    return CatalogProblem(
        storage=storage.name,
        backup_id=manifest.id,
        problem="its deletion was interrupted, and is not finished",
        remedy="Run `db-backup cleanup`.",
    )


def _entombed_alone(storage: Storage, manifest: Manifest) -> CatalogProblem:
    return CatalogProblem(
        storage=storage.name,
        backup_id=manifest.id,
        problem="its state here says that it is being deleted, and another copy's does not: nothing was deleted",
        remedy="A deletion was killed as it began, or somebody changed the state: `db-backup replicate` puts it right.",
    )


def _wrong_part(storage: Storage, manifest: Manifest, path: str, found: int | None, expected: int) -> CatalogProblem:
    problem = f"{path} is missing" if found is None else f"{path} has {found} bytes instead of {expected}"
    return CatalogProblem(
        storage=storage.name, backup_id=manifest.id, problem=problem, remedy="Restore the file from another copy."
    )


def _unclaimed(storage: Storage, name: str) -> CatalogProblem:
    return CatalogProblem(
        storage=storage.name,
        backup_id=naming.backup_id_of_file(name),
        problem=f"{name} has no manifest: its backup was never published",
        remedy="Look at it, then remove the file by hand.",
    )
