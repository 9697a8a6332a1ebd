"""The stock client, which loads what the dump tool printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from db_backup.engines.mysql.connecting import option_file_content
from db_backup.engines.mysql.dump_splitter import SANDBOX_LINE
from db_backup.engines.mysql.flavour import Flavour, Tool, find_client_tool, load_arguments
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess, option_file

_COMPLAINT = re.compile(r"ERROR (\d+) ")
# Their quotes hold names: databases, tables, columns, routines, accounts, character sets, engines, time zones.
_QUOTES_NAMES = {
    1007,
    1044,
    1045,
    1046,
    1048,
    1049,
    1050,
    1054,
    1072,
    1101,
    1115,
    1136,
    1142,
    1146,
    1227,
    1264,
    1265,
    1273,
}
_QUOTES_NAMES |= {1286, 1304, 1305, 1356, 1359, 1364, 1370, 1406, 1449, 2002, 2003, 2005}
_QUOTES_NAMES |= {1005, 1032, 1102, 1133, 1298, 1396}
# To the last quote of the line, for a value may hold quotes; to its end when the value goes on in the next.
_QUOTED_VALUE = re.compile(r"'.*?'(?= for (?:key|column) \S+(?: at row \d+)?$)|'.*")


@contextmanager
def running_client(
    connection: ConnectionInfo, flavour: Flavour, cancellation: Cancellation
) -> Iterator[tuple[Tool, ChildProcess]]:
    """The client of the server's flavour, waiting for SQL at its standard input.

    :raises ToolMissing, ToolVersionMismatch:
    """
    client = find_client_tool(flavour, flavour.client_names)
    settings = option_file_content(connection, mariadb_tool=client.flavour is Flavour.MARIADB)
    with (
        option_file(settings) as path,
        ChildProcess(
            load_arguments(client, path, connection.database), cancellation=cancellation, stdin=True, stdout=False
        ) as process,
    ):
        yield client, process


def load_script(connection: ConnectionInfo, flavour: Flavour, script: bytes, cancellation: Cancellation) -> str:
    """Have a script loaded; what the client complained of, or nothing."""
    with running_client(connection, flavour, cancellation) as (client, process):
        try:
            process.write(script if client.knows_sandbox else _without_sandbox_line(script))
        except BrokenPipeError:
            status = process.wait()
        else:
            process.close_stdin()
            status = process.wait()
        cancellation.check()
        words = complaints(process.last_words)
    return words or (f"the client ended with status {status}." if status else "")


def _without_sandbox_line(script: bytes) -> bytes:
    return script.partition(b"\n")[2] if SANDBOX_LINE.match(script) else script


def complaints(words: str) -> str:
    """The errors that the client reports, without the statement that it echoes and the values that it quotes.

    What it prints besides is rows of the database.
    """
    return "\n".join(_without_values(line) for line in words.splitlines() if _COMPLAINT.match(line))


def _without_values(line: str) -> str:
    complaint = _COMPLAINT.match(line)
    if complaint is not None and int(complaint[1]) in _QUOTES_NAMES:
        return line
    return _QUOTED_VALUE.sub("'…'", line, count=1)
