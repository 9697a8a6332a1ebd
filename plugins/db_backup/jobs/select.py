"""Which backups a request without names means."""

from __future__ import annotations

from collections.abc import Iterator

from db_backup.jobs.workspace import Workspace


def every_backup(workspace: Workspace) -> Iterator[str]:
    """The ids of all backups in the catalogue."""
    return workspace.catalog.ids()


def newest_backups(workspace: Workspace) -> Iterator[str]:
    """The id of the newest backup of each configured entry that has one, safety backups aside."""
    for name in workspace.config.entries:
        newest = workspace.catalog.newest(name)
        if newest is not None:
            yield newest.id
