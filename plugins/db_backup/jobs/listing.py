"""What lies in the storages, by name: one way to look, which passes over those that do not answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from db_backup import naming
from db_backup.jobs.reach import Unanswered, ask, silence
from db_backup.jobs.workspace import Workspace
from db_backup.storage import Storage


@dataclass(frozen=True)
class Listing:
    """The names in one storage, at one moment. ``part_sizes``: in bytes, by bare file name."""

    storage: Storage
    manifests: frozenset[str]
    states: frozenset[str]
    part_sizes: Mapping[str, int]


@dataclass(frozen=True)
class Survey:
    """The storages that answered, in configured order, and those that did not."""

    listings: tuple[Listing, ...]
    unasked: tuple[Unanswered, ...]

    def published(self, entries: Collection[str] | None = None) -> set[str]:
        """The ids of the backups that have a manifest; of these entries, None: of all."""
        ids = set[str]().union(*(listing.manifests for listing in self.listings))
        return ids if entries is None else {backup_id for backup_id in ids if naming.entry_of(backup_id) in entries}

    def holding(self, backup_id: str) -> tuple[Listing, ...]:
        """The storages that have its manifest."""
        return tuple(listing for listing in self.listings if backup_id in listing.manifests)

    def storages_of(self, backup_id: str) -> tuple[Storage, ...]:
        """The same, as storages."""
        return tuple(listing.storage for listing in self.holding(backup_id))


def survey(
    workspace: Workspace,
    storages: Sequence[Storage] | None = None,
    *,
    parts: bool = True,
    look: Callable[[Storage], Listing] | None = None,
) -> Survey:
    """List these storages; None: all of them.

    :param parts: with the sizes of the stored files, of which there may be many.
    :param look: how to list one, where more is to be done with it.
    :raises StorageError: none of them answers.
    """
    look = look or partial(listed, parts=parts)
    listings, unasked = [], []
    for storage in workspace.storages.values() if storages is None else storages:
        answer = ask(workspace, storage, look)
        if isinstance(answer, Unanswered):
            unasked.append(answer)
        else:
            listings.append(answer)
    if unasked and not listings:
        raise unasked[0].error if len(unasked) == 1 else silence(unasked, "No storage can be read")
    return Survey(tuple(listings), tuple(unasked))


def listed(storage: Storage, *, parts: bool = True) -> Listing:
    """:raises StorageError:"""
    manifests, states = set(), set()
    for item in storage.list(naming.METADATA_FOLDER):
        name = item.key.rpartition("/")[2]
        backup_id = naming.backup_id_of_file(name)
        if naming.entry_of(backup_id) is None:
            continue
        if name == f"{backup_id}.json":
            manifests.add(backup_id)
        elif name == f"{backup_id}.state.json":
            states.add(backup_id)
    sizes: dict[str, int] = {}
    if parts:  # after the manifests: a backup's parts are there before its manifest is
        sizes = {item.key.rpartition("/")[2]: item.size_bytes for item in storage.list(naming.DATABASE_FOLDER)}
    return Listing(storage, frozenset(manifests), frozenset(states), sizes)
