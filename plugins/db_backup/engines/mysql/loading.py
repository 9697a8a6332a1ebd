"""Plain bytes of a dump into an empty database, and the reading of a dump without any server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql

from db_backup.engines.base import Block
from db_backup.engines.mysql.client import complaints, running_client
from db_backup.engines.mysql.connecting import Session, connect, identifier, query
from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.definers import Definers
from db_backup.engines.mysql.definers import wanted as definers_wanted
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import Kind, MalformedDump, Piece
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.inventory import tables_of
from db_backup.engines.mysql.preflight import describe_server
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated, LoadFailed, ScratchUnavailable, TargetNotEmpty
from db_backup.manifest import Inventory, Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_ANOTHER_DATABASE = re.compile(
    r"ERROR 1146 .*Table '(.+?)\.|ERROR 1049 .*Unknown database '(.+)'|ERROR 1305 .*(?:FUNCTION|PROCEDURE) (.+?)\."
)
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s ORDER BY table_name LIMIT 5"
_RESERVE_BYTES = 32 << 20  # more than the client and the pipe to it hold


def load(
    connection: ConnectionInfo, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
) -> tuple[str, ...]:
    """Feed a dump to stock clients. The binlog stays on: replicas and later increments must see a restore.

    :raises TargetNotEmpty: the database holds something; it was not touched.
    :raises LoadFailed: the client failed, or the dump ended before its end marker.
    :raises ScratchUnavailable: a scratch server is full or gone, or lacks another database that the dump needs.
    """
    with scratch_faults(connection, manifest):
        return _load(connection, streams, manifest, cancellation)


def _load(
    connection: ConnectionInfo, streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation
) -> tuple[str, ...]:
    cancellation.check()
    flavour, events_run = _prepare(connection, manifest)
    fed = feed_all(connection, flavour, streams, manifest, cancellation)
    if fed.events and events_run:
        active = f"{fed.events} events are now active in '{connection.database}', beside the original's."
        return (*fed.warnings, active)
    return fed.warnings


@dataclass(frozen=True)
class Fed:
    """What a client was given. ``events``: how many it made."""

    warnings: tuple[str, ...]
    events: int


def feed_all(
    connection: ConnectionInfo,
    flavour: Flavour,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
) -> Fed:
    """Have clients load the streams of a dump, one after the other, as their bytes come.

    :raises LoadFailed: a client failed, or a stream ended before its end marker.
    """
    warnings: list[str] = []
    events = 0
    for content, parser in zip(streams, parsers_for(streams, manifest), strict=True):
        with running_client(connection, flavour, cancellation) as (client, process):
            feeder = Feeder(connection, manifest, parser, cancellation, keep_sandbox_line=client.knows_sandbox)
            feeder.feed(process, iter(content))
        warnings += feeder.warnings
        events += sum(kind == "event" for kind, _ in parser.objects)
    return Fed(tuple(warnings), events)


def parsers_for(streams: Sequence[Iterable[Block]], manifest: Manifest) -> list[DumpParser]:
    """One for each; the last stream of a data backup ends in the counters."""
    last = len(streams) - 1
    return [DumpParser(counters=manifest.type is BackupType.DATA and number == last) for number in range(len(streams))]


def _prepare(connection: ConnectionInfo, manifest: Manifest) -> tuple[Flavour, bool]:
    """Give the database the character set that it had; the target's flavour, and whether its events would run."""
    session = connect(connection)
    try:
        server = describe_server(session, connection)
        _refuse_filled(session, connection)
        if manifest.server.collation:
            name = identifier(connection.database)
            query(
                session,
                f"ALTER DATABASE {name} CHARACTER SET {manifest.server.encoding} COLLATE {manifest.server.collation}",
            )
        return server.flavour, str(query(session, "SELECT @@event_scheduler")[0][0]).upper() == "ON"
    except pymysql.err.MySQLError as error:
        raise LoadFailed(
            f"{manifest.id} cannot be loaded into '{connection.database}': {error.args[-1]}.",
            hint="Restore it into a server of the same flavour and version, with a user that may create everything.",
            backup_id=manifest.id,
        ) from error
    finally:
        session.close()


def _refuse_filled(session: Session, connection: ConnectionInfo) -> None:
    """A dump drops the tables that it brings."""
    if names := [str(name) for (name,) in query(session, _TABLES, (connection.database,))]:
        raise TargetNotEmpty(
            f"The database at {connection.address} holds {', '.join(names)} and perhaps more, and was not touched.",
            hint="Restore into a new database.",
        )


