"""Where a restore goes: a connection and a database there, which may not exist yet; and whose database that is."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from db_backup.config import Entry
from db_backup.engines import engine_for
from db_backup.engines.base import Engine
from db_backup.errors import BackupError, ConnectionNotFound, SourceError, UnknownDatabase, UsageError
from db_backup.jobs.restore.request import RestoreRequest
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import Manifest, ServerInfo
from db_backup.model import ConnectionInfo, EngineName, Scope
from db_backup.settings.problems import did_you_mean, nearest

_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {EngineName.MYSQL: 3306, EngineName.POSTGRES: 5432}


@dataclass(frozen=True)
class Target:
    """The database that is restored to.

    ``engine``: bound to it. ``maker``: bound to the database that the connection itself leads to: a new one is made
    beside it, with its encoding where the backup's cannot be had.
    """

    engine: Engine
    maker: Engine

    @property
    def database(self) -> str:
        return self.engine.connection.database


@dataclass(frozen=True)
class Owners:
    """Whose own database a target is. ``sure``: entries whose it is, the backup's own before others.

    ``unsure``: protected entries of which it cannot be told, each with the reason; it may be theirs.
    """

    sure: tuple[Entry, ...] = ()
    unsure: tuple[tuple[Entry, str], ...] = ()

    @property
    def first(self) -> Entry | None:
        """Whose safety backup and hooks a restore has."""
        return self.sure[0] if self.sure else None

    @property
    def protected(self) -> bool:
        return bool(self.unsure) or any(entry.protected for entry in self.sure)


@dataclass(frozen=True)
class Destination:
    """A target that was examined: its server, and whose own database it is."""

    target: Target
    server: ServerInfo
    owners: Owners


def find_target(workspace: Workspace, request: RestoreRequest, manifest: Manifest) -> Target:
    """The target that the request means. Nothing is connected yet.

    :raises UsageError: it is of another engine than the backup, or names no database.
    :raises ConnectionNotFound: ``to`` is neither a restore target nor a connection.
    :raises UnknownDatabase: the backup's entry is not configured any more, and no other place is named.
    """
    connection = _connection(workspace, request, manifest)
    if connection.engine is not manifest.engine:
        raise UsageError(
            f"{manifest.id} is a {manifest.engine} backup, and the connection '{connection.conn_id}' leads to a "
            f"{connection.engine} database.",
            hint="Name a connection of the backup's engine with --to.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    database = _database(workspace, request, manifest, connection)
    if not database:
        raise UsageError(
            f"The connection '{connection.conn_id}' names no database to restore to.",
            hint="Name it with --as, or in the connection's schema.",
            backup_id=manifest.id,
        )
    if connection.engine is EngineName.SQLITE and not Path(database).is_absolute():
        raise UsageError(f"'{database}' is not an absolute path.", hint="Name the file with its whole path.")
    return Target(
        engine=engine_for(dataclasses.replace(connection, database=database), workspace.engine_options),
        maker=engine_for(_somewhere(connection), workspace.engine_options),
    )


def _somewhere(connection: ConnectionInfo) -> ConnectionInfo:
    """PostgreSQL has no session without a database, and a server's connection need not name one."""
    if connection.engine is EngineName.POSTGRES and not connection.database:
        return dataclasses.replace(connection, database="postgres")
    return connection


def _database(workspace: Workspace, request: RestoreRequest, manifest: Manifest, connection: ConnectionInfo) -> str:
    """A server's connection leads to all of its databases: what is taken out of it goes back under its own name."""
    if request.new_name is not None:
        return request.new_name
    entry = workspace.config.entries.get(manifest.entry)
    of_server = request.to is None and entry is not None and entry.scope is Scope.SERVER
    return manifest.databases[0] if of_server else connection.database


def owners_of(workspace: Workspace, target: Target, server: ServerInfo, manifest: Manifest) -> Owners:
    """All entries whose own database the target is, by whichever name its server is reached.

    :param server: the target's.
    """
    sure: list[Entry] = []
    unsure: list[tuple[Entry, str]] = []
    for entry in workspace.config.entries.values():
        if entry.engine not in {None, target.engine.name} or entry.scope is Scope.SERVER:
            continue
        try:
            if _is_same_database(workspace.engine(entry), target.engine, server):
                sure.append(entry)
        except BackupError as error:
            if entry.protected:
                unsure.append((entry, error.message))
    sure.sort(key=lambda entry: entry.name != manifest.entry)
    return Owners(tuple(sure), tuple(unsure))


