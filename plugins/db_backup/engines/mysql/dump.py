"""Running dump tools under a guard, and the proof that what they printed is the whole database at one moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, EngineOptions
from db_backup.engines.mysql.connecting import Session, identifier, query, session_for
from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.formats import format_of
from db_backup.engines.mysql.giving_way import Watch, giving_way
from db_backup.engines.mysql.inventory import Catalogue, inventory_of, missing_from_dump, read_catalogue
from db_backup.engines.mysql.preflight import Findings
from db_backup.engines.mysql.sharing import stream_plans
from db_backup.engines.mysql.snapshot import Guard, await_transactions, guard, writes_held
from db_backup.engines.mysql.streams import MysqlStream, open_stream
from db_backup.engines.mysql.tables import read_sizes
from db_backup.errors import DumpFailed, DumpIncomplete
from db_backup.manifest import Consistency
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation


@dataclass(frozen=True)
class Moment:
    """The source just before the dump's own snapshot, with its structure held still where that is granted.

    :param sizes: in bytes, of the tables whose rows the dump tools print.
    """

    taken_at: datetime
    catalogue: Catalogue
    sizes: Mapping[str, int]


def read_moment(connection: ConnectionInfo, findings: Findings, options: EngineOptions) -> Moment:
    """:raises ServerUnreachable, AccessDenied, SourceError:"""
    with session_for(connection, "list the objects of") as session:
        return _moment(session, connection, findings, options)


def _moment(session: Session, connection: ConnectionInfo, findings: Findings, options: EngineOptions) -> Moment:
    flavour = findings.server.flavour
    catalogue = read_catalogue(session, connection.database, flavour, options)
    # The dump's snapshot begins a moment later: everything committed before this time is in it.
    taken_at = query(session, "SELECT UTC_TIMESTAMP(6)")[0][0]
    sizes = read_sizes(session, connection.database)
    return Moment(
        taken_at.replace(tzinfo=UTC),
        catalogue.without_views(findings.plan.ignored_views),
        {name: sizes.get(name, 0) for name in catalogue.tables_with_rows},
    )


class MysqlDump(Dump):
    """See ``open_dump``."""

    def __init__(
        self,
        request: DumpRequest,
        connection: ConnectionInfo,
        options: EngineOptions,
        findings: Findings,
        moment: Moment,
        streams: Sequence[MysqlStream],
        held: Guard,
        watch: Watch,
        cancellation: Cancellation,
    ) -> None:
        self.preflight = findings.preflight
        self.format = format_of(request.type)
        self.streams = self._streams = tuple(streams)
        self._type = request.type
        self._entry = request.entry
        self._connection = connection
        self._options = options
        self._findings = findings
        self._moment = moment
        self._held = held
        self._watch = watch
        self._cancellation = cancellation

    def stream_ended(self, number: int) -> None:
        stream = self._streams[number]
        status = stream.tool.wait()
        self._cancellation.check()  # a stop kills the tool
        self._watch.check(self._entry)  # and so does giving way
        if status:
            raise stream.failed(self._entry, status)

    def complete(self) -> DumpSummary:
        for number in range(len(self._streams)):
            self.stream_ended(number)
        for stream in self._streams:
            if problem := stream.finish():
                raise self._incomplete(problem, stream)
        self._require_one_position()
        try:
            contents = contents_of([stream.parser for stream in self._streams])
        except MalformedDump as error:
            raise self._incomplete(str(error)) from error
        left_out = self._findings.plan.tables_without_rows
        if missing := missing_from_dump(self._moment.catalogue, contents, self._type, left_out):
            raise self._incomplete(f"it lacks {'; '.join(missing[:10])}")
        return DumpSummary(
            consistency=self._consistency(),
            recovery_point=self._findings.recovery_point(self._moment.taken_at),
            inventory=inventory_of(self._moment.catalogue, contents, self._type, left_out),
            warnings=tuple(self._late_warnings()),
            excluded_tables=left_out,
        )

    def _consistency(self) -> Consistency:
        if len(self._streams) > 1:
            snapshot = "transactions begun under one read lock"
        else:
            snapshot = "single transaction" if self._options.mysql_single_transaction else "tables locked"
        parser = self._streams[0].parser
        return Consistency(
            snapshot=snapshot,
            standby=self._findings.replica is not None,
            binlog_file=parser.binlog_file,
            binlog_position=parser.binlog_position,
            gtid=parser.gtid,
        )

    def _require_one_position(self) -> None:
        """Where the binlog tells it: nothing was committed between the first transaction's begin and the last's."""
        positions = {(stream.parser.binlog_file, stream.parser.binlog_position) for stream in self._streams}
        if len(positions) > 1:
            raise DumpFailed(
                f"The streams of '{self._entry}' are not of one moment: they are at {len(positions)} positions of the "
                "binlog.",
                hint="Nothing was kept; run it again, with 1 job if it happens again.",
                database=self._entry,
            )

    def _late_warnings(self) -> Iterator[str]:
        if self._findings.may_block_structure:
            if not self._held.still_holds():
                yield "The connection that held changes back was lost while the dump ran; the structure was compared."
                self._compare_structure()
        else:
            self._compare_structure()

    def _compare_structure(self) -> None:
        after = read_moment(self._connection, self._findings, self._options).catalogue
        changed = set(self._moment.catalogue.objects) ^ set(after.objects)
        if changed:
            first = min(changed, key=lambda item: (item.kind, item.name))
            raise self._incomplete(f"the structure was changed meanwhile, such as the {first.kind} '{first.name}'")

    def _incomplete(self, what: str, stream: MysqlStream | None = None) -> DumpIncomplete:
        tool = (stream or self._streams[0]).describe(self._entry)
        return DumpIncomplete(
            f"{tool} ended with status 0, but the dump is not whole: {what}.",
            hint="Nothing was kept; check the tool on PATH and the user's privileges, and run it again.",
            database=self._entry,
        )


@contextmanager
def open_dump(
    connection: ConnectionInfo,
    options: EngineOptions,
    findings: Findings,
    *,
    request: DumpRequest,
    cancellation: Cancellation,
) -> Iterator[MysqlDump]:
    """Hold changes back, list the objects, start the tools. All of it is gone when the block ends."""
    with (
        guard(
            connection,
            findings.server.flavour,
            tables=[identifier(table) for table in findings.tables_to_lock],
            block_structure=findings.may_block_structure,
        ) as held,
        ExitStack() as stack,
    ):
        moment = read_moment(connection, findings, options)
        left_out = findings.plan.tables_without_rows
        sizes = {table: size for table, size in moment.sizes.items() if table not in left_out}
        plans = stream_plans(findings.plan, sizes, request.jobs)

        def start() -> list[MysqlStream]:
            return [
                stack.enter_context(open_stream(connection, options, findings.dump_tool, plan, cancellation, name=name))
                for name, plan in plans.items()
            ]

        if len(plans) == 1:
            streams = start()
        else:
            with writes_held(connection, findings.server.flavour, cancellation):
                streams = start()
                await_transactions(streams, request.entry, cancellation)
        watch = stack.enter_context(giving_way(connection, [stream.tool for stream in streams]))
        yield MysqlDump(request, connection, options, findings, moment, streams, held, watch, cancellation)
