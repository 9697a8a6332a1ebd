"""A running dump tool under a guard, and the proof that what it printed is the whole database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pymysql

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, EngineOptions
from db_backup.engines.mysql.connecting import Session, connect, explain, option_file_content, query
from db_backup.engines.mysql.counters import counters_section
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.flavour import Flavour, Tool, dump_arguments
from db_backup.engines.mysql.formats import format_of
from db_backup.engines.mysql.inventory import Catalogue, inventory_of, missing_from_dump, read_catalogue
from db_backup.engines.mysql.preflight import Findings
from db_backup.engines.mysql.snapshot import Guard, guard
from db_backup.engines.piping import PipedStream, piped
from db_backup.errors import DumpFailed, DumpIncomplete
from db_backup.manifest import Consistency
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess, option_file

_BLOCK_BYTES = 1 << 18
_HINTS = {
    1412: "A table's structure was changed while the dump ran; run it again, or grant RELOAD so that it is held back.",
    1449: "A view's definer does not exist any more: recreate the view, or the account.",
    2013: "The server ended the connection: see its error log, and its net_write_timeout where storage is slow.",
    2020: "A row is larger than the server's max_allowed_packet.",
}


class MysqlStream:
    """What the dump tool prints. What is wrong with it is kept until the tool's exit status is known.

    :param piped: where the tool's output comes through, when a section of ours follows it.
    """

    name = "main"
    suffix = "sql"

    def __init__(self, tool: ChildProcess, parser: DumpParser, piped: PipedStream | None = None) -> None:
        self._tool = tool
        self._piped = piped
        self._malformed: MalformedDump | None = None
        self.parser = parser

    def fileno(self) -> int:
        return self._piped.fileno() if self._piped is not None else self._tool.stdout.fileno()

    def observe(self, block: memoryview) -> None:
        if self._piped is not None:
            self._piped.observe(block)
        if self._malformed is None:
            try:
                self.parser.feed(block)
            except MalformedDump as error:
                self._malformed = error

    def finish(self) -> str:
        """The stream has ended; what is wrong with it, or nothing.

        :raises ServerUnreachable, AccessDenied, SourceError: what was to follow the tool's output could not be read.
        """
        if self._piped is not None and not self._piped.is_whole():
            return "not all of it went by"
        if self._malformed is None:
            try:
                self.parser.finish()
            except MalformedDump as error:
                self._malformed = error
        if self._malformed is not None:
            return f"it is not one SQL dump: {self._malformed}"
        if self.parser.refusals:
            return f"the user lacks the privilege to {self.parser.refusals[0]}"
        if not self.parser.complete:
            last = self.parser.last_table
            return "the end marker is missing" + (f"; the last table in it is '{last}'" if last else "")
        return ""


@dataclass(frozen=True)
class Moment:
    """The source just before the dump's own snapshot, with its structure held still where that is granted."""

    taken_at: datetime
    catalogue: Catalogue


def read_moment(connection: ConnectionInfo, findings: Findings, options: EngineOptions) -> Moment:
    """:raises ServerUnreachable, AccessDenied, SourceError:"""
    with _session(connection, "list the objects of") as session:
        return _moment(session, connection, findings, options)


@contextmanager
def _session(connection: ConnectionInfo, doing: str) -> Iterator[Session]:
    session = connect(connection)
    try:
        yield session
    except pymysql.err.MySQLError as error:
        raise explain(error, connection, doing=doing) from error
    finally:
        session.close()


def _moment(session: Session, connection: ConnectionInfo, findings: Findings, options: EngineOptions) -> Moment:
    flavour = findings.server.flavour
    catalogue = read_catalogue(session, connection.database, flavour, options)
    # The dump's snapshot begins a moment later: everything committed before this time is in it.
    taken_at = query(session, "SELECT UTC_TIMESTAMP(6)")[0][0]
    return Moment(taken_at.replace(tzinfo=UTC), catalogue.without_views(findings.plan.ignored_views))


