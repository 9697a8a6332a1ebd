"""A running pg_dump, or several, on one exported snapshot; and the proof that what they wrote is whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, EngineOptions, Preflight
from db_backup.engines.piping import PipedStream, piped
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.archive import ArchiveReader
from db_backup.engines.postgres.contents import DumpContents, DumpReader, StreamDamaged, TableName
from db_backup.engines.postgres.directory import written_directory
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.inventory import Catalogue, read_catalogue
from db_backup.engines.postgres.left_out import LeftOut, leave_out
from db_backup.engines.postgres.pieces import Piece, pattern
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.room import ran_out_of_room
from db_backup.engines.postgres.script import ScriptReader
from db_backup.engines.postgres.session import Connection, rows, tool_environment
from db_backup.engines.postgres.standby import replayed_until
from db_backup.engines.postgres.tar_archive import TarReader
from db_backup.engines.row_hashing import TableCounter
from db_backup.engines.staging import staging_folder
from db_backup.errors import DumpFailed, DumpIncomplete, StorageFull
from db_backup.manifest import Consistency, Inventory, TableInventory
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

# The snapshot's session holds every table: only who queues for one behind it can keep pg_dump waiting, and in vain.
LOCK_WAIT_SECONDS = 30
_TYPE_FLAGS = {
    BackupType.FULL: (),
    BackupType.STRUCTURE: ("--schema-only",),
    # Through the partitioned table: the target's partitions may be others.
    BackupType.DATA: ("--data-only", "--load-via-partition-root"),
}
_FORMAT_FLAGS: Mapping[Container, tuple[str, ...]] = {
    Container.CUSTOM: ("--compress=0",),
    Container.PLAIN: ("--no-tablespaces",),
    Container.TAR: (),  # knows no compression
    Container.DIRECTORY: ("--compress=0", "--no-sync"),
}
_READERS: Mapping[Container, type[DumpReader]] = {
    Container.CUSTOM: ArchiveReader,
    Container.PLAIN: ScriptReader,
    Container.TAR: TarReader,
    Container.DIRECTORY: TarReader,
}


def reader_of(dump_format: DumpFormat) -> DumpReader:
    return _READERS[dump_format.container]()


@dataclass(frozen=True)
class Snapshot:
    """One moment of the database: its exported name, what the catalogue says of it, and what is left out of it."""

    name: str
    taken_at: datetime
    lsn: str | None
    standby: bool
    encoding: str
    catalogue: Catalogue
    left_out: LeftOut


def export_snapshot(connection: Connection, request: DumpRequest) -> Snapshot:
    """Export the running transaction's snapshot; it lives until the connection ends.

    :raises ConfigurationError: ``exclude_tables`` leaves out what others need.
    """
    name, taken_at, standby, encoding = rows(
        connection,
        "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.now(), pg_catalog.pg_is_in_recovery(), "
        "pg_catalog.current_setting('server_encoding')",
    )[0]
    function = "pg_catalog.pg_last_wal_replay_lsn()" if standby else "pg_catalog.pg_current_wal_lsn()"
    lsn = rows(
        connection,
        f"SELECT CASE WHEN pg_catalog.has_function_privilege('{function}', 'EXECUTE') THEN {function}::text END",
    )[0][0]
    catalogue = read_catalogue(connection)
    left_out = leave_out(connection, catalogue, request)
    moment = taken_at.astimezone(UTC)
    if standby:
        moment = min(moment, replayed_until(connection))
    return Snapshot(name, moment, lsn, standby, encoding, catalogue, left_out)


class PostgresStream:
    """pg_dump's standard output, or the ``tar`` of the directory that it writes.

    What is wrong with it is kept until the tool's exit status is known.
    """

    def __init__(self, name: str, tool: ChildProcess, dump_format: DumpFormat, tar: PipedStream | None) -> None:
        self.name = name
        self.suffix = dump_format.suffix
        self.tool = tool
        self._tar = tar
        self._reader = reader_of(dump_format)
        self._damage: StreamDamaged | None = None

    def fileno(self) -> int:
        return (self._tar or self.tool.stdout).fileno()

    def observe(self, block: memoryview) -> None:
        if self._tar is not None:
            self._tar.observe(block)
        if self._damage is None:
            try:
                self._reader.feed(bytes(block))
            except StreamDamaged as damage:
                self._damage = damage

    def contents(self) -> DumpContents:
        """:raises StreamDamaged: what passed by is not a whole dump."""
        if self._tar is not None:
            _check_passed(self._tar)
        if self._damage is not None:
            raise self._damage
        return self._reader.finish()


def _check_passed(tar: PipedStream) -> None:
    try:
        whole = tar.is_whole()
    except OSError as error:
        raise StreamDamaged(f"could not be read from its directory: {error}", truncated=True) from error
    if not whole:
        raise StreamDamaged("was not read to its end", truncated=True)


class PostgresDump(Dump):
    """See ``open_dump``."""

    def __init__(
        self,
        preflight: Preflight,
        dump_format: DumpFormat,
        snapshot: Snapshot,
        streams: Sequence[PostgresStream],
        options: EngineOptions,
        entry: str,
        cancellation: Cancellation,
    ) -> None:
        self.preflight = preflight
        self.format = str(dump_format)
        self._format = dump_format
        self._type = dump_format.type
        self._options = options
        self.streams: Sequence[PostgresStream] = streams
        self._snapshot = snapshot
        self._entry = entry
        self._cancellation = cancellation

    @property
    def catalogue(self) -> Catalogue:
        """What the database holds in the snapshot."""
        return self._snapshot.catalogue

    def stream_ended(self, number: int) -> None:
        tool = self.streams[number].tool
        status = tool.wait()
        self._cancellation.check()  # a stop kills pg_dump
        if status:
            raise self._failed(status, tools.complaint(tool))

    def complete(self) -> DumpSummary:
        for number in range(len(self.streams)):
            self.stream_ended(number)
        contents = DumpContents()
        for stream in self.streams:
            try:
                contents.merge(stream.contents())
            except StreamDamaged as damage:
                raise self._incomplete(f"the dump {damage}") from damage
        self._compare_with_catalogue(contents)
        return DumpSummary(
            consistency=Consistency(
                snapshot="exported snapshot", standby=self._snapshot.standby, lsn=self._snapshot.lsn
            ),
            recovery_point=self._snapshot.taken_at,
            inventory=self._inventory(contents),
            warnings=(*self._snapshot.left_out.exclusion.warnings, *self._remarks()),
            excluded_tables=self._snapshot.left_out.exclusion.tables,
        )

    def _remarks(self) -> Iterable[str]:
        """What the tools warned of, each remark once."""
        return dict.fromkeys(remark for stream in self.streams for remark in tools.remarks(stream.tool))

    def _inventory(self, contents: DumpContents) -> Inventory:
        catalogue = self._snapshot.catalogue
        match self._type:
            case BackupType.STRUCTURE:
                return Inventory(tables=contents.empty_tables(), objects=catalogue.definitions)
            case BackupType.DATA:
                return Inventory(tables=self._tables(contents), objects=tuple(contents.sequence_values))
        return Inventory(tables=self._tables(contents), objects=(*catalogue.objects, *contents.sequence_values))

    def _tables(self, contents: DumpContents) -> tuple[TableInventory, ...]:
        roots = {".".join(name) for name in self._snapshot.catalogue.roots}
        return with_empty(contents.inventory(), roots.intersection(self._snapshot.left_out.exclusion.tables))

    def _compare_with_catalogue(self, contents: DumpContents) -> None:
        """Every table of the same snapshot's catalogue is there, with its data and every large object."""
        catalogue = self._snapshot.catalogue
        if self._type is not BackupType.DATA:
            wanted = (*catalogue.partitioned, *(table.name for table in catalogue.tables))
            if undefined := [name for name in wanted if name not in contents.defined]:
                raise self._incomplete(f"the dump does not create {_some(undefined)}")
        if self._type is BackupType.STRUCTURE:
            if contents.tables:
                raise self._incomplete(f"the dump holds the data of {_some(list(contents.tables))}")
            return
        self._compare_data_with_catalogue(contents)

    def _compare_data_with_catalogue(self, contents: DumpContents) -> None:
        catalogue = self._snapshot.catalogue
        expected = Counter(
            catalogue.root(table.name)
            for table in catalogue.tables
            if table.name not in self._snapshot.left_out.tables and not (table.unlogged and self._snapshot.standby)
        )
        found: Counter[TableName] = Counter()
        for name, copies in contents.copies.items():
            found[catalogue.root(name)] += copies
        if missing := [name for name, copies in expected.items() if found[name] < copies]:
            raise self._incomplete(f"the dump does not hold the data of {_some(missing)}")
        if contents.large_objects.rows != catalogue.large_objects:
            raise self._incomplete(
                f"the dump holds {contents.large_objects.rows} large objects, "
                f"and the database {catalogue.large_objects}"
            )

    def _failed(self, status: int, complaint: str) -> DumpFailed | StorageFull:
        return ran_out_of_room(self._format, complaint, self._options, self._entry) or DumpFailed(
            f"pg_dump of '{self._entry}' ended with status {status}: {complaint or 'it said nothing'}.",
            hint=_failure_hint(complaint),
            database=self._entry,
        )

    def _incomplete(self, what: str) -> DumpIncomplete:
        return DumpIncomplete(
            f"pg_dump of '{self._entry}' ended with status 0, but {what}.",
            hint="Nothing was kept; check the pg_dump on PATH and the disk and network between, and run it again.",
            database=self._entry,
        )


