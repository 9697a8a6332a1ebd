"""How a person restores a backup with the tools that every PostgreSQL has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres.filling import NO_TRIGGERS
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.restore import PSQL_FLAGS, STREAM_FLAGS, restore_flags
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, StockCommand, by_stream
from db_backup.model import BackupType

_UNPACKED = "restored.directory"


def stock_commands(parts: Sequence[Part], dump_format: DumpFormat, options: EngineOptions) -> tuple[StockCommand, ...]:
    """First the database, then its content; of rows alone, only those."""
    content = _content_commands(parts, dump_format, options)
    if dump_format.type is BackupType.DATA:
        return content
    return (
        StockCommand(description="Create an empty database", command="createdb --template=template0 restored"),
        *content,
    )


def _content_commands(
    parts: Sequence[Part], dump_format: DumpFormat, options: EngineOptions
) -> tuple[StockCommand, ...]:
    setting, description = "", "Load the backup into it"
    if dump_format.type is BackupType.DATA:
        setting = f"PGOPTIONS='{NO_TRIGGERS}' "
        description = "As a superuser, load the rows into a database that has the tables and no rows"
    if not dump_format.is_archive:
        load = shlex.join(["psql", *PSQL_FLAGS, "--single-transaction", "--dbname=restored"])
        return (StockCommand(description=description, command=f"{unpack_command(parts)} | {setting}{load}"),)
    flags = restore_flags(options, one_transaction=dump_format.type is BackupType.DATA)  # whatever its size
    if dump_format.container is Container.DIRECTORY:
        load = shlex.join(["pg_restore", "--format=directory", *flags, "--dbname=restored", _UNPACKED])
        return (
            StockCommand(
                description="Take the backup's directory out of its tar",
                command=f"mkdir {_UNPACKED} && {unpack_command(parts)} | tar --extract --directory={_UNPACKED}",
            ),
            StockCommand(description=description, command=f"{setting}{load} && rm -r {_UNPACKED}"),
        )
    load = shlex.join(["pg_restore", *STREAM_FLAGS[dump_format.container], *flags, "--dbname=restored"])
    streams = by_stream(parts)
    return tuple(
        StockCommand(
            description=description if len(streams) == 1 else f"{description}: {name}",
            command=f"{unpack_command(own)} | {setting}{load}",
        )
        for name, own in streams.items()
    )
