"""The chain contract for PostgreSQL (see ``engines/chain.py``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import ClassVar

from db_backup.engines.base import Block, Dump, DumpRequest, EngineOptions, Preflight
from db_backup.engines.chain import ChainEngine, Link, Rebuilt
from db_backup.engines.postgres import preflight as questions
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain import base_tar, full, pieces, reading, rebuild, slot, source, stock
from db_backup.engines.postgres.chain.capture import Capture, captured, following
from db_backup.engines.postgres.chain.cluster import comparable, read_contents
from db_backup.engines.postgres.chain.increment import IncrementCapture
from db_backup.engines.postgres.chain.links import position_of
from db_backup.engines.postgres.chain.replication import (
    Source,
    refuse_other_history,
    refuse_other_wal,
    replicating,
)
from db_backup.engines.postgres.session import Connection, connected, tool_environment
from db_backup.errors import BackupError, FeatureNotAvailable, SourceUnsupported
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import BackupType, ConnectionInfo, EngineName, Method, Scope
from db_backup.progress import Cancellation
from db_backup.recovery import Point
from db_backup.stream.process import ChildProcess

_TOOL = "pg_basebackup"


@dataclasses.dataclass(frozen=True)
class _Examined:
    """What a preflight has learned."""

    preflight: Preflight
    origin: Source
    slot: str
    segment_bytes: int
    tool: tools.Tool | None  # of a full


@dataclasses.dataclass(frozen=True)
class _Begun:
    """What is taken, and is read as soon as somebody asks for its pieces."""

    capture: full.FullCapture | IncrementCapture
    preflight: Preflight
    format: str


# Takes what lasts as long as the backup, whose cancellation it is, and what is cancelled at its end.
_Begin = Callable[[ExitStack, Cancellation, Cancellation], _Begun]


class PostgresChain(ChainEngine):
    """One PostgreSQL server: base backups, and its write-ahead log since then, kept by a slot of ours."""

    name: ClassVar[EngineName] = EngineName.POSTGRES
    scope: ClassVar[Scope] = Scope.SERVER
    method: ClassVar[Method] = Method.PHYSICAL

    def __init__(self, connection: ConnectionInfo, options: EngineOptions, databases: tuple[str, ...] = ()) -> None:
        # A server's connection need not name one of its databases; this one every server is made with.
        super().__init__(
            dataclasses.replace(connection, database=connection.database or "postgres"), options, databases
        )

    def check(self) -> ServerInfo:
        with connected(self.connection) as link:
            return questions.describe_server(link, self.connection)

    def preflight(self, request: DumpRequest) -> Preflight:
        with connected(self.connection, entry=request.entry) as link:
            return self._examine(link, request, Cancellation()).preflight

    def open_full(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        wanted = dataclasses.replace(request, type=BackupType.FULL)
        return self._open(wanted, partial(self._begin_full, wanted), cancellation)

    def prove_chain(self, parent: Manifest) -> None:
        with connected(self.connection, entry=parent.entry) as link:
            self._prove(link, parent, self._identify(parent.entry, Cancellation()), Cancellation())

    def open_increment(
        self, request: DumpRequest, parent: Link, cancellation: Cancellation
    ) -> AbstractContextManager[Dump]:
        wanted = dataclasses.replace(request, type=BackupType.INCREMENTAL)
        return self._open(wanted, partial(self._begin_increment, wanted, parent.manifest), cancellation)

    def published(self, manifest: Manifest) -> None:
        end = position_of(manifest)
        with connected(self.connection, entry=manifest.entry) as link:
            slot.advance(link, slot.slot_name(manifest.entry, end.system), end.lsn, manifest.entry)

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        return stock.stock_commands(parts, format)

    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        return reading.read_archive(streams, manifest, cancellation)

    def take_inventory(self, rebuilt: Rebuilt, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        found = read_contents(rebuilt.connection, entry=manifest.entry, cancellation=cancellation)
        return comparable(found.objects, manifest)

    def open_rebuilt(
        self, links: Sequence[Link], point: Point, cancellation: Cancellation
    ) -> AbstractContextManager[Rebuilt]:
        return rebuild.open_rebuilt(links, point, self.options, cancellation)

    def _identify(self, entry: str, cancellation: Cancellation) -> Source:
        with replicating(self.connection, entry=entry, cancellation=cancellation) as replication:
            return replication.identify()

    def _examine(self, link: Connection, request: DumpRequest, cancellation: Cancellation) -> _Examined:
        """Everything that can be known before a byte is read."""
        entry = request.entry
        if self.databases:
            raise SourceUnsupported(
                f"The PostgreSQL server of '{entry}' is copied whole, with all its databases.",
                hint="Write databases: all, or take full backups of the single databases.",
                database=entry,
            )
        server = questions.describe_server(link, self.connection, entry=entry)
        found = source.wal_settings(link)
        source.refuse_unsuitable(link, found, entry)
        source.refuse_tablespaces(link, entry)
        tool = self._tool(link, server, request)
        origin = self._identify(entry, cancellation)
        name = slot.slot_name(entry, origin.system)
        state = slot.state(link, name)
        source.refuse_without_slot(found, state, entry)
        held_bytes = state.held_bytes if state else None  # about what the next increment will be
        preflight = Preflight(
            server=server.model_copy(update={"identity": origin.system}),
            tools=(tool.info,) if tool else (),
            warnings=tuple(source.warnings(found, name, state)),
            estimated_plain_bytes=source.database_bytes(link) if tool else held_bytes,
        )
        return _Examined(preflight, origin, name, found.segment_bytes, tool)

    def _tool(self, link: Connection, server: ServerInfo, request: DumpRequest) -> tools.Tool | None:
        """What a full needs; an increment needs none.

        :raises FeatureNotAvailable: neither is asked for.
        """
        if request.type is BackupType.INCREMENTAL:
            return None
        if request.type is not BackupType.FULL:
            raise FeatureNotAvailable(
                f"There are no backups of type '{request.type}' of a whole PostgreSQL server.",
                hint="Take them of its databases.",
                database=request.entry,
            )
        return tools.find(_TOOL, server.major, database=request.entry)

    def _prove(self, link: Connection, parent: Manifest, origin: Source, cancellation: Cancellation) -> None:
        """:raises ChainBroken:"""
        ended = position_of(parent)
        refuse_other_history(
            origin, ended, parent.server.identity, parent.entry
        )  # on another timeline the slot is missing, too
        slot.refuse_without(link, slot.slot_name(parent.entry, origin.system), parent.entry)
        refuse_other_wal(self.connection, ended, entry=parent.entry, cancellation=cancellation)

    @contextmanager
    def _open(self, request: DumpRequest, begin: _Begin, cancellation: Cancellation) -> Iterator[Capture]:
        cancellation.check()
        with ExitStack() as stack:
            until_end = stack.enter_context(following(cancellation))
            begun = begin(stack, cancellation, until_end)
            yield stack.enter_context(
                captured(
                    begun.capture.pieces(),
                    begun.preflight,
                    begun.format,
                    begun.capture.summary,
                    entry=request.entry,
                    cancellation=cancellation,
                    until_end=until_end,
                )
            )

    def _begin_full(
        self, request: DumpRequest, stack: ExitStack, cancellation: Cancellation, until_end: Cancellation
    ) -> _Begun:
        with connected(self.connection, entry=request.entry, cancellation=cancellation) as link:
            examined = self._examine(link, request, cancellation)
            assert examined.tool is not None  # noqa: S101 - a full's
            if slot.ensure(link, examined.slot):
                stack.push(self._dropping(examined.slot, request.entry))
        environment = stack.enter_context(tool_environment(self.connection))
        tool = ChildProcess(
            full.arguments(examined.tool, request.entry), cancellation=until_end, environment=environment
        )
        capture = full.FullCapture(
            stack.enter_context(tool),
            self.connection,
            examined.preflight,
            examined.segment_bytes,
            examined.slot,
            request.entry,
            until_end,
        )
        return _Begun(capture, examined.preflight, base_tar.FORMAT)

    def _begin_increment(
        self,
        request: DumpRequest,
        parent: Manifest,
        _stack: ExitStack,
        cancellation: Cancellation,
        until_end: Cancellation,
    ) -> _Begun:
        with connected(self.connection, entry=request.entry, cancellation=cancellation) as link:
            examined = self._examine(link, request, cancellation)
            self._prove(link, parent, examined.origin, cancellation)
            databases = source.user_databases(link)
            moment, end = source.settle(link, examined.segment_bytes)
        capture = IncrementCapture(
            self.connection, parent, position_of(parent), end, moment, databases, request.entry, until_end
        )
        return _Begun(capture, examined.preflight, pieces.FORMAT)

    def _dropping(self, name: str, entry: str) -> Callable[[type[BaseException] | None, object, object], None]:
        """What drops a slot again that was made for a full which then failed: nothing would ever move it."""

        def drop(kind: type[BaseException] | None, error: object, trace: object) -> None:
            if kind is None:
                return
            with suppress(BackupError), connected(self.connection, entry=entry) as link:  # the next full takes it over
                slot.drop(link, name)

        return drop
