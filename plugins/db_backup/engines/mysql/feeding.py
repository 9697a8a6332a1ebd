"""A dump given to the stock client as its bytes come, read on the way, and renamed where it must be."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from db_backup.engines.base import Block
from db_backup.engines.mysql.client import complaints, running_client
from db_backup.engines.mysql.connecting import Session, connect, query
from db_backup.engines.mysql.definers import Definers
from db_backup.engines.mysql.definers import wanted as definers_wanted
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import Kind, MalformedDump, Piece
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.rewriting import Rewriting
from db_backup.engines.mysql.selection import Selection
from db_backup.errors import LoadFailed, ScratchUnavailable
from db_backup.manifest import Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_ANOTHER_DATABASE = re.compile(
    r"ERROR 1146 .*Table '(.+?)\.|ERROR 1049 .*Unknown database '(.+)'|ERROR 1305 .*(?:FUNCTION|PROCEDURE) (.+?)\."
)
_RESERVE_BYTES = 32 << 20  # more than the client and the pipe to it hold


@dataclass(frozen=True)
class Fed:
    """What a client was given.

    ``events``: how many of those that it made run. ``definers``: accounts that it named. ``passing_events``: names of
    events that cannot be made any more after some time.
    """

    warnings: tuple[str, ...]
    events: int
    definers: frozenset[str]
    passing_events: frozenset[str]


def feed_all(
    connection: ConnectionInfo,
    flavour: Flavour,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
    selection: Selection | None = None,
) -> Fed:
    """Have clients load the streams of a dump, one after the other, as their bytes come.

    :param selection: what of it is loaded; None: everything.
    :raises LoadFailed: a client failed, or a stream ended before its end marker.
    """
    warnings: list[str] = []
    events = 0
    definers: set[str] = set()
    passing_events: set[str] = set()
    for content, parser in zip(streams, parsers_for(streams, manifest), strict=True):
        with running_client(connection, flavour, cancellation) as (client, process):
            rewriting = Rewriting(connection.database, parser, selection, keep_sandbox_line=client.knows_sandbox)
            Feeder(connection, manifest, rewriting, cancellation).feed(process, iter(content))
        warnings += rewriting.warnings
        events += rewriting.active_events
        definers |= rewriting.definers
        passing_events |= rewriting.passing_events
    return Fed(tuple(warnings), events, frozenset(definers), frozenset(passing_events))


def parsers_for(streams: Sequence[Iterable[Block]], manifest: Manifest) -> list[DumpParser]:
    """One for each; the last stream of a data backup ends in the counters."""
    last = len(streams) - 1
    return [DumpParser(counters=manifest.type is BackupType.DATA and number == last) for number in range(len(streams))]


class Rewrite(Protocol):
    """What is made of the pieces of a stream on their way. ``parser`` has seen each before it comes to ``apply``."""

    parser: DumpParser

    def apply(self, piece: Piece) -> bytes:
        """The bytes to load instead of the piece's, perhaps none."""

    def held_back(self) -> bytes:
        """What is loaded after everything else."""


class Feeder:
    """Feeds one stream to a client."""

    def __init__(
        self, connection: ConnectionInfo, manifest: Manifest, rewriting: Rewrite, cancellation: Cancellation
    ) -> None:
        self._connection = connection
        self._manifest = manifest
        self._cancellation = cancellation
        self._rewriting = rewriting

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
                for piece in self._rewriting.parser.pieces(block):
                    if definers is not None and piece.kind is Kind.STATEMENT:
                        definers.prepare(piece.text)
                    process.write(self._rewriting.apply(piece))
        process.write(self._rewriting.parser.finish())
        if not self._rewriting.parser.complete:
            raise MalformedDump("it ends before its end marker")
        process.write(self._rewriting.held_back())

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
        """A scratch server that was given one database has no other: what needs one proves nothing there.

        :raises ScratchUnavailable:
        """
        missing = _ANOTHER_DATABASE.search(words)
        if missing is None or not self._connection.database or not definers_wanted(self._connection):
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
            f"{self._manifest.id} was not loaded into '{self._connection.database or self._connection.address}': {what}"
            + (f": {words}" if words else "."),
            hint=_hint(words, self._manifest.type),
            database=self._manifest.entry,
            backup_id=self._manifest.id,
        )


def _hint(words: str, backup_type: BackupType) -> str:
    """The first that fits what the client said."""
    rows_alone = backup_type is BackupType.DATA
    hints = (
        ((1153, 2006, 2013), "The target server's max_allowed_packet may be too small for the largest row."),
        (
            () if rows_alone else (1049, 1146, 1305),
            "A view or routine may refer to another database, which the target server does not have.",
        ),
        ((1449,), "Create the account that the message names on the target server first."),
        (
            (1418, 1419),
            "The server has a binlog: set log_bin_trust_function_creators = 1 there for the time of the restore.",
        ),
        ((1227, 1044), "Definers and events take a user with SET USER (or SUPER) and EVENT on the target."),
    )
    for codes, hint in hints:
        if any(f"ERROR {code}" in words for code in codes):
            return hint
    if rows_alone:
        return "Nothing of it is kept. The tables must be those of the backup: restore its structure first."
    return "Mend what it names, and restore again: nothing of it is kept."