class MysqlDump(Dump):
    """See ``open_dump``."""

    def __init__(
        self,
        request: DumpRequest,
        connection: ConnectionInfo,
        options: EngineOptions,
        findings: Findings,
        moment: Moment,
        tool: ChildProcess,
        stream: MysqlStream,
        held: Guard,
    ) -> None:
        self.preflight = findings.preflight
        self.format = format_of(request.type)
        self._stream = stream
        self.streams = (self._stream,)
        self._type = request.type
        self._entry = request.entry
        self._connection = connection
        self._options = options
        self._findings = findings
        self._moment = moment
        self._tool = tool
        self._held = held

    def complete(self) -> DumpSummary:
        if status := self._tool.wait():
            raise self._failed(status)
        if problem := self._stream.finish():
            raise self._incomplete(problem)
        parser = self._stream.parser
        left_out = self._findings.plan.tables_without_rows
        if missing := missing_from_dump(self._moment.catalogue, parser, self._type, left_out):
            raise self._incomplete(f"it lacks {'; '.join(missing[:10])}")
        return DumpSummary(
            consistency=Consistency(
                snapshot="single transaction" if self._options.mysql_single_transaction else "tables locked",
                standby=self._findings.replica is not None,
                binlog_file=parser.binlog_file,
                binlog_position=parser.binlog_position,
                gtid=parser.gtid,
            ),
            recovery_point=self._findings.recovery_point(self._moment.taken_at),
            inventory=inventory_of(self._moment.catalogue, parser, self._type, left_out),
            warnings=tuple(self._late_warnings()),
            excluded_tables=left_out,
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

    def _failed(self, status: int) -> DumpFailed:
        words = self._tool.last_words
        code = re.search(r"(?:error:? |Error |\()(\d{4})", words)
        return DumpFailed(
            f"{self._tool.name} of '{self._entry}' ended with status {status}: {words or 'it said nothing'}",
            hint=_HINTS.get(int(code[1]) if code else 0, "Nothing was kept; mend what it names, and run it again."),
            database=self._entry,
        )

    def _incomplete(self, what: str) -> DumpIncomplete:
        return DumpIncomplete(
            f"{self._tool.name} of '{self._entry}' ended with status 0, but the dump is not whole: {what}.",
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
    """Hold changes back, list the objects, start the tool. All of it is gone when the block ends."""
    with guard(connection, findings) as held:
        moment = read_moment(connection, findings, options)
        with open_stream(connection, options, findings, cancellation) as (tool, stream):
            yield MysqlDump(request, connection, options, findings, moment, tool, stream, held)


@contextmanager
def open_stream(
    connection: ConnectionInfo, options: EngineOptions, findings: Findings, cancellation: Cancellation
) -> Iterator[tuple[ChildProcess, MysqlStream]]:
    """The dump tool at work, and what it prints as the stream that the findings' plan asks for."""
    parser = DumpParser(counters=findings.plan.counters)
    with running_tool(connection, options, findings, cancellation) as tool:
        if not findings.plan.counters:
            yield tool, MysqlStream(tool, parser)
            return
        with piped(_with_counters(tool, connection)) as stream:
            try:
                yield tool, MysqlStream(tool, parser, stream)
            finally:
                tool.kill()  # lest the pipe's thread waits for it


def _with_counters(tool: ChildProcess, connection: ConnectionInfo) -> Iterator[bytes]:
    while block := os.read(tool.stdout.fileno(), _BLOCK_BYTES):
        yield block
    if tool.wait() == 0:
        with _session(connection, "list the counters of") as session:
            yield counters_section(session, connection.database)


@contextmanager
def running_tool(
    connection: ConnectionInfo, options: EngineOptions, findings: Findings, cancellation: Cancellation
) -> Iterator[ChildProcess]:
    """The dump tool at work, printing to its standard output."""
    content = option_file_content(connection, mariadb_tool=is_mariadb(findings.dump_tool))
    with (
        option_file(content) as path,
        ChildProcess(
            dump_arguments(findings.dump_tool, path, findings.plan, options), cancellation=cancellation
        ) as tool,
    ):
        yield tool


def is_mariadb(tool: Tool) -> bool:
    return tool.flavour is Flavour.MARIADB
