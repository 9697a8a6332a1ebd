"""What pg_dump writes to a disk of this machine before we have it: a directory archive whole, a tar table by table.

For a tar it is libc's ``tmpfile()`` that chooses the place (``src/bin/pg_dump/pg_backup_tar.c``, ``tarOpen``), and that
asks no setting and no TMPDIR (tmpfile(3)).
"""

# ruff: noqa: S608 - the query is put together from constants of ours
from __future__ import annotations

from pathlib import Path

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres.contents import TableName
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.inventory import PREAMBLE
from db_backup.engines.postgres.left_out import LeftOut
from db_backup.engines.postgres.preflight import estimated_bytes
from db_backup.engines.postgres.session import Connection, rows
from db_backup.engines.staging import SPACE_HINT, check_room, check_staging_room
from db_backup.errors import StorageFull
from db_backup.model import BackupType

_TEMPORARY = Path("/tmp")  # noqa: S108 - P_tmpdir of the C library, not a choice of ours
_TAR_HINT = f"Make room in {_TEMPORARY}, or set PGSQL_BACKUP_FORMAT=directory and BACKUP_STAGING_PATH."
_TABLE_SIZES = (
    PREAMBLE
    + """SELECT n.nspname, c.relname, pg_catalog.pg_table_size(c.oid)
    FROM pg_catalog.pg_class c JOIN schemas n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"""
)


def table_sizes(connection: Connection) -> dict[TableName, int]:
    """Bytes on disk of every table with rows of its own, without its indexes."""
    # A table that was dropped since the snapshot has no size any more.
    return {(schema, table): int(size or 0) for schema, table, size in rows(connection, _TABLE_SIZES)}


def refuse_without_room(
    connection: Connection,
    left_out: LeftOut,
    dump_format: DumpFormat,
    options: EngineOptions,
    entry: str,
    *,
    jobs: int,
) -> None:
    """:param jobs: how many tables may be written at the same time.
    :raises StorageFull: what pg_dump will write takes more than is free, as far as can be estimated.
    :raises ConfigurationError: BACKUP_STAGING_PATH cannot be used.
    """
    if not dump_format.is_tar or dump_format.type is BackupType.STRUCTURE:
        return
    sizes = table_sizes(connection)
    unwanted = sum(sizes.pop(name, 0) for name in left_out.tables)
    if dump_format.container is Container.DIRECTORY:
        needed = estimated_bytes(connection) - unwanted
        check_staging_room(options.staging_path, needed, f"The dump of '{entry}'", database=entry)
    else:
        needed = sum(sorted(sizes.values())[-jobs:])
        largest = "The largest table" if jobs == 1 else f"The {jobs} largest tables together"
        check_room(_TEMPORARY, needed, f"{largest} of '{entry}'", hint=_TAR_HINT, database=entry)


def ran_out_of_room(dump_format: DumpFormat, complaint: str, options: EngineOptions, entry: str) -> StorageFull | None:
    """The error to raise where pg_dump's complaint is that this machine's disk is full, and not the server's."""
    if not dump_format.is_tar or "No space left on device" not in complaint or "from server" in complaint:
        return None
    place, hint = (
        (options.staging_path, SPACE_HINT) if dump_format.container is Container.DIRECTORY else (_TEMPORARY, _TAR_HINT)
    )
    return StorageFull(f"{place} was filled by the dump of '{entry}'; nothing was kept.", hint=hint, database=entry)
