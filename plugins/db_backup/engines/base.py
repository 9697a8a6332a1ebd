"""The engine contract. Every engine passes ``tests/conformance/engine_contract.py`` on a real server.

An engine is bound to one connection. It never compresses, hashes, stores or schedules: it opens a consistent dump as
streams, and loads plain bytes into an empty database. Errors are those of ``db_backup.errors``: a person reads which
database failed and what to do. Passwords go to child processes only through 0600 option files.

What a type holds; an inventory is always what a restore of that backup gives:

full        everything. Loads into an empty database.
structure   every definition and no row. The inventory has every table with 0 rows and no checksum, and every object.
            Loads into an empty database.
data        rows, and where sequences stand. The inventory has these and no other objects. Loads into a database that
            has these tables, all of them empty: ``load`` takes care of order, foreign keys and triggers, and leaves the
            definitions as they were.

``exclude_tables`` (``engines.exclusion``) leaves rows out of a full or data backup, never a definition. The inventory
lists such a table with 0 rows. A structure backup has no rows to leave out, and takes no notice of it.

A restore never loads over what is there. What shall replace a database is made beside it (``replacement_name``),
loaded, checked, and put in its place at the very end (``replace_with``): an interruption leaves the old one whole.

``jobs`` above 1 asks for several streams of one moment, read at the same time and stored as a part each. Their order is
the order of loading: what defines the tables, the rows in as many streams as were asked for at most, what must come
after all rows. Where there is nothing to share out (a structure, one file), there is one stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from db_backup.errors import ArtefactCorrupt
from db_backup.manifest import Consistency, Inventory, Manifest, Part, ServerInfo, StockCommand, ToolInfo
from db_backup.model import BackupType, ConnectionInfo, EngineName
from db_backup.progress import Cancellation

Block = bytes | bytearray | memoryview


@dataclass(frozen=True)
class EngineOptions:
    """What settings say to engines (SPEC §2); each engine reads its own."""

    staging_path: Path
    scratch_path: Path
    mysql_single_transaction: bool = True
    mysql_routines: bool = True
    mysql_triggers: bool = True
    mysql_events: bool = True
    postgres_format: str = "custom"
    postgres_no_owner: bool = True
    postgres_no_privileges: bool = True
    sqlite_vacuum: bool = False


@dataclass(frozen=True)
class DumpRequest:
    """What to dump. ``entry`` names the database in errors; ``type`` is one that ``supported_types`` lists.

    ``exclude_tables``: patterns of tables whose rows are left out. ``jobs``: how many streams may carry rows.
    """

    entry: str
    type: BackupType = BackupType.FULL
    exclude_tables: tuple[str, ...] = ()
    jobs: int = 1


@dataclass(frozen=True)
class Preflight:
    """What is known before the dump starts. ``warnings`` end up in the manifest."""

    server: ServerInfo
    tools: tuple[ToolInfo, ...]
    warnings: tuple[str, ...]
    estimated_plain_bytes: int | None


class DumpStream(Protocol):
    """One stream of plain bytes. The pipeline reads ``fileno()`` to its end and shows every block to ``observe``.

    Of several, each is read by a thread of its own.
    """

    name: str  # "main"; of a parallel dump what it carries: "definitions", "data-1"; unique in the dump
    suffix: str  # of the bare dump: "sql", "dump", "sqlite"; it need not tell the type

    def fileno(self) -> int: ...

    def observe(self, block: memoryview) -> None:
        """Each plain byte, in order, once; from one thread. The memory is reused after this returns."""


@dataclass(frozen=True)
class DumpSummary:
    """What is known once every stream was read to its end and found complete.

    ``excluded_tables``: whose rows were left out, as the inventory names tables (a partition may stand beside the
    partitioned table). ``warnings`` name them too. ``from_position`` and ``to_position``: of a chain's backups alone
    (``engines.chain``), in the engine's own text. ``databases``: of a server's.
    """

    consistency: Consistency
    recovery_point: datetime  # the snapshot's moment, UTC
    inventory: Inventory
    warnings: tuple[str, ...] = ()
    excluded_tables: tuple[str, ...] = ()
    from_position: str | None = None
    to_position: str | None = None
    databases: tuple[str, ...] = ()


class Dump(ABC):
    """An open dump: one consistent moment of the source, as one or more streams."""

    preflight: Preflight
    format: str  # Manifest.format: what the bytes are, of which type: "pg_dump custom", "pg_dump custom, data"
    streams: Sequence[DumpStream]

    def stream_ended(self, number: int) -> None:
        """Called when this one of ``streams`` was read to its end, in the thread that read it; others may go on.

        :raises DumpFailed: its tool failed, so that the others need not be read.
        """
        return

    @abstractmethod
    def complete(self) -> DumpSummary:
        """Called after every stream was read to its end: reap the tools and prove the dump whole.

        :raises DumpFailed: a tool's exit status is not 0 (its last words are in the message, without secrets).
        :raises DumpIncomplete: status 0, but the end marker, a table's data or a listed object is missing.
        """


@dataclass(frozen=True)
class LoadOptions:
    """What of a backup is loaded, and how.

    ``tables``: of a full backup only these, as the inventory names them, each with its rows, indexes, keys among
    themselves, triggers and sequences of its own; empty: everything. ``with_owners``: owners and grants too, and roles
    that they name and the server lacks are made, without login. ``jobs``: how many may load at once, where the format
    lets them (a custom archive of PostgreSQL, staged in BACKUP_STAGING_PATH); elsewhere it changes nothing.
    """

    tables: tuple[str, ...] = ()
    with_owners: bool = False
    jobs: int = 1


@dataclass(frozen=True)
class Occupancy:
    """What a database that exists holds, and who uses it.

    ``objects``: how many tables, views, routines and so on people made in it. ``rows``: whether a table has any.
    ``examples``: the names of a few of them. ``sessions``: connections to it besides ours; None where nobody can know.
    """

    objects: int = 0
    rows: bool = False
    examples: tuple[str, ...] = ()
    sessions: int | None = 0
    size_bytes: int | None = None


@dataclass(frozen=True)
class TargetExamination:
    """What is known of a restore's target before anything is changed. ``occupancy`` None: there is no such database."""

    server: ServerInfo
    occupancy: Occupancy | None
    warnings: tuple[str, ...] = ()


