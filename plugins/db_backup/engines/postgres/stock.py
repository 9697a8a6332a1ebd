"""How a person restores a backup with the tools that every PostgreSQL has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres.restore import PSQL_FLAGS, restore_flags
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, StockCommand


def stock_commands(parts: Sequence[Part], dump_format: str, options: EngineOptions) -> tuple[StockCommand, ...]:
    """First the database, then its content."""
    if dump_format == "pg_dump custom":
        load = shlex.join(["pg_restore", *restore_flags(options), "--dbname=restored"])
    else:
        load = shlex.join(["psql", *PSQL_FLAGS, "--dbname=restored"])
    return (
        StockCommand(description="Create an empty database", command="createdb --template=template0 restored"),
        StockCommand(
            description="Load the backup into it",
            command=f"{unpack_command(parts)} | {load}",
        ),
    )
