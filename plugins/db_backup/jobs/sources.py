"""What a backup is dumped through: one database, the base of a chain, or what changed since a backup of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, Engine
from db_backup.engines.chain import ChainEngine, Link
from db_backup.engines.stock import decrypt_commands
from db_backup.errors import DumpIncomplete
from db_backup.manifest import Chain, Manifest, Part, StockCommand
from db_backup.model import ConnectionInfo, EngineName, Method, Scope
from db_backup.progress import Cancellation


class Source(ABC):
    """One way to dump an entry, and what a manifest says of it. Nothing is connected before ``open``."""

    engine: Engine | ChainEngine

    @property
    def name(self) -> EngineName:
        return self.engine.name

    @property
    def scope(self) -> Scope:
        return Scope.DATABASE

    @property
    def method(self) -> Method:
        return Method.LOGICAL

    @abstractmethod
    def open(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        """As ``Engine.open_backup``."""

    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        """Those of the engine, behind those that decrypt what they read."""
        decrypt, decrypted = decrypt_commands(parts)
        return (*decrypt, *self.engine.stock_commands(decrypted, format))

    def databases(self, summary: DumpSummary) -> tuple[str, ...]:
        """The databases that it holds, by their own names."""
        return summary.databases or (_database_name(self.engine.connection),)

    @abstractmethod
    def chain(self, summary: DumpSummary, /) -> Chain | None:
        """Where it stands in a chain.

        :raises DumpIncomplete: it does not begin where its parent ended.
        """

    @abstractmethod
    def published(self, manifest: Manifest) -> None:
        """The backup was committed.

        :raises SourceError: the source could not be told so; the backup is whole all the same.
        """


@dataclass(frozen=True)
class DatabaseSource(Source):
    """A database by itself."""

    engine: Engine

    def open(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self.engine.open_backup(request, cancellation)

    def chain(self, _summary: DumpSummary, /) -> None:
        return None

    def published(self, manifest: Manifest) -> None:
        """Nobody keeps anything for it."""


@dataclass(frozen=True)
class _ChainSource(Source):
    engine: ChainEngine

    @property
    def scope(self) -> Scope:
        return self.engine.scope

    @property
    def method(self) -> Method:
        return self.engine.method

    def published(self, manifest: Manifest) -> None:
        self.engine.published(manifest)


@dataclass(frozen=True)
class BaseSource(_ChainSource):
    """A full that increments can follow."""

    def open(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self.engine.open_full(request, cancellation)

    def chain(self, summary: DumpSummary, /) -> Chain:
        return Chain(to_position=summary.to_position)


@dataclass(frozen=True)
class IncrementSource(_ChainSource):
    """What changed since a backup of the chain."""

    parent: Link

    def open(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        return self.engine.open_increment(request, self.parent, cancellation)

    def databases(self, summary: DumpSummary) -> tuple[str, ...]:
        return summary.databases or self.parent.manifest.databases

    def chain(self, summary: DumpSummary, /) -> Chain:
        before = self.parent.manifest
        ended = before.chain.to_position if before.chain else None
        if summary.from_position != ended or not summary.to_position:
            raise DumpIncomplete(
                f"The increment of '{before.entry}' is from {summary.from_position} to {summary.to_position}, and "
                f"{before.id} ended at {ended}.",
                hint="Take a full backup, and report this.",
                database=before.entry,
            )
        return Chain(
            base_id=(before.chain.base_id if before.chain else None) or before.id,
            parent_id=before.id,
            from_position=summary.from_position,
            to_position=summary.to_position,
        )


def _database_name(connection: ConnectionInfo) -> str:
    """The database's own name; for SQLite its file's."""
    name = connection.database
    return name.rpartition("/")[2] if connection.engine is EngineName.SQLITE else name
