"""Reads ``backup.yaml``, tells everything that is wrong with it at once, and resolves what is right."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from db_backup.config.document import Document, dotted, parse_document, read_document
from db_backup.config.entry import Config
from db_backup.config.resolve import resolve_entries, resolve_entry, resolve_keys
from db_backup.config.rules import broken_rules
from db_backup.config.schema import UNSHOWN_KEYS, DatabaseKeys, DefaultKeys, FileKeys, keys_at
from db_backup.config.storages import contradictions, resolve_storages
from db_backup.errors import ConfigurationError
from db_backup.model import EngineName
from db_backup.settings import Settings
from db_backup.settings.demo import DEMO_CONN_ID, DEMO_ENTRY
from db_backup.settings.problems import Problem, did_you_mean, explain, nearest, refusal

_OF_DEMO = "the demo configuration (there is no backup.yaml)"
_OF_KIT = "backup.yaml of the kit"
_EXAMPLE = "For example:\n\nversion: 1\ndatabases:\n  shop:\n    conn_id: shop_db\n"


def load_config(settings: Settings, *, text: str | None = None) -> Config:
    """The configuration that BACKUP_CONFIG names; the demo's when nobody named a file and the default is not there.

    :param text: what a break-glass kit holds, in place of the file.
    :raises ConfigurationError: everything that is wrong with the file, with line, key and fix.
    :raises FeatureNotAvailable: all that is wrong is that it asks for what is not there yet.
    """
    if text is not None:
        return _config(parse_document(text, _OF_KIT), _OF_KIT, settings)
    path = settings.backup_config
    if not path.exists():
        source = settings.source_of("BACKUP_CONFIG")
        if source == "default":
            return _demo(settings)
        raise ConfigurationError(
            f"BACKUP_CONFIG ({source}) names {path}, and there is no such file.",
            hint="Create it (include/backup.example.yaml is a start), or remove BACKUP_CONFIG.",
        )
    shown = str(path.relative_to(settings.root)) if path.is_relative_to(settings.root) else str(path)
    return replace(_config(read_document(path, shown), shown, settings), path=path)


def _config(document: Document, shown: str, settings: Settings) -> Config:
    if not isinstance(document.content, dict):
        reason = "is empty" if document.content is None else "is not a mapping of keys and values"
        raise ConfigurationError(f"{shown} {reason}.", hint=_EXAMPLE)
    problems = [*document.problems, *broken_rules(document, settings)]
    try:
        keys = FileKeys.model_validate(document.content)
    except ValidationError as error:
        # Not chained: pydantic's own message would print every value.
        raise refusal(shown, problems + [_wrong(document, details) for details in error.errors()]) from None
    if problems:
        raise refusal(shown, problems)
    _refuse_contradictions(keys, settings)
    entries = resolve_entries(keys, settings)
    if not entries:
        raise ConfigurationError(f"{shown} has no entries: nothing would be backed up.", hint=_EXAMPLE)
    return Config(
        entries=entries,
        storages=resolve_storages(keys, settings),
        keys=resolve_keys(keys),
        restore_targets=keys.restore_targets or {},
        contacts=keys.contacts or {},
        project=keys.project or "",
        environment=keys.environment or "",
        name=shown,
    )


def _demo(settings: Settings) -> Config:
    _refuse_contradictions(FileKeys(), settings)
    keys = DatabaseKeys(conn_id=DEMO_CONN_ID, engine=EngineName.SQLITE)
    entry = resolve_entry(DEMO_ENTRY, keys, DefaultKeys(), settings)
    return Config(entries={DEMO_ENTRY: entry}, storages=resolve_storages(FileKeys(), settings), name=_OF_DEMO)


def _refuse_contradictions(keys: FileKeys, settings: Settings) -> None:
    if problems := list(contradictions(keys, settings)):
        raise refusal("Settings", problems)


def _wrong(document: Document, error: ErrorDetails) -> Problem:
    """One of pydantic's findings, as a person needs it."""
    location, kind = error["loc"], error["type"]
    key = dotted(location[-1:])
    if kind == "extra_forbidden":
        known = keys_at(location[:-1])
        fix = did_you_mean(nearest(key, known)) or f"Keys here: {', '.join(known)}."
        return document.problem(location, "there is no such key.", fix)
    if kind == "missing":
        fix = f"Add the id of its connection, such as {key}: shop_db." if key == "conn_id" else "Add it."
        return document.problem(location[:-1], f"{key} is missing.", fix)
    if location == ("version",):
        what = f"this program reads version 1 of the format, not {error['input']}."
        return document.problem(location, what, "Write version: 1, or install the release that the file is for.")
    what, fix = explain(error, show_value=not UNSHOWN_KEYS.intersection(location))
    if kind == "string_type" and isinstance(error["input"], bool | int | float):
        fix = "Put it in quotes."
    return document.problem(location, what, fix or _shape_fix(location, kind))


def _shape_fix(location: tuple[str | int, ...], kind: str) -> str:
    if kind == "model_type" and len(location) == 2:
        return "Indent its keys below it; it needs at least a conn_id."
    if kind == "tuple_type":
        return f"Write {dotted(location[-1:])}: [one, two]."
    if kind in {"greater_than_equal", "less_than_equal"}:
        return "Remove it to use its default."
    return "See include/backup.example.yaml."
