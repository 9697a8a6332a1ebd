"""What a database holds besides tables: its views, routines, triggers and events, as the scripts that make them.

Made by the stock dump tool, so that definers, SQL modes, character sets and time zones come along. Small: in memory.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.client import load_script
from db_backup.engines.mysql.databases import Item
from db_backup.engines.mysql.dump_parser import DumpParser, code_head
from db_backup.engines.mysql.dump_splitter import Kind, MalformedDump, Piece
from db_backup.engines.mysql.events import is_enabled, is_event, passes, woken
from db_backup.engines.mysql.flavour import DumpPlan, Flavour
from db_backup.engines.mysql.preflight import examine_copy
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.streams import running_tool
from db_backup.errors import LoadFailed
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation

LOCK_WAIT_SECONDS = 60  # for a table that the application uses: the server's own patience may be a day
# The tool marks what it prints of views, routines and events; what it prints of tables has other marks, or none.
_OF_CODE = re.compile(rb"/\*!(?:50001|50003|50106) |(?:/\*M?!\d+ )?SET\b|ALTER DATABASE\b")

_EVENT_DROPPED = re.compile(rb"/\*!50106 DROP EVENT\b")


@dataclasses.dataclass(frozen=True)
class Code:
    """Scripts, to be loaded in this order. ``events`` has the events as they are to be in the end.

    ``passing_events``: names of those that cannot be made any more after some time.
    """

    views_and_routines: bytes
    triggers: bytes
    events: bytes
    active_events: int
    passing_events: tuple[str, ...]


def read_code(connection: ConnectionInfo, options: EngineOptions, target: str, cancellation: Cancellation) -> Code:
    """The code of the connection's database, as it is to be made in the database ``target``.

    :raises LoadFailed: the tool does not give all of it.
    """
    findings = examine_copy(connection, BackupType.STRUCTURE)
    nothing = dataclasses.replace(findings.plan, definitions=False, triggers=False, events=False)
    everything = dataclasses.replace(options, mysql_routines=True, mysql_triggers=True, mysql_events=True)
    renaming = Renaming(connection.database, target)
    active = 0
    passing: list[str] = []

    def script(plan: DumpPlan, rewrite: Callable[[Piece], Piece]) -> bytes:
        with running_tool(connection, everything, findings.dump_tool, plan, cancellation) as tool:
            plain = tool.stdout.read()
            status = tool.wait()
            cancellation.check()
            words = tool.last_words
        return b"".join(renaming.apply(rewrite(piece)) for piece in _pieces(plain, connection, status, words))

    def as_it_is(piece: Piece) -> Piece:
        return piece

    def as_it_will_be(piece: Piece) -> Piece:
        nonlocal active
        if piece.kind is not Kind.STATEMENT or not is_event(piece.text):
            return piece
        if passes(piece.text) and (head := code_head(piece.text)) is not None:
            passing.append(head[1])
        text = woken(piece.text) if target != connection.database else piece.text
        active += is_enabled(text)
        return piece._replace(text=text)

    return Code(
        script(dataclasses.replace(nothing, definitions=True), as_it_is),
        script(dataclasses.replace(nothing, triggers=True), as_it_is),
        script(dataclasses.replace(nothing, events=True), as_it_will_be),
        active,
        tuple(passing),
    )


def made_anew(script: bytes, there: Collection[Item]) -> bytes:
    """A script of ``Code`` without the triggers and events that are there: somebody may have made them since."""
    kept = {(kind.lower(), name) for kind, name in there if kind in {"TRIGGER", "EVENT"}}
    parser = DumpParser()
    pieces = list(parser.pieces(script))
    rest = parser.finish()
    return b"".join(piece.text for piece in pieces if not _makes(piece, kept)) + rest


def _makes(piece: Piece, kept: Collection[tuple[str, str]]) -> bool:
    if piece.kind is not Kind.STATEMENT:
        return False
    return code_head(piece.text) in kept or _EVENT_DROPPED.match(piece.text) is not None


def load_code(connection: ConnectionInfo, flavour: Flavour, script: bytes) -> str:
    """Make it, whoever wants to stop: what the client complained of, or nothing."""
    patience = b"SET SESSION lock_wait_timeout = %d;\n" % LOCK_WAIT_SECONDS
    return load_script(connection, flavour, patience + script, Cancellation())


def _pieces(plain: bytes, connection: ConnectionInfo, status: int, words: str) -> Iterator[Piece]:
    """Of a script that is found whole, those that make code."""
    parser = DumpParser()
    try:
        pieces = list(parser.pieces(plain))
        parser.finish()
        problem = "" if parser.complete else "its end marker is missing"
    except MalformedDump as error:
        problem = str(error)
    problem = words if status else problem or "".join(parser.refusals[:1])
    if status or problem:
        raise LoadFailed(
            f"The views, routines, triggers and events of '{connection.address}' could not be read: "
            f"{problem or f'the tool ended with status {status}'}.",
            hint="Mend what it names, and restore again.",
        )
    return (piece for piece in pieces if _makes_code(piece))


def _makes_code(piece: Piece) -> bool:
    if piece.kind is Kind.STATEMENT:
        return _OF_CODE.match(piece.text) is not None or code_head(piece.text) is not None
    return piece.kind in {Kind.BLANK, Kind.DELIMITER}
