"""What the schema cannot say: names, references, combinations that cannot work, and features that are not there yet.

The rules read the file's plain content, so that one wrong key does not hide what they have to say about the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from db_backup.config.document import Document, Location
from db_backup.config.resolve import (
    USUAL_TYPES,
    USUAL_TYPES_OF_SERVERS,
    choose_compression,
    compression_of,
)
from db_backup.config.storages import broken_storages, storage_names
from db_backup.model import COMPRESSION_LEVELS, LOCAL_STORAGE, BackupType, Compression, EngineName, Tier
from db_backup.naming import ENTRY_NAME
from db_backup.settings import Settings
from db_backup.settings.availability import NOT_YET_ENTRY_KEYS, NotYet
from db_backup.settings.problems import Problem, did_you_mean, nearest

_Keys = Mapping[str, object]
_SERVER_ENGINES = (EngineName.MYSQL, EngineName.POSTGRES)
WHOLE_POSTGRES = "a PostgreSQL server is copied with all its databases."

#: Keys of a database that mean nothing of a whole server, with the reason and the fix.
_NOT_OF_SERVERS: Mapping[str, tuple[str, str]] = {
    "exclude_tables": (
        "increments hold the changes of every table, so a server's full cannot leave one out.",
        "Remove it, or set it on a databases: entry.",
    ),
    "read_conn_id": (
        "a replica writes a history of its own, which increments of its primary cannot follow.",
        "Give conn_id the connection of the server whose history is to be kept, and remove this.",
    ),
    "protected": ("nothing is restored onto a whole server.", "Set it on the databases: entries of this server."),
    "checks": ("checks are asked of one database.", "Move them to the databases: entry that they are about."),
    "hooks": ("nothing is restored onto a whole server.", "Move them to the databases: entries of this server."),
}


def broken_rules(document: Document, settings: Settings) -> Iterator[Problem]:
    """Every problem that is not one of shape."""
    content = _mapping(document.content)
    yield from _names(document, content)
    yield from broken_storages(document, _mapping(content.get("storages")), settings)
    yield from _kinds_of_keys(document, content)
    defaults = _mapping(content.get("defaults"))
    yield from _entry_features(document, ("defaults",), defaults)
    inherited, problems = _compression(document, ("defaults",), defaults, compression_of(settings))
    yield from problems
    for section, name, keys in _entries(content):
        location = (section, name)
        yield from _combinations(document, location, keys)
        yield from _increments(document, location, keys)
        yield from _objectives(document, location, keys)
        if section == "servers":
            yield from _of_server(document, location, keys)
        else:
            yield from _of_database(document, location, keys, content)
        yield from _compression(document, location, keys, inherited)[1]
        yield from _storages_of(document, location, keys, content, settings)
        yield from _entry_features(document, location, keys)


def _mapping(value: object) -> _Keys:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _entries(content: _Keys) -> Iterator[tuple[str, str, _Keys]]:
    for section in ("servers", "databases"):
        for name, keys in _mapping(content.get(section)).items():
            yield section, name, _mapping(keys)


def _names(document: Document, content: _Keys) -> Iterator[Problem]:
    servers = _mapping(content.get("servers"))
    for section in ("servers", "databases", "storages", "keys", "restore_targets"):
        for name in _mapping(content.get(section)):
            location = (section, name)
            if not ENTRY_NAME.fullmatch(name):
                valid = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:48]
                rule = "Use lower-case letters, digits, - and _, at most 48 of them, the first a letter or a digit"
                fix = f"{rule}: {valid}." if valid else f"{rule}."
                yield document.problem(location, f"'{name}' cannot be a name.", fix)
            elif section == "databases" and name in servers:
                line = document.line_of(("servers", name))
                yield document.problem(location, f"line {line} has a server of this name.", "Rename one of them.")


def _kinds_of_keys(document: Document, content: _Keys) -> Iterator[Problem]:
    for name, value in _mapping(content.get("keys")).items():
        keys, location = _mapping(value), ("keys", name)
        given = [key for key in ("file", "conn_id", "kms") if keys.get(key) is not None]
        if not given:
            fix = "Give it file: (a key file), conn_id: (a connection that holds it) or kms: (a key service's address)."
            yield document.problem(location, "this says nowhere where the key is.", fix)
        elif "file" in given and len(given) > 1:
            what = f"a key is of one kind, and this is of {len(given)}: {', '.join(given)}."
            yield document.problem(location, what, "Keep one of them, or make them keys of different names.")


def _not_there(document: Document, location: Location, value: object, not_yet: NotYet) -> Iterator[Problem]:
    if not any(value == accepted and type(value) is type(accepted) for accepted in not_yet.accepted):
        yield _unavailable(document, location, not_yet.feature)


def _unavailable(document: Document, location: Location, feature: str) -> Problem:
    return document.problem(
        location, f"this asks for what this version does not have yet: {feature}.", "Remove it.", not_yet=True
    )


def _entry_features(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    for key, not_yet in NOT_YET_ENTRY_KEYS.items():
        yield from _not_there(document, (*location, key), keys.get(key), not_yet)


def _belongs_to_server(location: Location, keys: _Keys, backup_type: object) -> bool:
    of_server_engine = keys.get("engine") in _SERVER_ENGINES
    return location[0] == "databases" and of_server_engine and backup_type == BackupType.INCREMENTAL


def _combinations(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    for key in ("types", "storages", "databases"):
        if keys.get(key) == []:
            yield document.problem((*location, key), "the list is empty.", "Name at least one, or remove the key.")
    for index, name in enumerate(_items(keys.get("types"))):
        if _belongs_to_server(location, keys, name):
            what = f"incremental backups of a {keys['engine']} database belong to its server."
            yield document.problem((*location, "types", index), what, "Make it a servers: entry.")
        elif name == BackupType.DATA:
            fix = "Remove it, and ask for them: `db-backup create --type data`, or the DAG backup_on_demand."
            yield document.problem((*location, "types", index), "no schedule takes data backups.", fix)


def _increments(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    """What goes with increments, and what needs them."""
    given = _items(keys.get("types"))
    types = given or list(USUAL_TYPES_OF_SERVERS if location[0] == "servers" else USUAL_TYPES)
    if BackupType.INCREMENTAL in types and BackupType.FULL not in types:
        place = (*location, "types", types.index(BackupType.INCREMENTAL))
        yield document.problem(place, "increments follow a full backup.", "Add full to its types.")
    if keys.get("tier") == Tier.CRITICAL and BackupType.INCREMENTAL not in types:
        of_server = location[0] == "databases" and keys.get("engine") in _SERVER_ENGINES
        fix = "Give that tier to its servers: entry." if of_server else "Add incremental to its types."
        what = "critical entries are backed up every five minutes, by increments, and this one takes none."
        yield document.problem((*location, "tier"), what, fix)


def _objectives(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    given = _mapping(keys.get("objectives"))
    place = (*location, "objectives")
    if given.get("window") is not None and given.get("rpo_minutes") is None:
        what = "a window is when rpo_minutes holds, and there is none."
        yield document.problem((*place, "window"), what, "Add rpo_minutes, such as rpo_minutes: 60.")
    if given.get("otherwise") is not None and given.get("window") is None:
        fix = 'Add a window, such as window: "Mon-Fri 09:00-18:00".'
        yield document.problem((*place, "otherwise"), "this holds outside of a window, and there is none.", fix)


def _of_server(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    for key, (what, fix) in _NOT_OF_SERVERS.items():
        if keys.get(key) not in (None, False, [], {}):
            yield document.problem((*location, key), what, fix)
    if BackupType.STRUCTURE in _items(keys.get("types")):
        place = (*location, "types", _items(keys["types"]).index(BackupType.STRUCTURE))
        fix = "Remove it, and take structure backups of its databases: entries."
        yield document.problem(place, "a server has full and incremental backups alone.", fix)
    if keys.get("engine") == EngineName.SQLITE:
        what = "a SQLite database is a file and has no server."
        yield document.problem((*location, "engine"), what, "Make it a databases: entry.")
    if keys.get("engine") == EngineName.POSTGRES and _items(keys.get("databases")):
        yield document.problem((*location, "databases"), WHOLE_POSTGRES, "Write databases: all.")


def _of_database(document: Document, location: Location, keys: _Keys, content: _Keys) -> Iterator[Problem]:
    if BackupType.INCREMENTAL in _items(keys.get("types")) and _items(keys.get("exclude_tables")):
        what = "increments copy pages of the file, whichever table they are of."
        fix = "Remove it, or incremental from its types."
        yield document.problem((*location, "exclude_tables"), what, fix)
    server, servers, place = keys.get("server"), _mapping(content.get("servers")), (*location, "server")
    if server is None:
        return
    if keys.get("engine") == EngineName.SQLITE:
        fix = "Remove it, and add incremental to its types."
        yield document.problem(place, "a SQLite database is a file and has no server.", fix)
    elif isinstance(server, str) and server not in servers:
        fix = did_you_mean(nearest(server, servers)) or "Add it under servers:."
        yield document.problem(place, f"there is no server '{server}' in this file.", fix)
    elif isinstance(server, str):
        engines = {keys.get("engine"), _mapping(servers[server]).get("engine")} - {None}
        if len(engines) > 1:
            line = document.line_of(("servers", server))
            what = f"the server in line {line} is of another engine than this database."
            yield document.problem(place, what, "Name the server that the database lies on.")


def _storages_of(
    document: Document, location: Location, keys: _Keys, content: _Keys, settings: Settings
) -> Iterator[Problem]:
    known = storage_names(_mapping(content.get("storages")), settings)
    for index, name in enumerate(_items(keys.get("storages"))):
        place = (*location, "storages", index)
        if isinstance(name, str) and name not in known:
            fix = did_you_mean(nearest(name, known)) or f"Add it under storages: with its url, or use {LOCAL_STORAGE}."
            yield document.problem(place, f"there is no storage '{name}'.", fix)


def _compression_named(value: object) -> Compression | None:
    return Compression(value) if isinstance(value, str) and value in set(Compression) else None


def _compression(
    document: Document, location: Location, keys: _Keys, inherited: tuple[Compression, int | None]
) -> tuple[tuple[Compression, int | None], list[Problem]]:
    compression = _compression_named(keys.get("compression"))
    level = keys.get("level")
    asked = level if isinstance(level, int) and not isinstance(level, bool) else None
    try:
        return choose_compression(inherited, compression, asked), []
    except ValueError as error:
        levels = COMPRESSION_LEVELS.get(compression or inherited[0])
        fix = f"Set it to {min(max(asked or 0, levels[0]), levels[-1])}." if levels else "Remove it."
        return inherited, [document.problem((*location, "level"), f"{error}.", fix)]
