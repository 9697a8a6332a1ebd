"""The backups that can lead to a database's past: its own, and the chains of its server."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from db_backup import naming
from db_backup.config import Entry
from db_backup.jobs.ahead import copies_ahead
from db_backup.jobs.listing import Survey, survey
from db_backup.jobs.reach import tell
from db_backup.jobs.sidecars import Located
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest
from db_backup.model import BackupType, Scope
from db_backup.recovery import Held, History, histories
from db_backup.standing import status

_LEADING = frozenset({BackupType.FULL, BackupType.INCREMENTAL})


@dataclass(frozen=True)
class Stored:
    """A backup where it was found. ``damage``: which of its files is not whole there, half a sentence; empty: none."""

    located: Located
    damage: str


@dataclass(frozen=True)
class Source:
    """Whose backups hold a database.

    ``entry``: the server's, or the database's own. ``database``: its name there; None: all that there are.
    """

    entry: str
    database: str | None = None


def source_of(workspace: Workspace, entry: Entry) -> Source | None:
    """The server by whose chain this database can be restored to any moment; None: it names none.

    :raises ConnectionNotFound, ConfigurationError:
    """
    server = workspace.server_of(entry)
    if server is None:
        return None
    return Source(server.name, workspace.connection(entry.conn_id, entry.engine).database)


def held_backups(workspace: Workspace, entries: Collection[str], listed: Survey | None = None) -> dict[str, Stored]:
    """The full backups and increments of these entries by id, each from the best storage that holds it whole.

    What cannot be read is left out: a link that is gone. `catalog check` tells of it.

    :param listed: what lies in the storages; None: it is looked up.
    :raises StorageError: no storage answers.
    """
    if listed is None:
        listed = survey(workspace)
        tell(workspace, listed.unasked)
    found: dict[str, Stored] = {}
    leading = (one for one in sorted(listed.published(entries)) if naming.parse_backup_id(one).type in _LEADING)
    for backup_id, copies in copies_ahead(workspace, leading, listed.storages_of):
        sizes = {listing.storage.name: listing.part_sizes for listing in listed.holding(backup_id)}
        stored = [Stored(copy, _damage(copy.manifest, sizes[copy.storage.name])) for copy in copies().found]
        if stored:
            found[backup_id] = next((one for one in stored if not one.damage), stored[0])
    return found


def _damage(manifest: Manifest, sizes: Mapping[str, int]) -> str:
    """By the names and sizes of its files: what they hold is for a verification to say."""
    for part in manifest.parts:
        size = sizes.get(part.path)
        if size is None:
            return f"{part.path} is gone"
        if size != part.stored_bytes:
            return f"{part.path} has {size:,} of {part.stored_bytes:,} bytes"
    return ""


def reachable(backups: Mapping[str, Stored], source: Source) -> tuple[History, ...]:
    """What the backups of a source lead to; of a server's, those that hold the database."""
    own = [stored for stored in backups.values() if stored.located.manifest.entry == source.entry]
    found = histories(map(_held, own))
    if source.database is None:
        return found
    return tuple(history for history in found if _holds(history, source.database))


def _held(stored: Stored) -> Held:
    manifest = stored.located.manifest
    return Held(manifest, status(manifest, stored.located.state), stored.damage)


def _holds(history: History, database: str) -> bool:
    """A database may be made after the base was: then an increment tells of it."""
    if history.base.scope is not Scope.SERVER:
        return True
    return any(database in link.databases for link in history.links)
