"""What a whole server holds, by its catalogues: the same asked of a source and of what was rebuilt of its backup."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from db_backup.engines.postgres.chain.source import user_databases
from db_backup.engines.postgres.inventory import Catalogue, read_catalogue
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.session import MissingDatabase, connected, is_scratch, rows
from db_backup.errors import AccessDenied, PrivilegeMissing
from db_backup.manifest import DatabaseObject, Inventory, Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

# A large object comes and goes like a row; which subscriptions there are, only a superuser may know.
_LEFT_OUT = frozenset({"large objects", "subscription"})
# ``comparable`` reads it out of a manifest again.
_PARTIAL = "The inventory is not whole, so that a proof compares only what it names: "


@dataclass(frozen=True)
class Contents:
    """:param unread: databases that this user may not enter."""

    databases: tuple[str, ...]
    objects: tuple[DatabaseObject, ...]
    unlogged: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def read_contents(connection: ConnectionInfo, *, entry: str, cancellation: Cancellation) -> Contents:
    """Of the server that the connection leads to, one database after the other."""
    with connected(connection, entry=entry, cancellation=cancellation) as link:
        names = user_databases(link)
        roles = rows(link, "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_'")
    ours = {connection.login} if is_scratch(connection) else set()  # was made to look into what was rebuilt
    objects = [DatabaseObject(kind="role", name=str(role)) for (role,) in roles if role not in ours]
    there, unlogged, unread, extensions = [], [], [], set()
    for name in names:
        try:
            catalogue = _read(dataclasses.replace(connection, database=name), entry, cancellation)
        except MissingDatabase:
            continue  # it was dropped a moment ago
        there.append(name)
        objects.append(DatabaseObject(kind="database", name=name))
        if catalogue is None:
            unread.append(name)
            continue
        kept = [item for item in catalogue.objects if item.kind not in _LEFT_OUT]
        objects += [DatabaseObject(kind=item.kind, name=f"{name}.{item.name}") for item in kept]
        unlogged += [".".join((name, *table.name)) for table in catalogue.tables if table.unlogged]
        extensions |= {item.name for item in kept if item.kind == "extension"}
    objects.sort(key=lambda item: (item.kind, item.name))
    return Contents(tuple(there), tuple(objects), tuple(unlogged), tuple(sorted(extensions)), tuple(unread))


def _read(connection: ConnectionInfo, entry: str, cancellation: Cancellation) -> Catalogue | None:
    """None: this user may not enter the database."""
    try:
        with connected(connection, entry=entry, cancellation=cancellation) as link:
            return read_catalogue(link)
    except (AccessDenied, PrivilegeMissing):
        return None


def described(before: Contents, after: Contents) -> tuple[Inventory, tuple[str, ...]]:
    """The inventory of a moment between two readings, and what is to be said of it.

    Where somebody made or dropped objects meanwhile, it names those alone that were there all the time.
    """
    there = set(after.objects)
    lasting = tuple(item for item in before.objects if item in there)
    warnings = []
    if before.objects != after.objects:
        changed = sorted({item.name for item in {*before.objects} ^ there})
        warnings.append(f"{_PARTIAL}objects were made or dropped during the backup, such as {some(changed)}.")
    if before.unread:
        warnings.append(f"{_PARTIAL}this user may not enter {some(before.unread)}.")
    if before.unlogged:
        warnings.append(f"Unlogged tables leave nothing in the WAL, and come back empty: {some(before.unlogged)}.")
    if before.extensions:
        warnings.append(
            f"These extensions must be installed where a database is taken out of this backup: "
            f"{', '.join(before.extensions)}."
        )
    return Inventory(objects=lasting), tuple(warnings)


def comparable(objects: Sequence[DatabaseObject], manifest: Manifest) -> Inventory:
    """What was found in a rebuilt server, as the manifest's inventory can be compared with it."""
    if any(warning.startswith(_PARTIAL) for warning in manifest.warnings):
        named = set(manifest.inventory.objects)
        return Inventory(objects=tuple(item for item in objects if item in named))
    return Inventory(objects=tuple(objects))
