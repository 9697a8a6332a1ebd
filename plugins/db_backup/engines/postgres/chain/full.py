"""A full: ``pg_basebackup``'s tar, and behind it the WAL up to the moment at which the copy had come to its end.

With that WAL the full has a moment of its own: all that was committed by then is in it. Without it the copy would be
consistent as of some point in its last seconds that nobody knows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime

from db_backup.engines.base import DumpSummary, Preflight
from db_backup.engines.postgres import tools
from db_backup.engines.postgres.chain import slot
from db_backup.engines.postgres.chain.base_tar import WAL_FOLDER, BaseContents, BaseReader
from db_backup.engines.postgres.chain.cluster import Contents, described, read_contents
from db_backup.engines.postgres.chain.pieces import Blocks, parts_of
from db_backup.engines.postgres.chain.position import Position, format_lsn, segment_name
from db_backup.engines.postgres.chain.replication import page_before, replicating
from db_backup.engines.postgres.chain.source import settle
from db_backup.engines.postgres.chain.wal_pages import WalPages
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.engines.postgres.session import connected
from db_backup.engines.postgres.tar_members import END_OF_TAR, header
from db_backup.errors import DumpFailed, DumpIncomplete
from db_backup.manifest import Consistency
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation
from db_backup.stream.process import ChildProcess

_BLOCK_BYTES = 1 << 20
_MOST_READINGS = 3


def arguments(tool: tools.Tool, entry: str) -> list[str]:
    """``--wal-method=fetch`` brings the WAL that makes the copy consistent, and waits for no archive_command."""
    return [
        str(tool.path),
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        f"--label=db-backup {entry}",
        "--no-password",
        "--no-sync",
    ]


class FullCapture:
    """One base backup on its way through our hands; ``pieces`` are its bytes, then ``summary`` what it is.

    :param cancellation: ends what waits for the server.
    """

    def __init__(
        self,
        tool: ChildProcess,
        connection: ConnectionInfo,
        preflight: Preflight,
        segment_bytes: int,
        slot_name: str,
        entry: str,
        cancellation: Cancellation,
    ) -> None:
        self._tool = tool
        self._connection = connection
        self._preflight = preflight
        self._segment_bytes = segment_bytes
        self._slot = slot_name
        self._entry = entry
        self._cancellation = cancellation
        self._summary: DumpSummary | None = None

    def pieces(self) -> Iterator[bytes]:
        reader = BaseReader()
        held = b""
        while block := os.read(self._tool.stdout.fileno(), _BLOCK_BYTES):
            for _ in reader.feed(block):
                pass
            held += block
            if len(held) > len(END_OF_TAR):
                yield held[: -len(END_OF_TAR)]
                held = held[-len(END_OF_TAR) :]
        self._check_status()
        base = reader.finish()
        if held != END_OF_TAR:
            raise StreamDamaged("does not end as a tar does", truncated=True)
        before, moment, end, after = self._moment()
        yield from self._wal(base.end, end, base.timeline)
        yield END_OF_TAR
        self._summary = self._describe(base, before, after, moment, end)

    def summary(self) -> DumpSummary:
        """To be asked when all pieces were read."""
        if self._summary is None:
            raise DumpIncomplete(
                f"The backup of '{self._entry}' was not read to its end.", hint="Run it again.", database=self._entry
            )
        return self._summary

    def _check_status(self) -> None:
        status = self._tool.wait()
        self._cancellation.check()  # a stop kills it
        if not status:
            return
        complaint = tools.complaint(self._tool)
        hint = "Mend what it or the server's log names, and run it again."
        with connected(self._connection, entry=self._entry, cancellation=self._cancellation) as link:
            state = slot.state(link, self._slot)
        if state is None or not state.keeps:  # which pg_basebackup is not told
            hint = "The server removed WAL that the copy needed: raise max_slot_wal_keep_size, and run it again."
        elif "has already been removed" in complaint:  # the slot was moved on
            hint = (
                "An increment that was published while the copy was made let the server remove WAL that it needed: run "
                "it again when no other backup of this server runs, or raise wal_keep_size."
            )
        raise DumpFailed(
            f"pg_basebackup of the server of '{self._entry}' failed with status {status}: "
            f"{complaint or 'it said nothing'}.",
            hint=hint,
            database=self._entry,
        )

    def _moment(self) -> tuple[Contents, datetime, int, Contents]:
        """The full's moment, and what the server held right before and right after it."""
        contents = self._contents()
        for _ in range(_MOST_READINGS):
            before = contents
            with connected(self._connection, entry=self._entry, cancellation=self._cancellation) as link:
                moment, end = settle(link, self._segment_bytes)
            contents = self._contents()
            if contents.objects == before.objects:
                break
        return before, moment, end, contents

    def _contents(self) -> Contents:
        return read_contents(self._connection, entry=self._entry, cancellation=self._cancellation)

    def _wal(self, start: int, end: int, timeline: int) -> Iterator[bytes]:
        """Segments as they lie in ``pg_wal``, the last one filled up with zeros."""
        pages = WalPages(start, timeline, system=self._preflight.server.identity, segment_bytes=self._segment_bytes)
        with replicating(self._connection, entry=self._entry, cancellation=self._cancellation) as replication:
            wal = Blocks(replication.read(start, end, timeline))
            for first, last in parts_of(start, end, self._segment_bytes):
                yield header(f"{WAL_FOLDER}/{segment_name(first, timeline, self._segment_bytes)}", self._segment_bytes)
                for piece in wal.take(last - first):
                    pages.feed(piece)
                    yield piece
                yield from _zeros(self._segment_bytes - (last - first))

    def _describe(
        self, base: BaseContents, before: Contents, after: Contents, moment: datetime, end: int
    ) -> DumpSummary:
        inventory, warnings = described(before, after)
        page = page_before(self._connection, end, base.timeline, entry=self._entry, cancellation=self._cancellation)
        position = Position(end, base.timeline, self._preflight.server.identity, self._segment_bytes, page)
        return DumpSummary(
            consistency=Consistency(snapshot="base backup", lsn=format_lsn(end)),
            recovery_point=moment,
            inventory=inventory,
            warnings=warnings,
            to_position=str(position),
            databases=tuple(name for name in before.databases if name in after.databases)
            or (self._connection.database,),
        )


def _zeros(size: int) -> Iterator[bytes]:
    while size:
        piece = bytes(min(size, _BLOCK_BYTES))
        size -= len(piece)
        yield piece
