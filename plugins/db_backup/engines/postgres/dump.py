"""A running pg_dump on an exported snapshot, and the proof that what it wrote is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.engines.base import Dump, DumpSummary, EngineOptions, Preflight
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.archive import ArchiveReader
from db_backup.engines.postgres.contents import DumpContents, DumpReader, StreamDamaged
from db_backup.engines.postgres.inventory import Catalogue, read_catalogue
from db_backup.engines.postgres.preflight import some
from db_backup.engines.postgres.script import ScriptReader
from db_backup.engines.postgres.session import Connection, rows, tool_environment
from db_backup.errors import DumpFailed, DumpIncomplete
from db_backup.manifest import Consistency, Inventory
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

LOCK_WAIT_SECONDS = 300
_SUFFIXES = {"pg_dump custom": "dump", "pg_dump plain": "sql"}


def reader_of(dump_format: str) -> DumpReader:
    """The reader for a ``Manifest.format``."""
    return ArchiveReader() if dump_format == "pg_dump custom" else ScriptReader()


@dataclass(frozen=True)
class Snapshot:
    """One moment of the database: its exported name, and what the catalogue says of it."""

    name: str
    taken_at: datetime
    lsn: str | None
    standby: bool
    encoding: str
    catalogue: Catalogue


def begin_snapshot(connection: Connection) -> None:
    """Everything that this connection reads from here to its end is of one moment."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    # The dump may take hours, and this transaction is idle meanwhile.
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    connection.execute("SET LOCAL statement_timeout = 0")


def export_snapshot(connection: Connection) -> Snapshot:
    """Export the running transaction's snapshot; it lives until the connection ends."""
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
    return Snapshot(name, taken_at.astimezone(UTC), lsn, standby, encoding, read_catalogue(connection))


class PostgresStream:
    """pg_dump's standard output. What is wrong with it is kept until the tool's exit status is known."""

    name = "main"

    def __init__(self, tool: ChildProcess, dump_format: str) -> None:
        self.suffix = _SUFFIXES[dump_format]
        self._tool = tool
        self._reader = reader_of(dump_format)
        self._damage: StreamDamaged | None = None

    def fileno(self) -> int:
        return self._tool.stdout.fileno()

    def observe(self, block: memoryview) -> None:
        if self._damage is None:
            try:
                self._reader.feed(bytes(block))
            except StreamDamaged as damage:
                self._damage = damage

    def contents(self) -> DumpContents:
        """:raises StreamDamaged: what passed by is not a whole dump."""
        if self._damage is not None:
            raise self._damage
        return self._reader.finish()


class PostgresDump(Dump):
    """See ``open_dump``."""

    def __init__(
        self, preflight: Preflight, dump_format: str, snapshot: Snapshot, tool: ChildProcess, entry: str
    ) -> None:
        self.preflight = preflight
        self.format = dump_format
        self._stream = PostgresStream(tool, dump_format)
        self.streams = (self._stream,)
        self._snapshot = snapshot
        self._tool = tool
        self._entry = entry

    @property
    def catalogue(self) -> Catalogue:
        """What the database holds in the snapshot."""
        return self._snapshot.catalogue

    def complete(self) -> DumpSummary:
        if status := self._tool.wait():
            complaint = tools.complaint(self._tool)
            raise DumpFailed(
                f"pg_dump of '{self._entry}' ended with status {status}: {complaint or 'it said nothing'}.",
                hint=_failure_hint(complaint),
                database=self._entry,
            )
        try:
            contents = self._stream.contents()
        except StreamDamaged as damage:
            raise self._incomplete(f"the dump {damage}") from damage
        self._compare_with_catalogue(contents)
        return DumpSummary(
            consistency=Consistency(snapshot="exported snapshot", lsn=self._snapshot.lsn),
            recovery_point=self._snapshot.taken_at,
            inventory=Inventory(tables=contents.inventory(), objects=self._snapshot.catalogue.objects),
            warnings=tools.remarks(self._tool),
        )

    def _compare_with_catalogue(self, contents: DumpContents) -> None:
        """Every table of the same snapshot's catalogue had its data, and every large object."""
        catalogue = self._snapshot.catalogue
        missing = [
            ".".join(table.name)
            for table in catalogue.tables
            if table.name not in contents.tables
            and contents.root(table.name) not in contents.tables
            and not (table.unlogged and self._snapshot.standby)
        ]
        if missing:
            raise self._incomplete(f"the dump does not hold the data of {some(sorted(missing))}")
        if contents.large_objects.rows != catalogue.large_objects:
            raise self._incomplete(
                f"the dump holds {contents.large_objects.rows} large objects, "
                f"and the database {catalogue.large_objects}"
            )

    def _incomplete(self, what: str) -> DumpIncomplete:
        return DumpIncomplete(
            f"pg_dump of '{self._entry}' ended with status 0, but {what}.",
            hint="Nothing was kept; check the pg_dump on PATH and the disk and network between, and run it again.",
            database=self._entry,
        )


@contextmanager
def open_dump(
    connection: ConnectionInfo,
    preflight: Preflight,
    snapshot: Snapshot,
    tool: tools.Tool,
    *,
    dump_format: str,
    options: EngineOptions,
    entry: str,
    cancellation: Cancellation,
) -> Iterator[PostgresDump]:
    """Start pg_dump on the snapshot; it is gone when the block ends."""
    with (
        tool_environment(connection) as environment,
        ChildProcess(
            [str(tool.path), *_arguments(dump_format, snapshot, options)],
            cancellation=cancellation,
            environment=environment,
        ) as process,
    ):
        yield PostgresDump(preflight, dump_format, snapshot, process, entry)


def _arguments(dump_format: str, snapshot: Snapshot, options: EngineOptions) -> list[str]:
    arguments = [
        "--no-password",
        f"--snapshot={snapshot.name}",
        f"--lock-wait-timeout={LOCK_WAIT_SECONDS}s",
    ]
    if snapshot.encoding != "SQL_ASCII":
        arguments.append("--encoding=UTF8")  # every other encoding converts to it and back
    if dump_format == "pg_dump custom":
        # Owners and privileges stay in the archive: pg_restore leaves them out, or not, when it restores.
        return [*arguments, "--format=custom", "--compress=0"]
    return [
        *arguments,
        "--format=plain",
        "--no-tablespaces",
        *(["--no-owner"] if options.postgres_no_owner else []),
        *(["--no-privileges"] if options.postgres_no_privileges else []),
    ]


def _failure_hint(complaint: str) -> str:
    if "statement timeout" in complaint and "LOCK TABLE" in complaint:
        return f"A change of a table's structure held its lock for {LOCK_WAIT_SECONDS} s; run it again afterwards."
    if "No space left" in complaint:
        return "The database server has no room for temporary files."
    return "Nothing was kept; mend what pg_dump names, and run it again."
