"""Whole archives in files, for a tool that must seek in them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from db_backup.engines.base import Block
from db_backup.engines.staging import SPACE_HINT, check_staging_room, staging_folder
from db_backup.errors import SourceError, StorageFull
from db_backup.manifest import Manifest
from db_backup.progress import Cancellation


def refuse_without_staging_room(manifest: Manifest, staging_path: Path) -> None:
    """:raises StorageFull: the whole backup does not fit into BACKUP_STAGING_PATH.
    :raises ConfigurationError: the place cannot be used.
    """
    what = f"{manifest.id}, which several jobs load from a file,"
    check_staging_room(staging_path, manifest.plain_bytes, what, database=manifest.entry)


@contextmanager
def staged(
    streams: Sequence[Iterable[Block]], staging_path: Path, manifest: Manifest, cancellation: Cancellation
) -> Iterator[list[Path]]:
    """Every stream read to its end, and so its hash checked, before the block begins; the files are gone afterwards.

    :raises StorageFull: there is no room.
    :raises ConfigurationError, SourceError: the place cannot be used.
    """
    refuse_without_staging_room(manifest, staging_path)
    with staging_folder(staging_path) as folder:
        files = []
        for number, content in enumerate(streams, 1):
            files.append(folder / f"{number}.dump")
            _write(files[-1], content, manifest, cancellation)
        yield files


def _write(path: Path, content: Iterable[Block], manifest: Manifest, cancellation: Cancellation) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for block in content:
            cancellation.check()
            try:
                file.write(block)
                file.flush()
            except OSError as error:
                raise _write_error(error, path.parent.parent, manifest) from error


def _write_error(error: OSError, place: Path, manifest: Manifest) -> StorageFull | SourceError:
    is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return (StorageFull if is_full else SourceError)(
        f"{manifest.id} could not be staged in {place}: {error.strerror}; nothing was loaded.",
        hint=SPACE_HINT if is_full else "Point BACKUP_STAGING_PATH to a disk that works.",
        database=manifest.entry,
        backup_id=manifest.id,
    )
