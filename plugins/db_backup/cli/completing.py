"""What the shell may complete: looked up quickly, and nothing at all where it cannot be."""

from __future__ import annotations

import click

from db_backup.errors import BackupError

_MOST = 100


def complete_backups(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of the newest backups that begin so."""
    from db_backup.jobs.catalogue import open_catalog
    from db_backup.settings import load_settings

    try:
        with open_catalog(load_settings()) as catalog:
            return catalog.newest_ids(incomplete, limit=_MOST)
    except BackupError:
        return []  # whoever presses Tab is in the middle of a line: an error has no place there


def complete_entries(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of entries that begin so."""
    from db_backup.config import load_config
    from db_backup.settings import load_settings

    try:
        return [name for name in load_config(load_settings()).entries if name.startswith(incomplete)]
    except BackupError:
        return []


def complete_storages(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of storages that begin so."""
    from db_backup.config import load_config
    from db_backup.settings import load_settings

    try:
        return [name for name in load_config(load_settings()).storages if name.startswith(incomplete)]
    except BackupError:
        return []
