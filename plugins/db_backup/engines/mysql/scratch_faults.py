"""What goes wrong with a scratch server itself, and so proves nothing about the backup that it was given."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pymysql

from db_backup.engines.mysql.definers import wanted as is_scratch
from db_backup.errors import BackupError, LoadFailed, ScratchUnavailable, ServerUnreachable, SourceError
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo

# No room: 3 and 28 (a file cannot be written), 1021, 1114, and what engines say of it in 1030 and others.
# Gone: 1053, 1927, 2002, 2006, 2013.
_CODES = "3|28|168|1021|1053|1114|1927|2002|2006|2013"
_FAULT = re.compile(
    rf"(?:^|: |\bGot )error:? (?:{_CODES})\b|^\((?:{_CODES}),"  # as tools and servers print it, and pymysql
    r"|No space left|\b(?:errno|errcode): ?\"?28\b",
    re.IGNORECASE | re.MULTILINE,
)


@contextmanager
def scratch_faults(connection: ConnectionInfo, manifest: Manifest | None = None) -> Iterator[None]:
    """Errors of a real server pass through.

    :raises ScratchUnavailable: this is a scratch server, and it is full or gone.
    """
    try:
        yield
    except (LoadFailed, SourceError, pymysql.err.MySQLError) as error:
        if not is_scratch(connection) or not _is_fault(error):
            raise
        said = error.message if isinstance(error, BackupError) else str(error)
        raise ScratchUnavailable(
            f"The scratch server is full or has stopped: {said}",
            hint="Give BACKUP_SCRATCH_PATH more room, and see whether the machine is short of memory.",
            backup_id=manifest.id if manifest else None,
        ) from error


def _is_fault(error: Exception) -> bool:
    if isinstance(error, ServerUnreachable):
        return True
    return _FAULT.search(f"{error} {error.__cause__ or ''}") is not None
