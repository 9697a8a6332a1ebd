"""Where an entry's backups are to lie."""

from __future__ import annotations

from db_backup.jobs.workspace import Workspace
from db_backup.model import LOCAL_STORAGE


def wanted_storages(workspace: Workspace, entry: str) -> tuple[str, ...]:
    """The storages that are to hold each of the entry's backups in the end; none of an entry that is not configured.

    The local one is not among them where its copy is to go once another storage has the backup.
    """
    configured = workspace.config.entries.get(entry)
    names = configured.storages if configured else ()
    return names if keeps_local_copy(workspace, names) else tuple(name for name in names if name != LOCAL_STORAGE)


def keeps_local_copy(workspace: Workspace, storages: tuple[str, ...]) -> bool:
    """Whether a local copy stays: a backup that is wanted nowhere else has no other.

    :param storages: those that a backup is written to.
    """
    return workspace.settings.backup_keep_local_copy or not set(storages) - {LOCAL_STORAGE}
