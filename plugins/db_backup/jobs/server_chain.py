"""The backups of a server that hold one of its databases too, by the catalogue."""

from __future__ import annotations

from db_backup.catalog import BackupQuery
from db_backup.config import Entry
from db_backup.errors import ConfigurationError
from db_backup.jobs.recovery import source_of
from db_backup.jobs.workspace import Workspace
from db_backup.summary import BackupSummary


def server_backups(workspace: Workspace, entry: Entry) -> tuple[BackupSummary, ...]:
    """Those of the server that this entry names, newest first: of chains in which its database is told of.

    None where it names no server, or where its connection cannot be had: nobody knows then what would hold it.
    """
    try:
        source = source_of(workspace, entry)
    except ConfigurationError:
        return ()
    if source is None:
        return ()
    found = tuple(workspace.catalog.newest_first(BackupQuery(database=source.entry)))
    # A database may be younger than the base: then an increment tells of it.
    chains = {one.base_id or one.id for one in found if source.database is None or source.database in one.databases}
    return tuple(one for one in found if (one.base_id or one.id) in chains)