def lock_name(target: Target, server: ServerInfo) -> str:
    """What restores onto this database exclude each other by."""
    connection = target.engine.connection
    place = (connection.engine.value, server.identity or server_address(connection), _database_key(connection))
    return "target-" + hashlib.sha256("\n".join(place).encode()).hexdigest()[:32]


def is_same_server(manifest: Manifest, target: Target, server: ServerInfo) -> bool:
    """Whether the target is on the server that the backup was taken of. A file has none: it is never elsewhere."""
    if manifest.engine is EngineName.SQLITE:
        return True
    if manifest.server.identity and server.identity:
        return manifest.server.identity == server.identity
    source, _, _ = manifest.server.address.rpartition("/")
    host, _, port = source.rpartition(":")
    there = ConnectionInfo("", manifest.engine, host=host if port.isdigit() else source)
    if port.isdigit():
        there = dataclasses.replace(there, port=int(port))
    return server_address(there) == server_address(target.engine.connection)


def server_address(connection: ConnectionInfo) -> str:
    """Host and port, the same for every way to write this machine and the engine's own port; empty for a file."""
    if connection.engine is EngineName.SQLITE:
        return ""
    host = connection.host.lower()
    return f"{'localhost' if host in _LOOPBACK else host}:{connection.port or _DEFAULT_PORTS[connection.engine]}"


def _connection(workspace: Workspace, request: RestoreRequest, manifest: Manifest) -> ConnectionInfo:
    if request.to is not None:
        return _named(workspace, request.to)
    if request.new_name is not None and manifest.engine is EngineName.SQLITE:
        return ConnectionInfo(conn_id="", engine=EngineName.SQLITE, database=request.new_name)
    entry = workspace.config.entries.get(manifest.entry)
    if entry is None:
        raise UnknownDatabase(
            f"'{manifest.entry}' is not configured any more, so nobody knows the server of {manifest.id}.",
            hint="Say where to restore it: --to and the id of a connection.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    return workspace.engine(entry).connection


def _named(workspace: Workspace, name: str) -> ConnectionInfo:
    """The connection of a restore target, or of this id."""
    if "://" in name or "@" in name:  # and is not told again: there may be a password in it
        raise UsageError(
            "--to takes the id of a connection or the name of a restore target, never an address with a password.",
            hint="Define the connection in Airflow or as AIRFLOW_CONN_<ID>, and name its id.",
        )
    target = workspace.config.restore_targets.get(name)
    conn_id = target.conn_id if target else name
    entries = workspace.config.entries.values()
    engine = next((entry.engine for entry in entries if entry.conn_id == conn_id), None)
    try:
        return workspace.connection(conn_id, engine)
    except ConnectionNotFound as error:
        known = {*workspace.config.restore_targets, *(entry.conn_id for entry in entries)}
        guess = did_you_mean(nearest(name, known - {name, conn_id}))
        raise ConnectionNotFound(error.message, hint=f"{guess} {error.hint}".strip()) from error


def is_same_address(one: ConnectionInfo, other: ConnectionInfo) -> bool:
    """Whether two connections lead to one database by what they say, without asking a server."""
    if one.engine is not other.engine or _database_key(one) != _database_key(other):
        return False
    return server_address(one) == server_address(other)


def _is_same_database(theirs: Engine, ours: Engine, server: ServerInfo) -> bool:
    """:raises BackupError: their server cannot be asked, or has nothing to know it by."""
    if is_same_address(theirs.connection, ours.connection):
        return True
    if theirs.name is not ours.name or _database_key(theirs.connection) != _database_key(ours.connection):
        return False
    identity = theirs.check().identity
    if not identity or not server.identity:
        raise SourceError(f"{theirs.connection.address} has nothing that tells its server from another.")
    return identity == server.identity


def _database_key(connection: ConnectionInfo) -> str:
    """A database's name, or a file by whatever path."""
    is_file = connection.engine is EngineName.SQLITE
    return os.path.realpath(connection.database) if is_file else connection.database
