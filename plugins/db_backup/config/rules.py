"""What the schema cannot say: names, references, combinations that cannot work, and features that are not there yet.

The rules read the file's plain content, so that one wrong key does not hide what they have to say about the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from db_backup.config.document import Document, Location
from db_backup.config.resolve import LOCAL_STORAGE, choose_compression, compression_of
from db_backup.model import COMPRESSION_LEVELS, BackupType, Compression, EngineName
from db_backup.naming import ENTRY_NAME
from db_backup.settings import Settings
from db_backup.settings.availability import (
    AVAILABLE_STORAGES,
    AVAILABLE_TYPES,
    NOT_YET_ENTRY_KEYS,
    NOT_YET_FILE_KEYS,
    NotYet,
)
from db_backup.settings.problems import Problem, did_you_mean, nearest

_Keys = Mapping[str, object]


def broken_rules(document: Document, settings: Settings) -> Iterator[Problem]:
    """Every problem that is not one of shape."""
    content = _mapping(document.content)
    yield from _names(document, content)
    yield from _storage_names(document, content)
    for key, not_yet in NOT_YET_FILE_KEYS.items():
        yield from _not_there(document, (key,), content.get(key), not_yet)
    defaults = _mapping(content.get("defaults"))
    yield from _entry_features(document, ("defaults",), defaults)
    inherited, problems = _compression(document, ("defaults",), defaults, compression_of(settings))
    yield from problems
    for section, name, keys in _entries(content):
        location = (section, name)
        yield from _combinations(document, location, keys, content)
        yield from _compression(document, location, keys, inherited)[1]
        yield from _storages_of(document, location, keys, content)
        if section not in NOT_YET_FILE_KEYS:
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
    for section in ("servers", "databases", "storages", "restore_targets"):
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


def _storage_names(document: Document, content: _Keys) -> Iterator[Problem]:
    if LOCAL_STORAGE in _mapping(content.get("storages")):
        what = "the storage 'local' is there by itself."
        yield document.problem(("storages", LOCAL_STORAGE), what, "Remove it, and set BACKUP_LOCAL_PATH instead.")


def _not_there(document: Document, location: Location, value: object, not_yet: NotYet) -> Iterator[Problem]:
    if not any(value == accepted and type(value) is type(accepted) for accepted in not_yet.accepted):
        yield _unavailable(document, location, not_yet.feature)


def _unavailable(document: Document, location: Location, feature: str) -> Problem:
    return document.problem(
        location, f"this asks for what this version does not have yet: {feature}.", "Remove it.", not_yet=True
    )


def _entry_features(document: Document, location: Location, keys: _Keys) -> Iterator[Problem]:
    for key, not_yet in NOT_YET_ENTRY_KEYS.items():
        outer, _, inner = key.rpartition(".")
        holder = _mapping(keys.get(outer)) if outer else keys
        yield from _not_there(document, (*location, *key.split(".")), holder.get(inner), not_yet)
    for index, name in enumerate(_items(keys.get("types"))):
        known = isinstance(name, str) and name in set(BackupType)
        if known and name not in AVAILABLE_TYPES and not _belongs_to_server(location, keys, name):
            yield _unavailable(document, (*location, "types", index), f"{name} backups")


def _belongs_to_server(location: Location, keys: _Keys, backup_type: object) -> bool:
    of_server_engine = keys.get("engine") in (EngineName.MYSQL, EngineName.POSTGRES)
    return location[0] == "databases" and of_server_engine and backup_type == BackupType.INCREMENTAL


def _combinations(document: Document, location: Location, keys: _Keys, content: _Keys) -> Iterator[Problem]:
    for key in ("types", "storages"):
        if keys.get(key) == []:
            yield document.problem((*location, key), "the list is empty.", "Name at least one, or remove the key.")
    for index, name in enumerate(_items(keys.get("types"))):
        if _belongs_to_server(location, keys, name):
            what = f"incremental backups of a {keys['engine']} database belong to its server."
            yield document.problem((*location, "types", index), what, "Make it a servers: entry.")
        elif name == BackupType.DATA:
            fix = "Remove it, and ask for them: `db-backup create --type data`, or the DAG backup_on_demand."
            yield document.problem((*location, "types", index), "no schedule takes data backups.", fix)
    if location[0] == "servers" and keys.get("engine") == EngineName.SQLITE:
        what = "a SQLite database is a file and has no server."
        yield document.problem((*location, "engine"), what, "Make it a databases: entry.")
    server, servers = keys.get("server"), _mapping(content.get("servers"))
    if isinstance(server, str) and server not in servers:
        fix = did_you_mean(nearest(server, servers)) or "Add it under servers:."
        yield document.problem((*location, "server"), f"there is no server '{server}' in this file.", fix)


def _storages_of(document: Document, location: Location, keys: _Keys, content: _Keys) -> Iterator[Problem]:
    known = {LOCAL_STORAGE, *_mapping(content.get("storages"))}
    for index, name in enumerate(_items(keys.get("storages"))):
        place = (*location, "storages", index)
        if not isinstance(name, str):
            continue
        if name not in known:
            fix = did_you_mean(nearest(name, known)) or f"Add it under storages: with its url, or use {LOCAL_STORAGE}."
            yield document.problem(place, f"there is no storage '{name}'.", fix)
        elif name not in AVAILABLE_STORAGES:
            yield _unavailable(document, place, "storage other than local")


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
