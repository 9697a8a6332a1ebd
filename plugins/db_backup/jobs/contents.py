"""A backup's plain bytes, read back from where it lies."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from db_backup import naming
from db_backup.errors import (
    ArtefactError,
    ArtefactMissing,
    ArtefactSwapped,
    EncryptionKeyError,
    ObjectMissing,
    StorageError,
)
from db_backup.jobs.sidecars import Located
from db_backup.manifest import Part
from db_backup.progress import Cancellation, Progress
from db_backup.storage.base import Block
from db_backup.stream.reader import check_stored, read_plain, read_stored


def stored_bytes(located: Located, part: Part) -> Iterator[bytes]:
    """One part as it is stored.

    :raises ArtefactMissing: it is gone from the storage.
    :raises StorageError: it cannot be read now.
    """
    with blamed_on(located):
        try:
            yield from located.storage.read(naming.part_key(part.path))
        except ObjectMissing as error:
            raise ArtefactMissing(
                f"{part.path} is gone from {located.storage.location}.",
                hint="Restore it from another copy, or delete the backup.",
            ) from error


@contextmanager
def blamed_on(located: Located) -> Iterator[None]:
    """What keeps this copy from being read says whose it is: of several backups, and of several copies."""
    try:
        yield
    except (ArtefactError, StorageError) as error:
        error.storage = error.storage or located.storage.name
        error.backup_id = error.backup_id or located.manifest.id
        error.database = error.database or located.manifest.entry
        raise


def checked_stored(located: Located, part: Part, progress: Progress) -> Iterator[Block]:
    """One part as it is stored, size and hash checked by its end.

    :raises ArtefactMissing, ArtefactTruncated, ArtefactCorrupt, StorageError: as late as the end.
    """
    with blamed_on(located):
        yield from read_stored(stored_bytes(located, part), part, progress=progress)


def plain_part(located: Located, part: Part, stored: Iterable[bytes], progress: Progress) -> Iterator[bytes]:
    """The plain bytes of one part; the key is looked for when they are asked for, and where it is encrypted.

    :param stored: the part as it is stored.
    :raises ArtefactTruncated, ArtefactSwapped, ArtefactCorrupt: as late as the end.
    :raises EncryptionKeyError: no key opens it here.
    """
    _refuse_in_the_clear(located)
    key = located.keyring.data_key(located.manifest, located.state) if part.cipher else None
    yield from read_plain(stored, part, progress=progress, key=key, siblings=located.manifest.parts)


def _refuse_in_the_clear(located: Located) -> None:
    """Nothing that anybody could have written passes as a part of a backup that was encrypted.

    :raises ArtefactSwapped: the manifest says of a part that it is not encrypted, and there is a data key.
    """
    manifest = located.manifest
    plain = [part.path for part in manifest.parts if part.cipher is None]
    if plain and (located.state.wrapped_keys or len(plain) < len(manifest.parts)):
        raise ArtefactSwapped(
            f"The manifest says that '{plain[0]}' is not encrypted, and {manifest.id} was made with a data key.",
            hint="Somebody changed the manifest or the state: restore both from another copy.",
        )


def refuse_out_of_order(located: Located, parts: Sequence[Part]) -> None:
    """What is encrypted is bound to its name, and the name says which piece of its stream it is.

    :param parts: of one stream, as the manifest has them.
    :raises ArtefactSwapped: one was left out before the last, or they were rearranged.
    """
    pieces = [naming.piece_of(part.path) for part in parts]
    if parts[0].cipher is not None and pieces != list(range(1, len(parts) + 1)):
        listed = ", ".join(map(str, pieces))
        raise ArtefactSwapped(
            f"The manifest of {located.manifest.id} has the pieces {listed} of '{parts[0].stream}': one was left out,"
            " or they were rearranged.",
            hint="Somebody changed the manifest: restore it from another copy.",
        )


def check_copy(located: Located, progress: Progress, cancellation: Cancellation) -> str | None:
    """Read every stored byte of this copy back; with the key at hand, the cipher is authenticated in the same pass.

    :return: why the cipher was not authenticated: no key opens it here; "" where it was; None: it is not encrypted.
    :raises ArtefactMissing, ArtefactTruncated, ArtefactSwapped, ArtefactCorrupt: it is not what was written.
    :raises StorageError: it cannot be read now.
    """
    manifest = located.manifest
    key, unread = None, None
    if any(part.cipher for part in manifest.parts):
        try:
            key, unread = located.keyring.data_key(manifest, located.state), ""
        except EncryptionKeyError as error:
            unread = error.message
    with blamed_on(located):
        _refuse_in_the_clear(located)
        for parts in manifest.streams.values():
            refuse_out_of_order(located, parts)
        for part in manifest.parts:
            blocks = cancellation.watch(stored_bytes(located, part))
            check_stored(blocks, part, progress=progress, key=key, siblings=manifest.parts)
    return unread


class FetchClock:
    """How long readers waited for the storage, in seconds; those of streams read at the same time are added up."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.seconds = 0.0

    def watch(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks."""
        while True:
            began = time.monotonic()
            block = next(blocks, None)
            with self._guard:
                self.seconds += time.monotonic() - began
            if block is None:
                return
            yield block


def plain_streams(located: Located, progress: Progress, clock: FetchClock | None = None) -> tuple[Iterator[bytes], ...]:
    """The dump's streams as its tools wrote them, in the order of loading, every hash checked by the end of each.

    :param clock: is told how long the storage took.
    :raises ArtefactMissing, ArtefactTruncated, ArtefactSwapped, ArtefactCorrupt: as late as the end.
    :raises EncryptionKeyError: no key opens it here.
    """
    clock = clock or FetchClock()
    return tuple(_plain_bytes(located, parts, progress, clock) for parts in located.manifest.streams.values())


def stream_of(located: Located, name: str, progress: Progress, clock: FetchClock | None = None) -> Iterator[bytes]:
    """One of the dump's streams, as :func:`plain_streams` gives them.

    :raises ArtefactMissing: the backup has no such stream; otherwise as :func:`plain_streams`.
    """
    parts = located.manifest.streams.get(name)
    if parts is None:
        raise ArtefactMissing(
            f"{located.manifest.id} has no part that holds '{name}'.",
            hint="Take another copy of this backup, or an older backup.",
            database=located.manifest.entry,
            backup_id=located.manifest.id,
        )
    return _plain_bytes(located, parts, progress, clock or FetchClock())


def _plain_bytes(located: Located, parts: Sequence[Part], progress: Progress, clock: FetchClock) -> Iterator[bytes]:
    with blamed_on(located):
        refuse_out_of_order(located, parts)
        for part in parts:
            yield from plain_part(located, part, clock.watch(stored_bytes(located, part)), progress)
