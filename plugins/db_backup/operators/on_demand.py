"""The trigger form of ``backup_on_demand``: what may be asked for, and whether it can be done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Param, task
from airflow.sdk.exceptions import AirflowFailException

from db_backup.config import Config, Entry, choose_compression, load_config
from db_backup.errors import BackupError, ConfigurationError, UsageError
from db_backup.model import COMPRESSION_LEVELS, ENTRY_PATTERN, LOCAL_STORAGE, MOST_DAYS, BackupType, Compression
from db_backup.operators.forms import refuse_unknown_keys
from db_backup.settings import load_settings

_WHAT, _HOW, _THEN = "What", "How", "Afterwards"
_AS_CONFIGURED = "Empty: as the configuration says."

log = logging.getLogger(__name__)


def on_demand_params() -> dict[str, Param]:
    """The form, in its order. Airflow refuses with status 400 what does not fit it, from REST as well."""
    default_type, entries, storages = _configured()
    types = [item.value for item in BackupType]
    highest = max(levels[-1] for levels in COMPRESSION_LEVELS.values())
    return {
        # An emptied multi-select sends null.
        "databases": Param(
            [],
            type=["array", "null"],
            items={"type": "string", "pattern": ENTRY_PATTERN},
            uniqueItems=True,
            examples=entries,
            section=_WHAT,
            description="Entries of backup.yaml. Empty: all that can take this type.",
        ),
        "type": Param(
            default_type,
            type="string",
            enum=types,
            section=_WHAT,
            description="full: everything; incremental: what has changed since the last backup; structure: the schema "
            "alone; data: the rows alone.",
        ),
        "compression": Param(
            None,
            type=["string", "null"],
            enum=[None, *(item.value for item in Compression)],
            section=_HOW,
            description=_AS_CONFIGURED,
        ),
        "level": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            maximum=highest,
            section=_HOW,
            description=f"gzip, bzip2 and xz 1 to 9, zstd 1 to 19, lz4 1 to 12. {_AS_CONFIGURED}",
        ),
        "storage": Param(
            None,
            type=["string", "null"],
            enum=[None, *storages],
            section=_HOW,
            description=f"Where the backups go. {_AS_CONFIGURED}",
        ),
        "retention": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            maximum=MOST_DAYS,
            section=_HOW,
            description="Days to keep these backups; in the cleanup that follows, all of these entries and this type. "
            + _AS_CONFIGURED,
        ),
        "encrypt": Param(
            None,
            type=["boolean", "null"],
            section=_HOW,
            description=f"Whether the backups are encrypted. {_AS_CONFIGURED}",
        ),
        "verify": Param(True, type="boolean", section=_THEN, description="Prove each backup by restoring it."),
        "cleanup": Param(
            True,
            type="boolean",
            section=_THEN,
            description="Delete old backups of these entries and this type whose days are over.",
        ),
    }


@task(retries=0)
def select_asked(params: Mapping[str, Any] | None = None, dag: Any = None, dag_run: Any = None) -> list[str]:
    """The entries that were asked for, once everything that was asked for can be: nothing is made by half."""
    asked = params or {}
    try:
        refuse_unknown_keys(dag.dag_id, dag_run.conf, dag.params)
        config = load_config(load_settings())
        entries = _entries(config, asked["databases"] or (), BackupType(asked["type"]))
        for entry in entries:
            compression = Compression(asked["compression"]) if asked["compression"] else None
            try:
                choose_compression((entry.compression, entry.level), compression, asked["level"])
            except ValueError as error:
                raise UsageError(f"'{entry.name}': {error}.", hint="Leave level empty for the usual one.") from error
    except BackupError as error:
        raise AirflowFailException(str(error)) from error
    return [entry.name for entry in entries]


def _entries(config: Config, names: Sequence[str], backup_type: BackupType) -> list[Entry]:
    """Those of these names; all that can take this type, where none are given.

    :raises UsageError: one of them cannot take it, or there is none that can.
    """
    named = [config.entry(name) for name in names]
    cannot = ", ".join(f"'{entry.name}'" for entry in named if not entry.can_take(backup_type))
    entries = named or [entry for entry in config.entries.values() if entry.can_take(backup_type)]
    if cannot or not entries:
        raise UsageError(
            f"There are no {backup_type} backups of {cannot or 'any entry of backup.yaml'}.",
            hint="Increments are of servers, and of SQLite databases whose types hold incremental; structure and data "
            "are of single databases.",
        )
    return entries


def _configured() -> tuple[str, list[str], list[str]]:
    """Default type, entries and storages; where the configuration is wrong, the run's first task says so."""
    try:
        settings = load_settings()
        config = load_config(settings)
    except ConfigurationError as error:
        log.warning("backup_on_demand offers no databases, because the configuration is wrong: %s", error)
        return BackupType.FULL.value, [], [LOCAL_STORAGE]
    return settings.backup_default_type.value, list(config.entries), list(config.storages)
