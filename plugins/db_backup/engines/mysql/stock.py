"""How a person restores a backup with the tools that come with every server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, ServerInfo, StockCommand
from db_backup.model import BackupType

_DATABASE = "restored"
_TRIGGERS = "restored_triggers.sql"
_LOAD = "--binary-mode --comments --max-allowed-packet=1G --default-character-set=utf8mb4"
_DROP_STATEMENTS = (
    "SELECT CONCAT('DROP TRIGGER `', REPLACE(trigger_name, '`', '``'), '`;') FROM information_schema.triggers "
    "WHERE trigger_schema = DATABASE()"
)


def stock_commands(
    parts: Sequence[Part], backup_type: BackupType, source: ServerInfo | None
) -> tuple[StockCommand, ...]:
    """First the database, then its content; of rows alone, those, with the triggers set aside meanwhile."""
    mysql = source is not None and source.flavour == Flavour.MYSQL
    client, dump = ("mysql", "mysqldump") if mysql else ("mariadb", "mariadb-dump")
    load = f"{client} {_LOAD} {_DATABASE}"
    if backup_type is BackupType.DATA:
        return tuple(_fill(unpack_command(parts), client, dump, load))
    like = f" CHARACTER SET {source.encoding} COLLATE {source.collation}" if source is not None else ""
    return (
        StockCommand(
            description="Create an empty database", command=f"{client} -e 'CREATE DATABASE {_DATABASE}{like}'"
        ),
        StockCommand(description="Load the backup into it", command=f"{unpack_command(parts)} | {load}"),
    )


def _fill(unpack: str, client: str, dump: str, load: str) -> Iterator[StockCommand]:
    yield StockCommand(
        description="Set the triggers of a database aside that has the tables and no rows",
        command=f"{dump} --no-data --no-create-info --triggers --add-drop-trigger --default-character-set=utf8mb4 "
        f"{_DATABASE} > {_TRIGGERS}",
    )
    yield StockCommand(
        description="Drop them, for they would fire for every row",
        command=f"{client} --batch --raw --skip-column-names -e {shlex.quote(_DROP_STATEMENTS)} {_DATABASE} | {load}",
    )
    yield StockCommand(description="Load the rows", command=f"{unpack} | {load}")
    yield StockCommand(description="Put the triggers back", command=f"{load} < {_TRIGGERS} && rm {_TRIGGERS}")
