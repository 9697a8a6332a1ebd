"""Everything that a use case needs at hand: settings, configuration, storages and the catalogue."""

from __future__ import annotations

import difflib
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from db_backup.catalog import Catalog
from db_backup.config import Config, Entry, StorageConfig, load_config
from db_backup.config.rules import WHOLE_POSTGRES
from db_backup.connections import resolve_connection, storage_access
from db_backup.encryption import Keyring
from db_backup.engines import chain_engine_for, engine_for
from db_backup.engines.base import Engine, EngineOptions
from db_backup.engines.chain import ChainEngine
from db_backup.errors import BackupError, CatalogError, ConfigurationError, UnknownStorage
from db_backup.jobs.catalogue import open_catalog
from db_backup.model import ConnectionInfo, EngineName, Scope
from db_backup.settings import Settings, load_settings
from db_backup.settings.addresses import StorageKind
from db_backup.storage import Limits, LocalStorage, ObjectStorage, Storage


class Workspace:
    """One opened product: use it as a context manager.

    ``catalog_lost``: why the catalogue is an empty one for this process alone; None when it is the real one.
    ``break_glass``: it is opened by a break-glass kit, and its storages need only be readable. ``warnings``: what the
    person must hear of although nothing failed. ``storages``: every configured one, ``local`` first.

    :param environment: stands in for the process's environment; None reads that.
    """

    catalog_lost: BackupError | None = None
    break_glass: bool = False

    def __init__(
        self, settings: Settings, config: Config, catalog: Catalog, environment: Mapping[str, str] | None = None
    ) -> None:
        self.settings = settings
        self.config = config
        self.catalog = catalog
        self.environment = environment
        self.warnings: list[str] = []
        self.silent_storages: dict[str, tuple[float, BackupError]] = {}  # until when they are not asked again, and why
        self.storage_names: dict[str, str] = {}  # of those that answered, by .storage-id
        self.naming_storages = threading.Lock()
        self.keyring = Keyring(config.keys, settings.backup_keys_path, settings.backup_encryption_key_id, environment)
        self._cleanup = ExitStack()
        self._cleanup.callback(catalog.close)
        self.storages: Mapping[str, Storage] = {
            name: self._opened(storage) for name, storage in config.storages.items()
        }

    @classmethod
    def open(cls, environment: Mapping[str, str] | None = None) -> Self:
        """:raises ConfigurationError, CatalogError:"""
        settings = load_settings(environment)
        config = load_config(settings)
        return cls(settings, config, open_catalog(settings, environment), environment)

    @classmethod
    def open_without_need_of_catalogue(
        cls, environment: Mapping[str, str] | None = None, *, configuration: str | None = None
    ) -> Self:
        """As :meth:`open`, but where the catalogue cannot be used, an empty one takes its place and is thrown away.

        Locks, leases and the catalogue's audit trail then mean nothing to other processes.

        :param configuration: the text of a backup.yaml, in place of the file.
        :raises ConfigurationError: the settings or backup.yaml are wrong.
        """
        settings = load_settings(environment)
        config = load_config(settings, text=configuration)
        try:
            catalog = open_catalog(settings, environment)
            try:
                catalog.sweep()  # one that opens may still be damaged further in, or not be writable
            except CatalogError:
                catalog.close()
                raise
        except (CatalogError, ConfigurationError) as error:
            folder = tempfile.TemporaryDirectory(prefix="db-backup-catalogue-")
            workspace = cls(settings, config, Catalog.open(Path(folder.name) / "catalogue.sqlite"), environment)
            workspace._cleanup.callback(folder.cleanup)
            workspace._cleanup.callback(workspace.catalog.close)  # before its folder goes
            workspace.catalog_lost = error
            return workspace
        return cls(settings, config, catalog, environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    @property
    def engine_options(self) -> EngineOptions:
        settings = self.settings
        return EngineOptions(
            staging_path=settings.backup_staging_path,
            scratch_path=settings.backup_scratch_path,
            mysql_single_transaction=settings.mysql_backup_single_transaction,
            mysql_routines=settings.mysql_backup_routines,
            mysql_triggers=settings.mysql_backup_triggers,
            mysql_events=settings.mysql_backup_events,
            postgres_format=settings.pgsql_backup_format,
            postgres_no_owner=settings.pgsql_backup_no_owner,
            postgres_no_privileges=settings.pgsql_backup_no_privileges,
            sqlite_vacuum=settings.backup_sqlite_vacuum,
        )

    def engine(self, entry: Entry) -> Engine:
        """The entry's own server, which restores go to.

        :raises ConnectionNotFound, ConfigurationError:
        """
        return self._engine(entry, entry.conn_id)

    def source(self, entry: Entry) -> Engine:
        """What dumps are taken through: the replica of ``read_conn_id``, where the entry has one.

        :raises ConnectionNotFound, ConfigurationError: also where the two do not lead to the same database.
        """
        primary = self.engine(entry)
        if entry.read_conn_id is None:
            return primary
        replica = self._engine(entry, entry.read_conn_id)
        refuse_another_database(entry, primary, replica)
        return replica

    def chain_engine(self, entry: Entry) -> ChainEngine:
        """What takes the fulls and increments of an entry that has chains.

        :raises ConnectionNotFound, ConfigurationError: also where its connection leads to what has no such chains.
        :raises FeatureNotAvailable: the engine has no chains.
        """
        connection = self.connection(entry.conn_id, entry.engine)
        refuse_other_history(entry, connection)
        if entry.read_conn_id is not None:
            connection = self.source(entry).connection
        return chain_engine_for(connection, self.engine_options, entry.databases)

    def server_of(self, entry: Entry) -> Entry | None:
        """The server that this database names, to any moment of whose chain it can be restored.

        :raises ConnectionNotFound, ConfigurationError: also where the server is of another engine, or where it is said
            to have other databases alone.
        """
        if entry.server is None:
            return None
        server = self.config.entry(entry.server)
        ours = self.connection(entry.conn_id, entry.engine)
        theirs = self.connection(server.conn_id, server.engine)
        refuse_other_server(entry, ours, server, theirs)
        return server

    def connection(self, conn_id: str, engine: EngineName | None = None) -> ConnectionInfo:
        """:raises ConnectionNotFound, ConfigurationError:"""
        return resolve_connection(conn_id, engine=engine, environment=self.environment)

    def _engine(self, entry: Entry, conn_id: str) -> Engine:
        return engine_for(self.connection(conn_id, entry.engine), self.engine_options)

    def _opened(self, storage: StorageConfig) -> Storage:
        """The storage, of which nothing is touched before its first use."""
        expected_id = self.catalog.storage_id(storage.name)
        if storage.kind is StorageKind.DISK:
            group = self.settings.backup_file_group
            return LocalStorage(storage.name, storage.address.folder, group=group, expected_id=expected_id)
        return ObjectStorage(
            storage.name,
            storage.address,
            partial(storage_access, storage.address, storage.conn_id, environment=self.environment),
            expected_id=expected_id,
            limits=Limits(max_parts=storage.max_parts),
            object_lock=storage.object_lock,
        )

    def storage(self, name: str) -> Storage:
        """:raises UnknownStorage:"""
        if name in self.storages:
            return self.storages[name]
        nearest = difflib.get_close_matches(name, self.storages, n=1)
        raise UnknownStorage(
            f"There is no storage called '{name}'.",
            hint=f"Did you mean '{nearest[0]}'?" if nearest else f"Known storages: {', '.join(self.storages)}.",
        )


def refuse_other_history(entry: Entry, connection: ConnectionInfo) -> None:
    """:raises ConfigurationError: increments of this entry are none of what its connection leads to."""
    of_file = connection.engine is EngineName.SQLITE
    if entry.scope is Scope.DATABASE and not of_file:
        what = f"'{entry.name}' is a {connection.engine} database, and incremental backups of it belong to its server."
        fix = "Make the server a servers: entry, name it in the database's server:, and take incremental off its types."
    elif entry.scope is Scope.SERVER and of_file:
        what = f"The connection '{connection.conn_id}' of the server '{entry.name}' leads to a SQLite file."
        fix = "Make it a databases: entry, with incremental among its types."
    elif entry.databases and connection.engine is EngineName.POSTGRES:
        what = f"'{entry.name}' lists databases: {WHOLE_POSTGRES}"
        fix = "Write databases: all."
    else:
        return
    raise ConfigurationError(what, hint=fix, database=entry.name)


def refuse_other_server(entry: Entry, ours: ConnectionInfo, server: Entry, theirs: ConnectionInfo) -> None:
    """:raises ConfigurationError: the database's connection leads to what that server does not hold."""
    if ours.engine is not theirs.engine:
        what = f"'{entry.name}' is a {ours.engine} database, and its server '{server.name}' is of {theirs.engine}."
        fix = "Name the server that the database lies on, or remove server: from it."
    elif server.databases and ours.database not in server.databases:
        what = f"'{entry.name}' is the database '{ours.database}', which '{server.name}' does not list."
        fix = f"Add it to the databases: of '{server.name}', or remove server: from '{entry.name}'."
    else:
        return
    raise ConfigurationError(what, hint=fix, database=entry.name)


def refuse_another_database(entry: Entry, primary: Engine, replica: Engine) -> None:
    """:raises ConfigurationError: a backup of ``replica`` would be none of ``primary``."""
    ours, theirs = (
        f"the {engine.name} database '{engine.connection.database}' ('{engine.connection.conn_id}')"
        for engine in (primary, replica)
    )
    # A SQLite replica is another file, and mostly of another name.
    same_name = primary.connection.database == replica.connection.database or primary.name is EngineName.SQLITE
    if primary.name is not replica.name or not same_name:
        raise ConfigurationError(
            f"read_conn_id of '{entry.name}' leads to {theirs}, and conn_id to {ours}.",
            hint="Give read_conn_id the connection of a replica, with the same database in its schema field.",
            database=entry.name,
        )
