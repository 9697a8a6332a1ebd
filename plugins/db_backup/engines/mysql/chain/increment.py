"""An increment of a server: its binlog from where the parent ended to where it stands, as one tar."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import pymysql

from db_backup.engines.base import Dump, DumpRequest, DumpSummary, Preflight
from db_backup.engines.mysql.chain.archive import END_OF_TAR, Span, member
from db_backup.engines.mysql.chain.capture import BinlogSession, CaptureEnded, Transfer, binlog_session
from db_backup.engines.mysql.chain.events import Head, MalformedBinlog
from db_backup.engines.mysql.chain.position import Place, Position
from db_backup.engines.mysql.chain.preflight import History, examine_history
from db_backup.engines.mysql.chain.proof import prove
from db_backup.engines.mysql.chain.server import gtids_at, read_files, read_now, read_standing
from db_backup.engines.mysql.chain.unreplayable import Unreplayable
from db_backup.engines.mysql.connecting import Session, error_code, explain, session_for
from db_backup.engines.piping import PipedStream, piped
from db_backup.errors import ChainBroken, DumpIncomplete
from db_backup.manifest import Consistency, DatabaseObject, Inventory, Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

FORMAT = "binlog tar"
SUFFIX = "tar"
_READING = "read the binlog of"
_CANNOT_BE_READ = 1236  # ER_MASTER_FATAL_ERROR_READING_BINLOG


@dataclass(frozen=True)
class Extent:
    """What an increment holds: from ``start``, whose file begins with ``head``, to ``end``."""

    history: History
    start: Position
    head: Head
    end: Place
    gtid: str
    files: dict[str, int]  # those from start to end, with their sizes
    taken_at: datetime

    @property
    def spans(self) -> tuple[Span, ...]:
        """Files after the first from where their heads end, which is known when they come: from 0 until then."""
        ends = {**self.files, self.end.file: self.end.offset}
        return tuple(
            Span(file, self.start.place.offset if file == self.start.place.file else 0, ends[file])
            for file in self.files
        )


class IncrementDump(Dump):
    """See ``open_increment``."""

    def __init__(
        self,
        request: DumpRequest,
        connection: ConnectionInfo,
        parent: Manifest,
        extent: Extent,
        archive: _Archive,
        stream: PipedStream,
    ) -> None:
        history = extent.history
        self.preflight = Preflight(history.server.info, (), history.warnings, sum(span.size for span in extent.spans))
        self.format = FORMAT
        self.streams = (stream,)
        self.extent = extent
        self._entry = request.entry
        self._connection = connection
        self._parent = parent
        self._archive = archive
        self._stream = stream

    def complete(self) -> DumpSummary:
        try:
            whole = self._stream.is_whole()
        except (CaptureEnded, MalformedBinlog) as error:
            raise _broken(self._parent, f"the binlog cannot be captured: {error}") from error
        except (pymysql.err.MySQLError, OSError) as error:
            if error_code(error) == _CANNOT_BE_READ:
                raise _broken(self._parent, f"the server cannot read its own binlog: {error.args[-1]}") from error
            raise explain(error, self._connection, doing=_READING) from error
        if self._archive.unreplayable.reason:
            raise _broken(self._parent, self._archive.unreplayable.reason)
        if not whole:
            raise DumpIncomplete(
                f"Not all of the binlog of '{self._entry}' went by.", hint="Run it again.", database=self._entry
            )
        extent = self.extent
        end = Position(extent.end, extent.gtid, *extent.history.ids, head=self._archive.last_head.fingerprint)
        return DumpSummary(
            consistency=Consistency(
                snapshot="binlog",
                standby=extent.history.replica is not None,
                binlog_file=extent.end.file,
                binlog_position=extent.end.offset,
                gtid=extent.gtid,
                log_kept_seconds=extent.history.kept_seconds,
                undecided=self._archive.undecided,
            ),
            recovery_point=extent.history.recovery_point(extent.taken_at),
            inventory=inventory_of(self._archive.spans, self._archive.transactions),
            from_position=self._parent.chain.to_position if self._parent.chain else None,
            to_position=str(end),
            databases=self._parent.databases,
        )


def inventory_of(spans: Sequence[Span], transactions: int) -> Inventory:
    """What an increment holds: ranges of binlog files, and how many transactions are in them."""
    objects = [DatabaseObject(kind="binlog", name=str(span)) for span in spans]
    return Inventory(objects=(*objects, DatabaseObject(kind="transactions", name=str(transactions))))


@contextmanager
def open_increment(
    connection: ConnectionInfo, request: DumpRequest, parent: Manifest, cancellation: Cancellation
) -> Iterator[IncrementDump]:
    """The chain is proved, and where the binlog stands then is where the increment ends.

    :param connection: one without a database.
    """
    with session_for(connection, _READING) as session:
        extent = _extent(session, connection, parent, cancellation)
    with binlog_session(connection, extent.history.server.flavour, cancellation) as reader:
        archive = _Archive(extent, parent, reader, cancellation)
        with piped(archive.pieces(), suffix=SUFFIX) as stream:
            try:
                yield IncrementDump(request, connection, parent, extent, archive, stream)
            finally:
                reader.stop()  # lest the pipe's thread waits for the server


def _extent(session: Session, connection: ConnectionInfo, parent: Manifest, cancellation: Cancellation) -> Extent:
    start, head = prove(session, connection, parent, cancellation)
    history = examine_history(session, connection)
    taken_at = read_now(session)  # what is committed by now is before the place that is read next
    standing = read_standing(session)
    if standing is None:
        raise _broken(parent, "the binlog was switched off just now")
    files = list(itertools.dropwhile(lambda item: item[0] != start.place.file, read_files(session).items()))
    names = [name for name, _ in files]
    if standing.place.file not in names:
        raise _broken(parent, "the binlog was purged or reset just now")
    sizes = dict(files[: names.index(standing.place.file) + 1])
    gtid = gtids_at(session, history.server, standing.place)
    if gtid is None:
        raise _broken(parent, f"the server does not know its own position {standing.place}")
    return Extent(history, start, head, standing.place, gtid, sizes, taken_at)


def _broken(parent: Manifest, reason: str) -> ChainBroken:
    return ChainBroken(
        f"No increment can follow {parent.id}: {reason}.",
        hint="Take a full backup, which begins another chain.",
        database=parent.entry,
        backup_id=parent.id,
    )


class _Archive:
    """The tar as it comes. ``spans`` and ``last_head`` are whole when it is."""

    def __init__(self, extent: Extent, parent: Manifest, reader: BinlogSession, cancellation: Cancellation) -> None:
        self.undecided: tuple[str, ...] = tuple((parent.consistency.model_extra or {}).get("undecided") or ())
        self.unreplayable = Unreplayable(self.undecided)
        self._extent = extent
        self._transfer = Transfer(reader, extent.start.place, cancellation, self.unreplayable.see)
        self.spans: list[Span] = []
        self.last_head = extent.head

    @property
    def transactions(self) -> int:
        return self._transfer.transactions

    def pieces(self) -> Iterator[bytes]:
        """:raises CaptureEnded, MalformedBinlog, pymysql.err.MySQLError:"""
        for listed in self._extent.spans:
            span = listed
            if self.spans:
                self.last_head = self._transfer.head(span.file)
                span = dataclasses.replace(span, start=len(self.last_head.content))
            before, after = member(span, self.last_head)
            yield before
            yield from self._transfer.read(span, self.last_head)
            yield after
            self.spans.append(span)
        yield END_OF_TAR
