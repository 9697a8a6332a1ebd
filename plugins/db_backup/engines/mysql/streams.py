"""A running dump tool, and what it prints as a stream of a dump."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.connecting import option_file_content, session_for
from db_backup.engines.mysql.counters import counters_section
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.flavour import DumpPlan, Flavour, Tool, dump_arguments
from db_backup.engines.mysql.sharing import MAIN
from db_backup.engines.piping import PipedStream, piped
from db_backup.errors import DumpFailed
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
# Of what --verbose says, the first that comes after START TRANSACTION, in both flavours' tools.
_IN_TRANSACTION = re.compile(r"^-- (?:Retrieving table structure|Sending SELECT query)", re.MULTILINE)
_STEP = re.compile(r"^-- .*\n?", re.MULTILINE)


class MysqlStream:
    """What the dump tool prints. What is wrong with it is kept until the tool's exit status is known.

    :param piped: where the tool's output comes through, when a section of ours follows it.
    """

    suffix = "sql"

    def __init__(self, name: str, tool: ChildProcess, parser: DumpParser, piped: PipedStream | None = None) -> None:
        self.name = name
        self.tool = tool
        self.parser = parser
        self._piped = piped
        self._malformed: MalformedDump | None = None

    def fileno(self) -> int:
        return self._piped.fileno() if self._piped is not None else self.tool.stdout.fileno()

    def observe(self, block: memoryview) -> None:
        if self._piped is not None:
            self._piped.observe(block)
        if self._malformed is None:
            try:
                self.parser.feed(block)
            except MalformedDump as error:
                self._malformed = error

    def has_begun(self) -> bool:
        """Whether the tool is known to have begun its transaction: it tells its steps, or has ended well."""
        return _IN_TRANSACTION.search(self.tool.last_words) is not None or self.tool.poll() == 0

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

    def describe(self, entry: str) -> str:
        """The tool and what it dumps, for messages."""
        return f"{self.tool.name} of '{entry}'" + (f" ({self.name})" if self.name != MAIN else "")

    def failed(self, entry: str, status: int) -> DumpFailed:
        """The error for a tool that ended with a status that is not 0."""
        words = _STEP.sub("", self.tool.last_words).strip()
        code = re.search(r"(?:error:? |Error |\()(\d{4})", words)
        return DumpFailed(
            f"{self.describe(entry)} ended with status {status}: {words or 'it said nothing'}",
            hint=_HINTS.get(int(code[1]) if code else 0, "Nothing was kept; mend what it names, and run it again."),
            database=entry,
        )


@contextmanager
def open_stream(
    connection: ConnectionInfo,
    options: EngineOptions,
    dump_tool: Tool,
    plan: DumpPlan,
    cancellation: Cancellation,
    *,
    name: str = MAIN,
) -> Iterator[MysqlStream]:
    """The dump tool at work, and what it prints as the stream that the plan asks for."""
    parser = DumpParser(counters=plan.counters)
    with running_tool(connection, options, dump_tool, plan, cancellation) as tool:
        if not plan.counters:
            yield MysqlStream(name, tool, parser)
            return
        with piped(_with_counters(tool, connection)) as stream:
            try:
                yield MysqlStream(name, tool, parser, stream)
            finally:
                tool.kill()  # lest the pipe's thread waits for it


def _with_counters(tool: ChildProcess, connection: ConnectionInfo) -> Iterator[bytes]:
    while block := os.read(tool.stdout.fileno(), _BLOCK_BYTES):
        yield block
    if tool.wait() == 0:
        with session_for(connection, "list the counters of") as session:
            yield counters_section(session, connection.database)


@contextmanager
def running_tool(
    connection: ConnectionInfo, options: EngineOptions, dump_tool: Tool, plan: DumpPlan, cancellation: Cancellation
) -> Iterator[ChildProcess]:
    """The dump tool at work, printing to its standard output."""
    content = option_file_content(connection, mariadb_tool=dump_tool.flavour is Flavour.MARIADB)
    with (
        option_file(content) as path,
        ChildProcess(dump_arguments(dump_tool, path, plan, options), cancellation=cancellation) as tool,
    ):
        yield tool