class Feeder:
    """Shows the dump to the parser and feeds it to the client, renamed where it must be."""

    def __init__(
        self,
        connection: ConnectionInfo,
        manifest: Manifest,
        parser: DumpParser,
        cancellation: Cancellation,
        *,
        keep_sandbox_line: bool,
    ) -> None:
        self._connection = connection
        self._manifest = manifest
        self._cancellation = cancellation
        self._keep_sandbox_line = keep_sandbox_line
        self._renaming: Renaming | None = None
        self.parser = parser
        self.warnings: list[str] = []

    def feed(self, process: ChildProcess, content: Iterator[Block]) -> None:
        """:raises LoadFailed:"""
        try:
            self._write_all(process, content)
        except BrokenPipeError:
            self._drain(content)
            status = process.wait()
            self._cancellation.check()
            self._excuse_scratch(process.last_words)
            raise self._failed(process, f"the client stopped reading with status {status}") from None
        except MalformedDump as error:
            self._drain(content)
            raise self._failed(process, f"it is not one SQL dump: {error}") from error
        process.close_stdin()
        status = process.wait()
        self._cancellation.check()
        if status:
            self._excuse_scratch(process.last_words)
            raise self._failed(process, f"the client ended with status {status}")
        if complaints(process.last_words):
            raise self._failed(process, "the client reported an error with status 0")

    def _write_all(self, process: ChildProcess, content: Iterator[Block]) -> None:
        with self._side_session() as session:
            definers = Definers(session) if session is not None else None
            scratch_folder = Path(query(session, "SELECT @@datadir")[0][0]) if session is not None else None
            for block in content:
                self._cancellation.check()
                if scratch_folder is not None:
                    self._require_room(scratch_folder)
                for piece in self.parser.pieces(block):
                    if definers is not None and piece.kind is Kind.STATEMENT:
                        definers.prepare(piece.text)
                    process.write(self._rewritten(piece))
        process.write(self.parser.finish())
        if not self.parser.complete:
            raise MalformedDump("it ends before its end marker")

    def _require_room(self, folder: Path) -> None:
        """MyISAM and Aria say nothing of a full disk, and wait for somebody to make room.

        :raises ScratchUnavailable:
        """
        if (free := shutil.disk_usage(folder).free) < _RESERVE_BYTES:
            raise ScratchUnavailable(
                f"The scratch server is full or has stopped: {free >> 20} MB are free on its disk, and "
                f"{self._manifest.id} is not loaded yet.",
                hint="Make room there, or set BACKUP_SCRATCH_PATH to a larger place.",
                backup_id=self._manifest.id,
            )

    def _rewritten(self, piece: Piece) -> bytes:
        if piece.kind is Kind.SANDBOX and not self._keep_sandbox_line:
            return b""
        if self._renaming is None and piece.kind is Kind.STATEMENT:
            target = self._connection.database
            self._renaming = Renaming(self.parser.database or target, target)
            self.warnings = self._renaming.warnings
        return piece.text if self._renaming is None else self._renaming.apply(piece)

    @contextmanager
    def _side_session(self) -> Iterator[Session | None]:
        """For the accounts that a scratch server lacks; a real server's are not ours to make."""
        if not definers_wanted(self._connection):
            yield None
            return
        session = connect(self._connection)
        try:
            yield session
        finally:
            session.close()

    def _drain(self, content: Iterator[Block]) -> None:
        """Read on: damage to the artefact explains a failed load better than the client's words do."""
        for _ in content:
            self._cancellation.check()

    def _excuse_scratch(self, words: str) -> None:
        """A scratch server has this one database: what needs another proves nothing there.

        :raises ScratchUnavailable:
        """
        missing = _ANOTHER_DATABASE.search(words)
        if missing is None or not definers_wanted(self._connection):
            return
        other = next(name for name in missing.groups() if name is not None)
        if other != self._connection.database:
            raise ScratchUnavailable(
                f"{self._manifest.id} refers to the database '{other}', which a scratch server does not have.",
                hint="Prove this backup by restoring it to a server that has both.",
                backup_id=self._manifest.id,
            )

    def _failed(self, process: ChildProcess, what: str) -> LoadFailed:
        words = complaints(process.last_words)
        return LoadFailed(
            f"{self._manifest.id} was not loaded into '{self._connection.database}': {what}"
            + (f": {words}" if words else "."),
            hint=_hint(words, self._manifest.type),
            database=self._manifest.entry,
            backup_id=self._manifest.id,
        )


def _hint(words: str, backup_type: BackupType) -> str:
    if any(code in words for code in ("ERROR 1153", "ERROR 2006", "ERROR 2013")):
        return "The target server's max_allowed_packet may be too small for the largest row."
    elsewhere = ("ERROR 1049", "ERROR 1146", "ERROR 1305")
    if backup_type is not BackupType.DATA and any(code in words for code in elsewhere):
        return "A view or routine may refer to another database, which the target server does not have."
    if "ERROR 1449" in words:
        return "Create the account that the message names on the target server first."
    if "ERROR 1227" in words or "ERROR 1044" in words:
        return "Definers and events take a user with SET USER (or SUPER) and EVENT on the target."
    if backup_type is BackupType.DATA:
        return "Nothing of it is kept. The tables must be those of the backup: restore its structure first."
    return "The database is not usable as it is; drop it."


def read_archive(streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """What a dump holds, every stream of it read to its end marker.

    :raises ArtefactCorrupt, ArtefactTruncated:
    """
    parsers = parsers_for(streams, manifest)
    for content, parser in zip(streams, parsers, strict=True):
        _read_stream(content, parser, manifest, cancellation)
    try:
        contents = contents_of(parsers)
    except MalformedDump as error:
        raise _unreadable(manifest, "", error) from error
    return Inventory(tables=tables_of(contents, manifest.type, manifest.excluded_tables))


def _read_stream(content: Iterable[Block], parser: DumpParser, manifest: Manifest, cancellation: Cancellation) -> None:
    try:
        for block in content:
            cancellation.check()
            parser.feed(block)
        parser.finish()
    except MalformedDump as error:
        raise _unreadable(manifest, _place(parser), error) from error
    if not parser.complete:
        raise ArtefactTruncated(
            f"The dump of {manifest.id} ends before its end marker{_place(parser)}.",
            hint="Restore from another copy or another backup.",
            backup_id=manifest.id,
        )


def _unreadable(manifest: Manifest, place: str, error: MalformedDump) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"The dump of {manifest.id} cannot be read{place}: {error}.",
        hint="Restore from another copy or another backup.",
        backup_id=manifest.id,
    )


def _place(parser: DumpParser) -> str:
    return f", at or after the table '{parser.last_table}'" if parser.last_table else ""
