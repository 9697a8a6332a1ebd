"""The contract of chains: a full that increments can follow, the increments, and the source rebuilt at any moment.

A chain belongs to what has one history: a whole server of MySQL, MariaDB or PostgreSQL, one file of SQLite. Every
implementation passes ``tests/conformance/chain_contract.py`` on a real source. Like an ``Engine``, it never compresses,
hashes, stores or schedules.

base        a full with a position: ``DumpSummary.to_position``. For MySQL the logical dump of all user databases, for
            PostgreSQL the physical copy, for SQLite the image with the hashes of its pages.
increment   exactly what changed in (``from_position``, ``to_position``]: where its parent ended to where the source was
            when it was opened. One in which nothing changed is a backup too: it says so.

Nothing of the source's own history is let go of (a slot moved, a log released) before the backup that holds it is
published: ``published`` is called then. What was captured and never published is captured again.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeVar

from db_backup.engines.base import Block, Dump, DumpRequest, EngineOptions, Preflight
from db_backup.errors import ChainBroken
from db_backup.manifest import Inventory, Manifest, Part, ServerInfo, StockCommand
from db_backup.model import ConnectionInfo, EngineName, Method, Scope
from db_backup.progress import Cancellation
from db_backup.recovery import Point

P = TypeVar("P")


@dataclass(frozen=True)
class Link:
    """One backup of a chain. ``read`` gives the plain bytes of one of its streams, by name, as often as it is called;
    hashes are checked by the end, where it may raise an ``ArtefactError``."""

    manifest: Manifest
    read: Callable[[str], Iterable[Block]]


def end_of(manifest: Manifest, parse: Callable[[str], P]) -> P:
    """Where this backup of a chain ends, in its engine's own terms.

    :param parse: raises ``ValueError`` where a text is no such position.
    :raises ChainBroken: the manifest does not say it.
    """
    try:
        return parse((manifest.chain and manifest.chain.to_position) or "")
    except ValueError as error:
        raise ChainBroken(
            f"{manifest.id} does not say where it ends: {error}.",
            hint="Restore from another chain, or begin one with a full backup.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from error


@dataclass(frozen=True)
class Rebuilt:
    """A source as it was at one moment, in a scratch server that lives as long as its block.

    :param connection: leads to it with every right; to one of ``databases`` with that name as its ``database`` (SQLite:
        it is the file, and its ``database`` the path).
    :param databases: the user databases that it holds.
    :param time: of the last change that was replayed, or of the base where there was none; UTC.
    :param position: where the replay stopped, in the engine's own text.
    :param warnings: what is not as it was, such as definers that the backup does not hold.
    """

    connection: ConnectionInfo
    databases: tuple[str, ...]
    time: datetime
    position: str
    warnings: tuple[str, ...] = ()


class ChainEngine(ABC):
    """The chains of one source through one connection.

    :param databases: of a server only these (MySQL); empty: every user database.
    """

    name: ClassVar[EngineName]
    scope: ClassVar[Scope]
    method: ClassVar[Method]  # of its fulls

    def __init__(self, connection: ConnectionInfo, options: EngineOptions, databases: tuple[str, ...] = ()) -> None:
        self.connection = connection
        self.options = options
        self.databases = databases

    @abstractmethod
    def check(self) -> ServerInfo:
        """Connect and say what is there.

        :raises ServerUnreachable, AccessDenied, SourceUnsupported:
        """

    @abstractmethod
    def preflight(self, request: DumpRequest) -> Preflight:
        """For a full or an increment (``request.type``): refuse what could not be recovered from, warn of the rest.

        Also of history that the source keeps for too short a time.

        :raises ServerUnreachable, AccessDenied, PrivilegeMissing, ToolMissing, ToolVersionMismatch:
        :raises SourceUnsupported: the source keeps no history (binlog off, wal_level too low, no rights to replicate).
        """

    @abstractmethod
    def open_full(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        """A full that increments can follow; ``DumpSummary`` has ``to_position`` and ``databases``.

        Otherwise as ``Engine.open_backup``.
        """

    @abstractmethod
    def prove_chain(self, parent: Manifest) -> None:
        """Whether an increment can follow this backup without a gap; asked before every increment.

        :raises ChainBroken: it cannot: the history since then is not all there, or is another source's.
        :raises ServerUnreachable, AccessDenied, PrivilegeMissing: nobody can know.
        """

    @abstractmethod
    def open_increment(
        self, request: DumpRequest, parent: Link, cancellation: Cancellation
    ) -> AbstractContextManager[Dump]:
        """What changed since ``parent``, up to now; ``DumpSummary`` has ``from_position`` and ``to_position``.

        Its ``recovery_point`` is a moment before which everything that was committed is in the chain. The chain is
        proved again on the same connection.

        :raises ChainBroken: as ``prove_chain``; also where increments cost more than a full (most of the source's pages
            have changed: ``worth_a_full``).
        """

    @abstractmethod
    def published(self, manifest: Manifest) -> None:
        """This full or increment was committed: the source may let go of what it kept for it.

        :raises SourceError: it could not be told so. The backup is whole all the same; the next one tells it again.
        """

    @abstractmethod
    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        """How a person restores these parts with stock tools alone, after those of the backups before it."""

    @abstractmethod
    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        """Prove without the source that the plain bytes are a complete full or increment; as ``Engine.read_archive``.

        Needs no connection.

        :raises ArtefactCorrupt, ArtefactTruncated, ToolMissing:
        """

    @abstractmethod
    def take_inventory(self, rebuilt: Rebuilt, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        """The inventory of what was rebuilt of this full alone, taken the way its manifest's was."""

    @abstractmethod
    def open_rebuilt(
        self, links: Sequence[Link], point: Point, cancellation: Cancellation
    ) -> AbstractContextManager[Rebuilt]:
        """The source at ``point``, in a scratch server while the block runs. Needs no connection.

        :param links: a base and the increments that follow it, in order, each ending where the next begins.
        :raises ChainBroken: the links do not follow each other.
        :raises PointOutOfReach: the chain does not lead there.
        :raises ScratchUnavailable, ToolMissing, ToolVersionMismatch, StorageFull:
        :raises ArtefactError, LoadFailed, Interrupted:
        """


def refuse_gaps(links: Sequence[Link]) -> None:
    """Whether the links are a base and what follows it, none missing and in order, as their manifests say it.

    :raises ChainBroken: with the first that does not follow.
    """
    if not links:
        raise ChainBroken("There is no backup to rebuild anything of.", hint="Name a full backup with a position.")
    base = links[0].manifest
    if base.chain is None or base.chain.base_id is not None or not base.chain.to_position:
        raise ChainBroken(
            f"{base.id} is not a full backup that increments can follow.",
            hint="A chain begins with a full backup that has a position.",
            database=base.entry,
            backup_id=base.id,
        )
    for before, link in itertools.pairwise(link.manifest for link in links):
        ended, own = before.chain, link.chain
        if (
            ended is None
            or own is None
            or own.base_id != base.id
            or own.parent_id != before.id
            or not own.to_position
            or own.from_position != ended.to_position
        ):
            raise ChainBroken(
                f"{link.id} does not follow {before.id}: "
                f"it begins at {(own and own.from_position) or 'no position'}, after "
                f"{(own and own.parent_id) or 'no backup'}.",
                hint="Give every link of the chain in order; a missing one ends the chain before it.",
                database=link.entry,
                backup_id=link.id,
            )
