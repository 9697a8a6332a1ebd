"""How a person restores a backup with the tools that every PostgreSQL has."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.engines.base import EngineOptions
from db_backup.engines.postgres.restore import PSQL_FLAGS, restore_flags
from db_backup.manifest import Part, StockCommand
from db_backup.model import Compression

_DECOMPRESS = {
    Compression.GZIP: "gunzip -c",
    Compression.BZIP2: "bzip2 -dc",
    Compression.ZSTD: "zstd -dc",
    Compression.LZ4: "lz4 -dc",
    Compression.XZ: "xz -dc",
    Compression.NONE: "cat",
}


def stock_commands(parts: Sequence[Part], dump_format: str, options: EngineOptions) -> tuple[StockCommand, ...]:
    """First the database, then its content."""
    files = " ".join(shlex.quote(part.path) for part in parts)
    if dump_format == "pg_dump custom":
        load = shlex.join(["pg_restore", *restore_flags(options), "--dbname=restored"])
    else:
        load = shlex.join(["psql", *PSQL_FLAGS, "--dbname=restored"])
    return (
        StockCommand(description="Create an empty database", command="createdb --template=template0 restored"),
        StockCommand(
            description="Load the backup into it",
            command=f"{_DECOMPRESS[parts[0].compression]} {files} | {load}",
        ),
    )