class Engine(ABC):
    """One database through one connection."""

    name: ClassVar[EngineName]
    supported_types: ClassVar[frozenset[BackupType]] = frozenset({BackupType.FULL})

    def __init__(self, connection: ConnectionInfo, options: EngineOptions) -> None:
        self.connection = connection
        self.options = options

    @abstractmethod
    def check(self) -> ServerInfo:
        """Connect and say what is there.

        :raises ServerUnreachable, AccessDenied, SourceUnsupported:
        """

    @abstractmethod
    def preflight(self, request: DumpRequest) -> Preflight:
        """Tools, versions and privileges: refuse what would fail or silently leave something out, warn of the rest.

        :raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceUnsupported, ToolMissing, ToolVersionMismatch:
        :raises ConfigurationError: rows that ``exclude_tables`` leaves out are needed by others.
        """

    @abstractmethod
    def open_backup(self, request: DumpRequest, cancellation: Cancellation) -> AbstractContextManager[Dump]:
        """Run the preflight, take the snapshot and start the dump.

        Leaving the block, however it is left, kills and reaps what still runs, ends the snapshot and removes
        temporary files. ``cancellation`` kills the tools' process groups.
        """

    @abstractmethod
    def stock_commands(self, parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
        """How a person restores these parts with stock tools alone, from the folder that holds them.

        Written for a database called ``restored``: a new one, or for ``data`` one that has the tables and no rows
        (``format`` tells). Passwords are left to the tool's own prompt or option file.
        """

    @abstractmethod
    def database_exists(self, database: str) -> bool:
        """Whether the server has a database (SQLite: the file exists) of this name."""

    @abstractmethod
    def create_database(self, database: str, like: ServerInfo | None = None) -> Engine:
        """Create a new, empty database on the same server and return an engine bound to it.

        For SQLite the name is a file path and nothing is created before ``load``.

        :param like: of the backup that it is for: its database's encoding and locale, where this server has them. None:
            those of the database that this engine is bound to, as also where it does not.
        :raises TargetNotEmpty: it exists already. Nothing is ever dropped or emptied here.
        """

    @abstractmethod
    def drop_database(self, database: str) -> None:
        """Remove a database that the caller created itself a moment ago. A missing one is no error."""

    @abstractmethod
    def examine_target(self, manifest: Manifest, options: LoadOptions, *, replace: bool) -> TargetExamination:
        """Whether this backup can be restored to this connection's database, which may not exist; changes nothing.

        :param replace: what the database holds shall be replaced: the rights for ``replace_with`` are asked after too.
        :raises ServerUnreachable, AccessDenied:
        :raises SourceUnsupported: another flavour, or an older major version, than the backup's server.
        :raises PrivilegeMissing: this user may not create or replace the database there.
        :raises LoadFailed: something that the backup needs is not there, such as an extension; for ``data`` a table.
        :raises ToolMissing, ToolVersionMismatch:
        :raises UsageError: ``options.tables`` names a table that the backup does not hold.
        :raises FeatureNotAvailable: this engine or this backup's type cannot do what ``options`` ask for.
        """

    @abstractmethod
    def replacement_name(self) -> str:
        """What the replacement of this connection's database is called until it takes its place.

        Always the same for one database, so that what an interrupted restore left there is found (and dropped, by the
        holder of the target's lock) by the next. For SQLite a path in the same folder.
        """

    @abstractmethod
    def replace_with(self, database: str, cancellation: Cancellation) -> tuple[str, ...]:
        """Put ``database``, made beside it and loaded, in the place of this connection's database; returns warnings.

        That may not exist; if it does, its sessions are ended, and its contents are gone when this returns. What
        belongs to the database itself stays as it was: owner, grants and settings. SQLite has no sessions: owner and
        mode of the file stay, and programs that have it open without a lock go on in the new contents.

        :raises Refused: the database is in use and cannot be freed; nothing was changed.
        :raises BackupError: any other: the old database is whole and in service, or the error says what is not.
        """

    @abstractmethod
    def refresh_statistics(self, cancellation: Cancellation) -> None:
        """Let the planner know what was loaded into this connection's database (ANALYZE).

        Where a backup brings its source's statistics along (an image of SQLite), they stay as they are.

        :raises SourceError:
        """

    @abstractmethod
    def ask(self, query: str, cancellation: Cancellation) -> object:
        """The first value of the first row of a query of the configuration, run so that it cannot write; None: no row.

        :raises SourceError: the query failed.
        """

    @abstractmethod
    def load(
        self,
        streams: Sequence[Iterable[Block]],
        manifest: Manifest,
        cancellation: Cancellation,
        options: LoadOptions | None = None,
    ) -> tuple[str, ...]:
        """Load a backup's plain bytes into this connection's database, which is as its type needs it; returns warnings.

        With ``options.tables`` the database may hold anything but tables of these names.

        ``streams`` are those of ``manifest.streams``, in this order; each can be read once. They check hashes as they
        go and may raise an ``ArtefactError`` as late as their end: that error is passed on, and the load then counts
        as failed. A load that fails changes nothing that was there before.

        :raises TargetNotEmpty: there is something already; for ``data``: a table has rows.
        :raises LoadFailed: the tool's exit status, or an error that it reported with status 0; for ``data`` also: a
            table is not there, or what stands in the way cannot be set aside by this user.
        """

    @abstractmethod
    def take_inventory(self, manifest: Manifest, cancellation: Cancellation) -> Inventory:
        """The inventory of this connection's database, taken the way ``manifest``'s was, so that the two compare.

        Of a ``structure`` backup's target the rows are counted in SQL: one that should not be there shows.
        """

    @abstractmethod
    def read_archive(
        self, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
    ) -> Inventory:
        """Prove without a server that the plain bytes are a complete dump that its own tool reads; what they hold.

        ``streams``: as for ``load``.

        The inventory's ``objects`` may be empty where the archive does not list them. Needs no connection.

        :raises ArtefactCorrupt, ArtefactTruncated: with the table or place where it shows.
        :raises ToolMissing: the tool that reads this format is not there.
        """


def only_stream(streams: Sequence[Iterable[Block]], manifest: Manifest) -> Iterable[Block]:
    """The one stream of a dump whose format knows no more than one.

    :raises ArtefactCorrupt: the manifest lists another number.
    """
    if len(streams) != 1:
        raise ArtefactCorrupt(
            f"The manifest of {manifest.id} lists {len(streams)} streams, and a dump in the format '{manifest.format}' "
            "is one.",
            hint="Take another copy of this backup, or an older backup.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    return streams[0]
