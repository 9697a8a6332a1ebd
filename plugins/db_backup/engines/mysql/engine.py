"""The engine contract for MySQL and MariaDB (see ``engines/base.py``)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

import pymysql

from db_backup.engines.base import (
    Block,
    Dump,
    DumpRequest,
    Engine,
    EngineOptions,
    LoadOptions,
    Preflight,
    TargetExamination,
)
from db_backup.engines.mysql import loading
from db_backup.engines.mysql.connecting import Session, ask, error_code, identifier, query, session_for
from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.databases import character_set, check_name, replacement_name
from db_backup.engines.mysql.dump import open_dump, read_moment
from db_backup.engines.mysql.filling import load_rows
from db_backup.engines.mysql.formats import type_of
from db_backup.engines.mysql.inventory import inventory_of
from db_backup.engines.mysql.journal import mend
from db_backup.engines.mysql.preflight import examine_copy, run_preflight
from db_backup.engines.mysql.replacing import put_in_place
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.engines.mysql.server import describe_server
from db_backup.engines.mysql.stock import stock_commands
from db_backup.engines.mysql.streams import open_stream
from db_backup.engines.mysql.tables import count_rows, refresh_statistics
from db_backup.engines.mysql.target import examine_target
from db_backup.errors import FeatureNotAvailable, LoadFailed, TargetNotEmpty
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation

_BLOCK_BYTES = 1 << 20
_DATABASE_EXISTS = 1007


class MysqlEngine(Engine):
    """One MySQL or MariaDB database, dumped by its flavour's own tool in one transaction."""

    name: ClassVar[EngineName] = EngineName.MYSQL
    supported_types: ClassVar[frozenset[BackupType]] = frozenset(
        {BackupType.FULL, BackupType.STRUCTURE, BackupType.DATA}
    )

    def __init__(self, connection: ConnectionInfo, options: EngineOptions) -> None:
        super().__init__(connection, options)
        self._source: ServerInfo | None = None  # of the backup that was opened last
        self._passing_events: frozenset[str] = frozenset()  # of the backup that was loaded last

    def check(self) -> ServerInfo:
        with session_for(self.connection, "examine") as session:
            return describe_server(session, self.connection).info

    def preflight(self, request: DumpRequest) -> Preflight:
        self._require_supported(request)
        return run_preflight(self.connection, self.options, request).preflight

    def open_backup(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open(request, cancellation)

    @contextmanager
    def _open(self, request: DumpRequest, cancellation: Cancellation) -> Iterator[Dump]:
        self._require_supported(request)
        cancellation.check()
        findings = run_preflight(self.connection, self.options, request)
        self._source = findings.preflight.server
        with open_dump(self.connection, self.options, findings, request=request, cancellation=cancellation) as dump:
            yield dump

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return stock_commands(parts, type_of(format), self._source)

    def database_exists(self, database: str) -> bool:
        with self._maintenance() as session:
            return bool(character_set(session, database))

    def create_database(self, database: str, like: ServerInfo | None = None) -> MysqlEngine:
        """With the character set of the database that this engine is bound to, where that is there; ``load`` gives it
        the backup's.

        :raises UsageError: no server takes this name.
        """
        check_name(database)
        with self._maintenance() as session:
            defaults = character_set(session, self.connection.database)
            alike = f" CHARACTER SET {defaults[0]} COLLATE {defaults[1]}" if defaults else ""
            try:
                query(session, f"CREATE DATABASE {identifier(database)}{alike}")
            except pymysql.err.MySQLError as error:
                if error_code(error) == _DATABASE_EXISTS:
                    raise TargetNotEmpty(
                        f"The database '{database}' exists already at {self.connection.address}; it was not touched.",
                        hint="Choose a name that is free.",
                    ) from error
                raise
        return MysqlEngine(dataclasses.replace(self.connection, database=database), self.options)

    def drop_database(self, database: str) -> None:
        """With this database's replacement goes what an interrupted ``replace_with`` has left besides."""
        if database == self.replacement_name():
            mend(self.connection)
        with self._maintenance() as session:
            query(session, f"DROP DATABASE IF EXISTS {identifier(database)}")

    def examine_target(self, manifest: Manifest, options: LoadOptions, *, replace: bool) -> TargetExamination:
        return examine_target(self.connection, manifest, options, replace=replace)

    def replacement_name(self) -> str:
        return replacement_name(self.connection.database)

    def replace_with(self, database: str, cancellation: Cancellation) -> tuple[str, ...]:
        return put_in_place(self.connection, self.options, database, cancellation)

    def refresh_statistics(self, cancellation: Cancellation) -> None:
        with session_for(self.connection, "refresh the statistics of") as session:
            refresh_statistics(session, self.connection, cancellation)

    def ask(self, query: str, cancellation: Cancellation) -> object:
        cancellation.check()
        with session_for(self.connection, "ask a query of the configuration of") as session:
            return ask(session, query)

    def load(
        self,
        streams: Sequence[Iterable[Block]],
        manifest: Manifest,
        cancellation: Cancellation,
        options: LoadOptions | None = None,
    ) -> tuple[str, ...]:
        if manifest.type is BackupType.DATA:
            return load_rows(self.connection, self.options, streams, manifest, cancellation)
        loaded = loading.load(self.connection, streams, manifest, cancellation, options or LoadOptions())
        self._passing_events = loaded.passing_events
        return loaded.warnings

    def take_inventory(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        """By the same tool, arguments and reader as the dump's; rows that nobody expects are counted in SQL.

        Events of the backup loaded before whose time is over count as there: no server makes them again.
        """
        with scratch_faults(self.connection, manifest):
            return self._read_back(manifest, cancellation)

    def _read_back(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        cancellation.check()
        findings = examine_copy(self.connection, manifest.type)
        moment = read_moment(self.connection, findings, self.options)
        with open_stream(self.connection, self.options, findings.dump_tool, findings.plan, cancellation) as stream:
            buffer = bytearray(_BLOCK_BYTES)
            while count := os.readv(stream.fileno(), [buffer]):
                stream.observe(memoryview(buffer)[:count])
            status = stream.tool.wait()
            cancellation.check()
            problem = f"status {status}: {stream.tool.last_words}" if status else stream.finish()
        if problem:
            raise LoadFailed(
                f"The restored database '{self.connection.database}' cannot be read back: {problem}.",
                hint="See what the dump tool names; the restored database is not as the backup was.",
                backup_id=manifest.id,
            )
        inventory = inventory_of(moment.catalogue, contents_of([stream.parser]), manifest.type)
        inventory = self._with_passed_events(inventory, manifest)
        return self._with_counted_rows(inventory) if manifest.type is BackupType.STRUCTURE else inventory

    def _with_passed_events(self, inventory: Inventory, manifest: Manifest) -> Inventory:
        passed = {
            item
            for item in manifest.inventory.objects
            if item.kind == "event" and item.name in self._passing_events and item not in inventory.objects
        }
        objects = sorted((*inventory.objects, *passed), key=lambda item: (item.kind, item.name))
        return inventory.model_copy(update={"objects": tuple(objects)})

    def _with_counted_rows(self, inventory: Inventory) -> Inventory:
        with session_for(self.connection, "count the rows of") as session:
            counts = count_rows(session, self.connection.database)
        tables = tuple(
            table.model_copy(update={"rows": counts.get(table.name, table.rows)}) for table in inventory.tables
        )
        return inventory.model_copy(update={"tables": tables})

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        return loading.read_archive(streams, manifest, cancellation)

    def _require_supported(self, request: DumpRequest) -> None:
        if request.type not in self.supported_types:
            raise FeatureNotAvailable(
                f"Backups of type '{request.type}' of MySQL are not there yet.",
                hint=f"Types that are: {', '.join(sorted(self.supported_types))}.",
                database=request.entry,
            )

    @contextmanager
    def _maintenance(self) -> Iterator[Session]:
        """A session without a database: the bound one may itself be what was lost."""
        with (
            scratch_faults(self.connection),
            session_for(self.connection, "manage databases at", database="") as session,
        ):
            yield session
