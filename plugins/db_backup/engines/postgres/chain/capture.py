"""What a full and an increment have in common while they are read: bytes that we make, proved on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from db_backup.engines.base import Dump, DumpSummary, Preflight
from db_backup.engines.piping import PipedStream, piped
from db_backup.engines.postgres.contents import StreamDamaged
from db_backup.errors import DumpIncomplete
from db_backup.progress import Cancellation


class Capture(Dump):
    """A dump of one stream. ``finish`` is asked once all of it was written and read."""

    def __init__(
        self,
        preflight: Preflight,
        format: str,
        stream: PipedStream,
        finish: Callable[[], DumpSummary],
        entry: str,
        cancellation: Cancellation,
    ) -> None:
        self.preflight = preflight
        self.format = format
        self.streams = (stream,)
        self._stream = stream
        self._finish = finish
        self._entry = entry
        self._cancellation = cancellation

    def complete(self) -> DumpSummary:
        try:
            whole = self._stream.is_whole()
        except StreamDamaged as damage:
            raise DumpIncomplete(
                f"The backup of '{self._entry}' is not whole: what the server sent {damage}.",
                hint="Run it again; if it comes back, look into the server's log.",
                database=self._entry,
            ) from damage
        finally:
            self._cancellation.check()
        if not whole:
            raise DumpIncomplete(
                f"The backup of '{self._entry}' was not read to its end.", hint="Run it again.", database=self._entry
            )
        return self._finish()


@contextmanager
def captured(
    pieces: Iterable[bytes],
    preflight: Preflight,
    format: str,
    finish: Callable[[], DumpSummary],
    *,
    entry: str,
    cancellation: Cancellation,
    until_end: Cancellation,
) -> Iterator[Capture]:
    """The pieces as an open dump, while the block runs.

    :param until_end: asked for a stop at the block's end, so that nothing which waits for the server goes on.
    """
    with piped(pieces, suffix="tar") as stream:
        try:
            yield Capture(preflight, format, stream, finish, entry, cancellation)
        finally:
            until_end.cancel("the backup has ended")


@contextmanager
def following(cancellation: Cancellation) -> Iterator[Cancellation]:
    """One that is asked for a stop whenever the other is, and may be asked alone."""
    own = Cancellation()
    with cancellation.on_cancel(lambda: own.cancel(cancellation.reason)):
        yield own
