"""The chain contract for servers of MySQL and MariaDB (see ``engines/chain.py``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import ClassVar

from db_backup.engines.base import Block, Dump, DumpRequest, EngineOptions, Preflight, only_stream
from db_backup.engines.chain import ChainEngine, Link, Rebuilt
from db_backup.engines.mysql.chain.archive import Span
from db_backup.engines.mysql.chain.full import inventory_of_copy, open_full
from db_backup.engines.mysql.chain.increment import FORMAT, open_increment
from db_backup.engines.mysql.chain.preflight import examine_history, examine_source
from db_backup.engines.mysql.chain.proof import prove
from db_backup.engines.mysql.chain.reading import read_full, read_increment
from db_backup.engines.mysql.chain.rebuild import open_rebuilt
from db_backup.engines.mysql.chain.stock import full_commands, increment_commands
from db_backup.engines.mysql.connecting import session_for
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.engines.mysql.server import describe_server
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, ConnectionInfo, EngineName, Method, Scope
from db_backup.progress import Cancellation
from db_backup.recovery import Point


class MysqlChain(ChainEngine):
    """A server's fulls are dumps of all its databases, its increments are its binlog."""

    name: ClassVar[EngineName] = EngineName.MYSQL
    scope: ClassVar[Scope] = Scope.SERVER
    method: ClassVar[Method] = Method.LOGICAL

    def __init__(self, connection: ConnectionInfo, options: EngineOptions, databases: tuple[str, ...] = ()) -> None:
        super().__init__(dataclasses.replace(connection, database=""), options, databases)
        self._source: ServerInfo | None = None  # of the backup that was opened last
        self._spans: tuple[Span, ...] = ()

    def check(self) -> ServerInfo:
        with session_for(self.connection, "examine") as session:
            return describe_server(session, self.connection).info

    def preflight(self, request: DumpRequest) -> Preflight:
        if request.type is not BackupType.INCREMENTAL:
            return examine_source(self.connection, self.options, self.databases, request).preflight
        with session_for(self.connection, "examine") as session:
            history = examine_history(session, self.connection)
        return Preflight(history.server.info, (), history.warnings, None)

    def open_full(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self._open_full(request, cancellation)

    @contextmanager
    def _open_full(self, request: DumpRequest, cancellation: Cancellation) -> Iterator[Dump]:
        cancellation.check()
        examine = partial(examine_source, self.connection, self.options, self.databases, request)
        with open_full(self.connection, self.options, examine, request, cancellation) as dump:
            self._source = dump.preflight.server
            yield dump

    def prove_chain(self, parent: Manifest) -> None:
        with session_for(self.connection, "read the binlog of") as session:
            prove(session, self.connection, parent, Cancellation())

    def open_increment(
        self, request: DumpRequest, parent: Link, cancellation: Cancellation
    ) -> AbstractContextManager[Dump]:
        return self._open_increment(request, parent, cancellation)

    @contextmanager
    def _open_increment(self, request: DumpRequest, parent: Link, cancellation: Cancellation) -> Iterator[Dump]:
        cancellation.check()
        with open_increment(self.connection, request, parent.manifest, cancellation) as dump:
            self._source, self._spans = dump.preflight.server, dump.extent.spans
            yield dump

    def published(self, manifest: Manifest) -> None:
        """Nothing is held for us: the server lets go of its binlog by its own rules (binlog_expire_logs_seconds)."""

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        if format == FORMAT:
            return increment_commands(parts, self._source, self._spans)
        return full_commands(parts, self._source)

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        read = read_increment if manifest.format == FORMAT else read_full
        return read(only_stream(streams, manifest), manifest, cancellation)

    def take_inventory(self, rebuilt: Rebuilt, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        with scratch_faults(rebuilt.connection, manifest):
            return inventory_of_copy(rebuilt.connection, self.options, manifest.databases, cancellation)

    def open_rebuilt(
        self, links: Sequence[Link], point: Point, cancellation: Cancellation
    ) -> AbstractContextManager[Rebuilt]:
        return open_rebuilt(self.options, links, point, cancellation)
