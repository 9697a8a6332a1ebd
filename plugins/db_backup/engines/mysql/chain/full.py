"""The full backup of a server that increments can follow: one dump of every user database, with its binlog position."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, EngineOptions
from db_backup.engines.mysql.chain.capture import CaptureEnded, fetch_head
from db_backup.engines.mysql.chain.events import MalformedBinlog
from db_backup.engines.mysql.chain.position import Place, Position
from db_backup.engines.mysql.chain.preflight import Source, locked_tables, plan_for
from db_backup.engines.mysql.chain.server import gtids_at, read_now, undecided, user_databases
from db_backup.engines.mysql.chain.server_dump import ServerDumpParser, missing_from_server_dump, server_inventory
from db_backup.engines.mysql.connecting import Session, session_for
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.flavour import Flavour, find_client_tool
from db_backup.engines.mysql.formats import format_of
from db_backup.engines.mysql.giving_way import Watch, giving_way
from db_backup.engines.mysql.inventory import Catalogue, read_catalogue
from db_backup.engines.mysql.server import describe_server
from db_backup.engines.mysql.sharing import MAIN
from db_backup.engines.mysql.snapshot import Guard, guard
from db_backup.engines.mysql.streams import MysqlStream, running_tool
from db_backup.errors import DumpFailed, DumpIncomplete, LoadFailed
from db_backup.manifest import Consistency, Inventory
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation

_BLOCK_BYTES = 1 << 20
HOLD_SECONDS = 60  # of trying to hold a server still whose databases come and go


@dataclass(frozen=True)
class _Moment:
    """The server just before the dump's snapshot, with its structure held still. ``gtids``: of MySQL alone.

    ``undecided``: XA transactions that the dump does not hold, and the binlog after it not whole.
    """

    taken_at: datetime
    catalogues: dict[str, Catalogue]
    gtids: str
    undecided: tuple[str, ...]


class ServerDump(Dump):
    """See ``open_full``."""

    def __init__(
        self,
        request: DumpRequest,
        connection: ConnectionInfo,
        source: Source,
        moment: _Moment,
        stream: MysqlStream,
        parser: ServerDumpParser,
        held: Guard,
        watch: Watch,
        cancellation: Cancellation,
    ) -> None:
        self.preflight = source.preflight
        self.format = format_of(BackupType.FULL)
        self.streams = (stream,)
        self._stream = stream
        self._entry = request.entry
        self._connection = connection
        self._source = source
        self._moment = moment
        self._parser = parser
        self._held = held
        self._watch = watch
        self._cancellation = cancellation

    def stream_ended(self, number: int) -> None:
        status = self._stream.tool.wait()
        self._cancellation.check()  # a stop kills the tool
        self._watch.check(self._entry)  # and so does giving way
        if status:
            raise self._stream.failed(self._entry, status)

    def complete(self) -> DumpSummary:
        self.stream_ended(0)
        if problem := self._stream.finish():
            raise self._incomplete(problem)
        try:
            missing = missing_from_server_dump(self._moment.catalogues, self._parser)
            inventory = server_inventory(self._moment.catalogues, self._parser)
        except MalformedDump as error:
            raise self._incomplete(str(error)) from error
        if missing:
            raise self._incomplete(f"it lacks {'; '.join(missing[:10])}")
        if not self._held.still_holds():
            raise DumpFailed(
                f"The connection that held structure changes of '{self._entry}' back was lost while the dump ran.",
                hint="Nothing was kept; run it again.",
                database=self._entry,
            )
        position = self._position()
        history = self._source.history
        return DumpSummary(
            consistency=Consistency(
                snapshot="single transaction",
                standby=history.replica is not None,
                binlog_file=position.place.file,
                binlog_position=position.place.offset,
                gtid=position.gtid,
                log_kept_seconds=history.kept_seconds,
                settings=self._source.settings,
                left_out_views=self._source.plan.ignored_views,
                undecided=self._undecided(),
            ),
            recovery_point=history.recovery_point(self._moment.taken_at),
            inventory=inventory,
            to_position=str(position),
            databases=self._source.databases,
        )

    def _undecided(self) -> tuple[str, ...]:
        """Those before the snapshot, and those that came while it began."""
        with session_for(self._connection, "examine") as session:
            now = undecided(session, self._source.history.server.flavour)
        return tuple(sorted({*self._moment.undecided, *now}))

    def _position(self) -> Position:
        """From the head of the dump; its GTID comes after the data."""
        file, offset = self._parser.binlog_file, self._parser.binlog_position
        mariadb = self._source.history.server.flavour is Flavour.MARIADB
        gtid = self._parser.gtid if mariadb else self._moment.gtids
        if file is None or offset is None or gtid is None:
            raise self._incomplete("its position in the binlog, or the GTID of that, is not in it")
        place = Place(file, offset)
        flavour = self._source.history.server.flavour
        try:
            head = fetch_head(self._connection, flavour, file, self._cancellation)
        except (CaptureEnded, MalformedBinlog) as error:
            raise DumpFailed(
                f"The binlog file {file}, in which the dump of '{self._entry}' stands, cannot be read: {error}.",
                hint="Nothing was kept; see whether the binlog was purged or reset, and run it again.",
                database=self._entry,
            ) from error
        server, domain = self._source.history.ids
        return Position(place, gtid, server, domain, head=head.fingerprint)

    def _incomplete(self, what: str) -> DumpIncomplete:
        return DumpIncomplete(
            f"{self._stream.describe(self._entry)} ended with status 0, but the dump is not whole: {what}.",
            hint="Nothing was kept; check the tool on PATH and the user's privileges, and run it again.",
            database=self._entry,
        )


@contextmanager
def open_full(
    connection: ConnectionInfo,
    options: EngineOptions,
    examine: Callable[[], Source],
    request: DumpRequest,
    cancellation: Cancellation,
) -> Iterator[ServerDump]:
    """Hold structure changes back, list the objects, start the tool. All of it is gone when the block ends.

    What ``examine`` finds may change until changes are held back: then it is asked again.

    Everything is dumped, whatever the options leave out: a binlog that names what a full lacks cannot be replayed.

    :param connection: one without a database.
    """
    with ExitStack() as stack:
        source, held = _hold(connection, examine, request, cancellation, stack)
        with session_for(connection, "list the objects of") as session:
            moment = _read_moment(session, source, everything(options))
        parser = ServerDumpParser()
        tool = stack.enter_context(
            running_tool(connection, everything(options), source.tool, source.plan, cancellation)
        )
        watch = stack.enter_context(giving_way(connection, [tool]))
        stream = MysqlStream(MAIN, tool, parser)
        yield ServerDump(request, connection, source, moment, stream, parser, held, watch, cancellation)


def everything(options: EngineOptions) -> EngineOptions:
    return dataclasses.replace(
        options, mysql_single_transaction=True, mysql_routines=True, mysql_triggers=True, mysql_events=True
    )


def _hold(
    connection: ConnectionInfo,
    examine: Callable[[], Source],
    request: DumpRequest,
    cancellation: Cancellation,
    stack: ExitStack,
) -> tuple[Source, Guard]:
    """What the server holds, and changes to it held back until ``stack`` ends."""
    deadline = time.monotonic() + HOLD_SECONDS
    while True:
        cancellation.check()
        source = examine()
        with ExitStack() as attempt:
            flavour = source.history.server.flavour
            held = attempt.enter_context(guard(connection, flavour, tables=source.locked, block_structure=True))
            with session_for(connection, "list the objects of") as session:
                same = user_databases(session) == source.databases and locked_tables(session, source) == source.locked
            if same:
                stack.enter_context(attempt.pop_all())
                return source, held
        if time.monotonic() > deadline:
            raise DumpFailed(
                f"Databases or tables without transactions of '{request.entry}' were created or dropped all the time: "
                f"they could not be held still within {HOLD_SECONDS} s.",
                hint="Nothing was kept; run it again at a quieter time.",
                database=request.entry,
            )


def _read_moment(session: Session, source: Source, options: EngineOptions) -> _Moment:
    server = source.history.server
    catalogues = _catalogues(session, source.databases, server.flavour, options, source.plan.ignored_views)
    gtids = (gtids_at(session, server, Place("", 0)) or "") if server.flavour is Flavour.MYSQL else ""
    return _Moment(read_now(session), catalogues, gtids, undecided(session, server.flavour))


def _catalogues(
    session: Session,
    databases: tuple[str, ...],
    flavour: Flavour,
    options: EngineOptions,
    ignored_views: tuple[str, ...],
) -> dict[str, Catalogue]:
    found = {}
    for database in databases:
        prefix = f"{database}."
        ignored = {view.removeprefix(prefix) for view in ignored_views if view.startswith(prefix)}
        found[database] = read_catalogue(session, database, flavour, options).without_views(ignored)
    return found


def inventory_of_copy(
    connection: ConnectionInfo, options: EngineOptions, databases: tuple[str, ...], cancellation: Cancellation
) -> Inventory:
    """Of databases that were rebuilt, by the same tool, arguments and reader as a full's.

    :raises LoadFailed: they cannot be read.
    """
    with session_for(connection, "list the objects of", database="") as session:
        server = describe_server(session, connection)
        tool = find_client_tool(server.flavour, server.flavour.dump_names)
        plan, _ = plan_for(session, server, tool, databases, with_position=False)
        catalogues = _catalogues(session, databases, server.flavour, everything(options), plan.ignored_views)
    parser = ServerDumpParser()
    with running_tool(connection, everything(options), tool, plan, cancellation) as running:
        stream = MysqlStream(MAIN, running, parser)
        buffer = bytearray(_BLOCK_BYTES)
        while count := os.readv(stream.fileno(), [buffer]):
            stream.observe(memoryview(buffer)[:count])
        status = running.wait()
        cancellation.check()
        problem = f"status {status}: {running.last_words}" if status else stream.finish()
    try:
        inventory = server_inventory(catalogues, parser)
    except MalformedDump as error:
        problem = problem or str(error)
    if problem:
        raise LoadFailed(
            f"The rebuilt databases cannot be read back: {problem}.",
            hint="See what the dump tool names; what was rebuilt is not as the backup was.",
        )
    return inventory
