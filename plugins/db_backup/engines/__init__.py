"""The engines, by name. Each one's drivers are imported when it is first asked for: a listing needs none of them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from db_backup.engines.base import Engine, EngineOptions
from db_backup.engines.chain import ChainEngine
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation


def engine_for(connection: ConnectionInfo, options: EngineOptions) -> Engine:
    """The engine of this connection, bound to it. Nothing is connected yet."""
    match connection.engine:
        case EngineName.SQLITE:
            from db_backup.engines.sqlite import SqliteEngine

            return SqliteEngine(connection, options)
        case EngineName.MYSQL:
            from db_backup.engines.mysql import MysqlEngine

            return MysqlEngine(connection, options)
        case EngineName.POSTGRES:
            from db_backup.engines.postgres import PostgresEngine

            return PostgresEngine(connection, options)


def chain_engine_for(
    connection: ConnectionInfo, options: EngineOptions, databases: tuple[str, ...] = ()
) -> ChainEngine:
    """What takes fulls and increments of this connection's server (SQLite: file). Nothing is connected yet.

    :param databases: of a server only these; empty: every user database.
    """
    match connection.engine:
        case EngineName.SQLITE:
            from db_backup.engines.sqlite import SqliteChain

            return SqliteChain(connection, options, databases)
        case EngineName.POSTGRES:
            from db_backup.engines.postgres.chain import PostgresChain

            return PostgresChain(connection, options, databases)
        case EngineName.MYSQL:
            from db_backup.engines.mysql.chain import MysqlChain

            return MysqlChain(connection, options, databases)


def open_scratch(
    server: ServerInfo, folder: Path, cancellation: Cancellation
) -> AbstractContextManager[ConnectionInfo]:
    """A private scratch server of the same engine and major version, while the block runs.

    Yields a connection whose user may create databases; for SQLite its ``database`` is a new file's path, for the other
    engines ``Engine.create_database`` makes the one to load into.

    :param server: the server of the backup that is to be restored.
    :param folder: where its private folder is made (``BACKUP_SCRATCH_PATH``).
    :raises ScratchUnavailable: no server binaries of that version, or no room.
    """
    match server.engine:
        case EngineName.SQLITE:
            from db_backup.engines import sqlite

            return sqlite.open_scratch(server, folder, cancellation)
        case EngineName.MYSQL:
            from db_backup.engines import mysql

            return mysql.open_scratch(server, folder, cancellation)
        case EngineName.POSTGRES:
            from db_backup.engines import postgres

            return postgres.open_scratch(server, folder, cancellation)
