"""The trigger form of ``backup_restore``: what may be asked for; its first task finds out whether it can be done."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Param

from db_backup.config import load_config
from db_backup.errors import ConfigurationError
from db_backup.model import ENTRY_PATTERN, MOST_JOBS
from db_backup.settings import load_settings

_WHAT, _WHERE, _HOW = "What", "Where", "How"
_LONGEST_NAME = 4096  # bytes of a path on Linux

# An id, or the name of one of its files; never a path.
_BACKUP_PATTERN = r"^backup_[A-Za-z0-9_.-]{1,200}$"
_CONNECTION_PATTERN = r"^[^@]{1,250}$"  # an address with a password is none; the rest is for the first task to say
_NAME_PATTERN = r"^[^\x00-\x1f]+$"
_TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,15} ?(Z|UTC|[+-][0-9:]{2,6})?$"

log = logging.getLogger(__name__)


def restore_params() -> dict[str, Param]:
    """The form, in its order. Airflow refuses with status 400 what does not fit it, from REST as well."""
    entries, targets, storages = _configured()
    return {
        "database": _text(
            _WHAT,
            "An entry of backup.yaml. Where no backup is named: its newest good full backup.",
            pattern=ENTRY_PATTERN,
            examples=entries,
        ),
        "backup": _text(_WHAT, "The backup's id, as `db-backup list` shows it.", pattern=_BACKUP_PATTERN),
        "to_time": _text(
            _WHAT,
            "Back to this moment, such as 2026-01-31 14:05:00; without a zone it is one of BACKUP_TIMEZONE. "
            "`db-backup list --recovery` shows how far back that can be. Empty: what the backup holds.",
            pattern=_TIME_PATTERN,
        ),
        "source_database": _text(_WHAT, "Of a backup that holds several databases: this one.", pattern=_NAME_PATTERN),
        "tables": Param(
            None,
            type=["array", "null"],
            items={"type": "string", "minLength": 1, "pattern": _NAME_PATTERN},
            uniqueItems=True,
            section=_WHAT,
            description="Of a full backup only these tables, one a line. Empty: everything.",
        ),
        "to": _text(
            _WHERE,
            "A connection's id, or a restore target of backup.yaml. Empty: the server that the backup is of.",
            pattern=_CONNECTION_PATTERN,
            examples=targets,
        ),
        "new_name": _text(
            _WHERE,
            "The database there (SQLite: the file's whole path). Empty: the connection's own.",
            pattern=_NAME_PATTERN,
            maxLength=_LONGEST_NAME,
        ),
        "test": _choice(_WHERE, False, "Into a scratch server that is thrown away, and nowhere else."),
        "force": _choice(_HOW, False, "Replace what the target holds; somebody has to approve it."),
        "safety_backup": _choice(_HOW, True, "Back up what is replaced, before it is."),
        "with_owners": _choice(_HOW, False, "Bring owners and grants back too."),
        "from_storage": _text(
            _HOW,
            "Read the copies in this storage and no other. Empty: the best, or the next that can be read.",
            pattern=_NAME_PATTERN,
            examples=storages,
        ),
        "jobs": Param(
            None,
            type=["integer", "null"],
            minimum=1,
            maximum=MOST_JOBS,
            section=_HOW,
            description="How many streams load at the same time, where the backup's format lets them. Empty: one.",
        ),
    }


def _text(section: str, description: str, **schema: Any) -> Param:
    return Param(None, type=["string", "null"], section=section, description=description, **schema)


def _choice(section: str, default: bool, description: str) -> Param:
    return Param(default, type="boolean", section=section, description=description)


def _configured() -> tuple[list[str], list[str], list[str]]:
    """Entries, restore targets and storages; where the configuration is wrong, the run's first task says so."""
    try:
        config = load_config(load_settings())
    except ConfigurationError as error:
        log.warning("backup_restore offers no names, because the configuration is wrong: %s", error)
        return [], [], []
    return list(config.entries), list(config.restore_targets), list(config.storages)
