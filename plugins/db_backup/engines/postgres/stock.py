"""How a person restores a backup with the tools that every PostgreSQL has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres.filling import NO_TRIGGERS
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.restore import PSQL_FLAGS, restore_flags
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, StockCommand
from db_backup.model import BackupType


def stock_commands(parts: Sequence[Part], dump_format: DumpFormat, options: EngineOptions) -> tuple[StockCommand, ...]:
    """First the database, then its content; of rows alone, only those."""
    if dump_format.is_custom:
        load = shlex.join(["pg_restore", *restore_flags(options, dump_format), "--dbname=restored"])
    else:
        load = shlex.join(["psql", *PSQL_FLAGS, "--dbname=restored"])
    if dump_format.type is BackupType.DATA:
        return (
            StockCommand(
                description="As a superuser, load the rows into a database that has the tables and no rows",
                command=f"{unpack_command(parts)} | PGOPTIONS='{NO_TRIGGERS}' {load}",
            ),
        )
    return (
        StockCommand(description="Create an empty database", command="createdb --template=template0 restored"),
        StockCommand(
            description="Load the backup into it",
            command=f"{unpack_command(parts)} | {load}",
        ),
    )
