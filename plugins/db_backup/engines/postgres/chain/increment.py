"""An increment: the WAL between where its parent ended and where the server is now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from db_backup.engines.base import DumpSummary
from db_backup.engines.postgres.chain.pieces import PiecesReader, as_tar
from db_backup.engines.postgres.chain.position import Position, format_lsn
from db_backup.engines.postgres.chain.replication import page_before, replicating
from db_backup.errors import DumpIncomplete
from db_backup.manifest import Consistency, Inventory, Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation


class IncrementCapture:
    """One increment on its way through our hands; ``pieces`` are its bytes, then ``summary`` what it is.

    :param moment: at which the server's WAL ended at ``end``.
    :param cancellation: ends what waits for the server.
    """

    def __init__(
        self,
        connection: ConnectionInfo,
        parent: Manifest,
        start: Position,
        end: int,
        moment: datetime,
        databases: tuple[str, ...],
        entry: str,
        cancellation: Cancellation,
    ) -> None:
        self._connection = connection
        self._parent = parent
        self._start = start
        self._end = end
        self._moment = moment
        self._databases = databases
        self._entry = entry
        self._cancellation = cancellation
        self._summary: DumpSummary | None = None

    def pieces(self) -> Iterator[bytes]:
        start = self._start
        end = Position(self._end, start.timeline, start.system, start.segment_bytes, page=self._page())
        reader = PiecesReader(start, end)
        for block in as_tar(self._wal(), start.lsn, end.lsn, start.timeline, start.segment_bytes):
            for _ in reader.feed(block):
                pass
            yield block
        reader.finish()
        self._summary = self._describe(end)

    def summary(self) -> DumpSummary:
        """To be asked when all pieces were read."""
        if self._summary is None:
            raise DumpIncomplete(
                f"The backup of '{self._entry}' was not read to its end.", hint="Run it again.", database=self._entry
            )
        return self._summary

    def _page(self) -> str:
        if self._end == self._start.lsn:
            return self._start.page
        return page_before(
            self._connection, self._end, self._start.timeline, entry=self._entry, cancellation=self._cancellation
        )

    def _wal(self) -> Iterator[bytes]:
        if self._end == self._start.lsn:
            return
        with replicating(self._connection, entry=self._entry, cancellation=self._cancellation) as replication:
            yield from replication.read(self._start.lsn, self._end, self._start.timeline)

    def _describe(self, end: Position) -> DumpSummary:
        warnings = []
        if self._moment < self._parent.recovery_point:
            warnings.append(
                f"The server's clock went back since the backup before this one, to {self._moment:%Y-%m-%d %H:%M:%S} "
                "UTC: restore to a position (LSN) where times are ambiguous."
            )
        return DumpSummary(
            consistency=Consistency(snapshot="write-ahead log", lsn=format_lsn(end.lsn)),
            recovery_point=self._moment,
            inventory=Inventory(),
            warnings=tuple(warnings),
            from_position=str(self._start),
            to_position=str(end),
            databases=self._databases,
        )
