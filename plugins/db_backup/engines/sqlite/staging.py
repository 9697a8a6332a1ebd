"""The image of a database at one moment, in a private folder until it has gone through the pipeline."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from db_backup.engines.sqlite.compacting import Compacting, compact_image
from db_backup.engines.sqlite.source import (
    compacted_size,
    open_unchanging,
    page_size,
    primary_code,
    size_in_transaction,
)
from db_backup.engines.staging import SPACE_HINT, check_room, staging_folder
from db_backup.errors import StorageFull
from db_backup.progress import Cancellation

_BYTES_PER_STEP = 16 << 20


@dataclass(frozen=True)
class Image:
    """A copy of the database file: its bytes, and a connection that reads it from any one thread.

    ``copied_bytes``: the size of the exact copy, which ``compacting`` (None: not asked for) may have made smaller.
    """

    descriptor: int
    connection: sqlite3.Connection
    size_bytes: int
    copied_bytes: int
    compacting: Compacting | None = None


@contextmanager
def staged_image(
    source: sqlite3.Connection, path: Path, staging_path: Path, cancellation: Cancellation, *, compact: bool = False
) -> Iterator[Image]:
    """Copy what ``source``, inside its read transaction, sees. The files have no name any more once this yields, so
    that nothing is left even when the process is killed.

    :param compact: leave out the pages that nothing uses, where that changes nothing else.
    :raises StorageFull: there is no room in ``staging_path``.
    :raises SourceError, ConfigurationError: the folder cannot be used.
    """
    with ExitStack() as stack:
        with staging_folder(staging_path) as folder:
            needed = size_in_transaction(source) + (compacted_size(source) if compact else 0)
            check_room(staging_path, needed, f"The image of {path}", hint=SPACE_HINT)
            file = folder / "image.sqlite"
            try:
                _copy(source, file, cancellation)
                copied_bytes = file.stat().st_size
                compacting = compact_image(file, cancellation) if compact else None
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_FULL:
                    raise
                raise StorageFull(
                    f"{staging_path} was filled by the image of {path}; nothing was kept.", hint=SPACE_HINT
                ) from error
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            connection = stack.enter_context(closing(open_unchanging(file)))
        yield Image(descriptor, connection, os.fstat(descriptor).st_size, copied_bytes, compacting)


def _copy(source: sqlite3.Connection, file: Path, cancellation: Cancellation) -> None:
    """In steps, so that it can be cancelled. A writer makes a stepwise backup start again and again; here the source's
    own read transaction keeps every step at the same moment, as if it were one (``pages=-1``).
    """
    with closing(sqlite3.connect(file, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=_BYTES_PER_STEP // page_size(source), progress=lambda *_: cancellation.check())
