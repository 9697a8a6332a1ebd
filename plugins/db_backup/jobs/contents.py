"""A backup's plain bytes, read back from where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from db_backup import naming
from db_backup.errors import ArtefactMissing, ObjectMissing
from db_backup.jobs.sidecars import Located
from db_backup.manifest import Part
from db_backup.progress import Progress
from db_backup.stream.reader import read_plain


def stored_bytes(located: Located, part: Part) -> Iterator[bytes]:
    """One part as it is stored.

    :raises ArtefactMissing: it is gone from the storage.
    """
    try:
        yield from located.storage.read(naming.part_key(part.path))
    except ObjectMissing as error:
        raise ArtefactMissing(
            f"{part.path} is gone from {located.storage.location}.",
            hint="Restore it from another copy, or delete the backup.",
            database=located.manifest.entry,
            backup_id=located.manifest.id,
        ) from error


def plain_streams(located: Located, progress: Progress) -> tuple[Iterator[bytes], ...]:
    """The dump's streams as its tools wrote them, in the order of loading, every hash checked by the end of each.

    :raises ArtefactMissing, ArtefactTruncated, ArtefactCorrupt: as late as the end.
    """
    return tuple(_plain_bytes(located, parts, progress) for parts in located.manifest.streams.values())


def _plain_bytes(located: Located, parts: Sequence[Part], progress: Progress) -> Iterator[bytes]:
    for part in parts:
        yield from read_plain(stored_bytes(located, part), part, progress=progress)