def with_empty(tables: Sequence[TableInventory], names: Iterable[str]) -> tuple[TableInventory, ...]:
    """The tables, and those of the names that are not among them, with no rows."""
    missing = set(names) - {table.name for table in tables}
    empty = [TableCounter().inventory(name) for name in missing]
    return tuple(sorted((*tables, *empty), key=lambda table: table.name))


def _some(names: Iterable[TableName]) -> str:
    return some(sorted(".".join(name) for name in names))


@contextmanager
def open_dump(
    connection: ConnectionInfo,
    preflight: Preflight,
    snapshot: Snapshot,
    tool: tools.Tool,
    *,
    dump_format: DumpFormat,
    options: EngineOptions,
    entry: str,
    cancellation: Cancellation,
    jobs: int = 1,
    pieces: Sequence[Piece] = (Piece(),),
) -> Iterator[PostgresDump]:
    """Start a pg_dump on the snapshot for every piece; they are gone when the block ends.

    :param jobs: how many tables one pg_dump reads at the same time, where the format knows more than one.
    """
    with ExitStack() as stack:
        environment = stack.enter_context(tool_environment(connection))
        output: list[str] = []
        folder: Path | None = None
        if dump_format.container is Container.DIRECTORY:
            folder = stack.enter_context(staging_folder(options.staging_path)) / "dump"
            output = [f"--file={folder}", f"--jobs={jobs}"]
        streams = []
        for piece in pieces:
            process = stack.enter_context(
                ChildProcess(
                    [str(tool.path), *_arguments(dump_format, snapshot, options), *piece.selection, *output],
                    cancellation=cancellation,
                    environment=environment,
                )
            )
            tar: PipedStream | None = None
            if folder is not None:
                tar = stack.enter_context(piped(written_directory(process, folder)))
                stack.callback(process.kill)  # which the thread that feeds the pipe waits for
            streams.append(PostgresStream(piece.name, process, dump_format, tar))
        yield PostgresDump(preflight, dump_format, snapshot, streams, options, entry, cancellation)


def _arguments(dump_format: DumpFormat, snapshot: Snapshot, options: EngineOptions) -> list[str]:
    arguments = [
        "--no-password",
        f"--format={dump_format.container}",
        f"--snapshot={snapshot.name}",
        f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
        *_TYPE_FLAGS[dump_format.type],
        *(f"--exclude-table-data={pattern(name)}" for name in sorted(snapshot.left_out.tables)),
        *_FORMAT_FLAGS[dump_format.container],
    ]
    if snapshot.encoding != "SQL_ASCII":
        arguments.append("--encoding=UTF8")  # every other encoding converts to it and back
    if dump_format.is_archive:
        return arguments  # owners and privileges stay in it: pg_restore leaves them out, or not, when it restores
    return [
        *arguments,
        *(["--no-owner"] if options.postgres_no_owner else []),
        *(["--no-privileges"] if options.postgres_no_privileges else []),
    ]


def _failure_hint(complaint: str) -> str:
    if "statement timeout" in complaint and "LOCK TABLE" in complaint:
        return "A change of a table's structure came just when the dump began; run it again afterwards."
    if "No space left" in complaint:
        return "The database server has no room for temporary files."
    return "Nothing was kept; mend what pg_dump names, and run it again."
