"""A file as it was: the image of a chain's base with the pages of its increments put into it, proved page by page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from db_backup.engines.chain import Link, Rebuilt, refuse_gaps
from db_backup.engines.sqlite.landing import inspect_image, private_scratch, receive
from db_backup.engines.sqlite.pages import (
    PAGES,
    HashReader,
    PageHashes,
    Position,
    changed_pages,
    chunks_in,
    corrupt,
    differing,
    position_of,
)
from db_backup.engines.staging import check_room
from db_backup.errors import PointOutOfReach, StorageFull, UsageError
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo, EngineName
from db_backup.progress import Cancellation
from db_backup.recovery import Point

_ROOM_HINT = "Make room, or point BACKUP_SCRATCH_PATH to a disk that has it."


@contextmanager
def open_rebuilt(
    links: Sequence[Link], point: Point, scratch_path: Path, cancellation: Cancellation
) -> Iterator[Rebuilt]:
    """``ChainEngine.open_rebuilt``. A file has no log between its backups: of a time, the newest backup up to it."""
    refuse_gaps(links)
    wanted = _up_to(links, point)
    last = wanted[-1].manifest
    shapes = [position_of(link.manifest) for link in wanted]
    with private_scratch(scratch_path) as scratch:
        needed = max(shape.file_bytes for shape in shapes)
        check_room(scratch, needed, f"The database of {last.id}", hint=_ROOM_HINT, database=last.entry)
        file = scratch / "rebuilt.sqlite"
        receive(wanted[0].read("main"), file, scratch, cancellation)
        for link, shape in zip(wanted[1:], shapes[1:], strict=True):
            _apply(link, shape, file, cancellation)
        _prove(file, wanted[-1], shapes[-1])
        inspect_image(file, cancellation, thorough=False)
        yield Rebuilt(
            connection=ConnectionInfo(conn_id="scratch", engine=EngineName.SQLITE, database=str(file), scratch=True),
            databases=wanted[0].manifest.databases,
            time=last.recovery_point,
            position=str(shapes[-1]),
        )


def _up_to(links: Sequence[Link], point: Point) -> Sequence[Link]:
    """The links to a point. Where the clock went back, what came after that counts as later than it says."""
    base = links[0].manifest
    if asked := point.lsn or point.gtid or point.position:
        raise UsageError(
            f"'{base.entry}' is an SQLite file, which has no log with a place such as {asked}.",
            hint="Name a moment: --to-time, or none for the newest.",
            database=base.entry,
        )
    if point.time is None:
        return links
    moment = point.time
    wanted = list(takewhile(lambda link: link.manifest.recovery_point <= moment, links))
    if not wanted:
        raise PointOutOfReach(
            f"The chain of {base.id} begins at {_told(base)}, and {moment.isoformat(sep=' ')} is before that.",
            hint=f"The first moment that it leads to is {_told(base)}; an older chain may lead further back.",
            database=base.entry,
            backup_id=base.id,
        )
    return wanted


def _told(manifest: Manifest) -> str:
    return manifest.recovery_point.isoformat(sep=" ")


def _apply(link: Link, shape: Position, file: Path, cancellation: Cancellation) -> None:
    """Put an increment's pages into the file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for number, page in changed_pages(link.read("main"), link.manifest, shape):
            cancellation.check()
            _put(descriptor, page, (number - 1) * shape.page_bytes, file)
        os.ftruncate(descriptor, shape.file_bytes)
    finally:
        os.close(descriptor)


def _put(descriptor: int, page: bytes, place: int, file: Path) -> None:
    written = 0
    try:
        while written < len(page):
            written += os.pwrite(descriptor, page[written:], place + written)
    except OSError as error:
        raise StorageFull(f"{file.parent} could not be written to: {error.strerror}.", hint=_ROOM_HINT) from error


def _prove(file: Path, link: Link, shape: Position) -> None:
    """See that every page is the one that the backup hashed.

    :raises ArtefactCorrupt: with the first that is not.
    """
    hashes, known = PageHashes(shape.page_bytes), HashReader(link.read(PAGES))
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        wrong = next(differing(chunks_in(descriptor, shape.page_bytes), hashes, known), None)
    finally:
        os.close(descriptor)
    if wrong is not None:
        raise corrupt(link.manifest, f"page {wrong} of the rebuilt file is not the one that was backed up")
    known.finish(link.manifest, shape)
    if hashes.position != shape:
        raise corrupt(link.manifest, f"the rebuilt file has {hashes.position.page_count} pages")
