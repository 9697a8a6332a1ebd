"""The storage contract. Every implementation passes ``tests/conformance/storage_contract.py``.

A *key* is a slash-separated relative path ("database/backup_shop_full_….sql.gz"): no segment is empty or begins with a
dot, no leading slash, no backslash, nothing that does not print. Anything else raises ``ValueError`` before anything is
touched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from db_backup.errors import FeatureNotAvailable

Block = bytes | bytearray | memoryview


@dataclass(frozen=True)
class StoredObject:
    """One object that lies under a final name."""

    key: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True)
class Document:
    """A small object read whole, with the version that a conditional write compares."""

    content: bytes
    version: str


@dataclass(frozen=True)
class Temperature:
    """How soon an object can be read.

    ``storage_class``: the provider's own word for it ("STANDARD", "DEEP_ARCHIVE", "Archive"). ``readable``: now.
    ``thawing``: it was asked for, and is on its way.
    """

    storage_class: str = ""
    readable: bool = True
    thawing: bool = False


@dataclass(frozen=True)
class Protection:
    """What a storage itself does against deletion: objects can be locked; deleted ones leave their versions."""

    object_lock: bool = False
    versioned: bool = False


class Sink(Protocol):
    """Where the pipeline writes the stored bytes of one part. Several sinks may be fed by one pipeline.

    Nothing is visible under the final name before ``commit``. ``abort`` and ``commit`` are final; ``abort`` after
    either of them does nothing, so that it can stand in a ``finally``.
    """

    def write(self, block: Block) -> None:
        """Take all of ``block``; the caller may reuse its memory as soon as this returns.

        :raises StorageFull, StorageAccessDenied, StorageError: the sink is then good only for ``abort``.
        """

    def commit(self) -> None:
        """Make the object durable (file and folder fsynced) and visible, all at once.

        :raises StorageConflict: the name is taken; what is there is untouched, what was written is gone.
        """

    def abort(self) -> None:
        """Leave nothing behind. Never raises."""


class Storage(ABC):
    """A named place for artefacts.

    Every method but ``initialise`` first checks the root's ``.storage-id`` and raises ``StorageNotMounted`` when it is
    missing or is not the expected one, so that an unmounted disk never looks like lost backups. Permission, space and
    I/O errors arrive as ``StorageAccessDenied``, ``StorageFull`` and ``StorageError`` and name the storage and the key.
    """

    name: str

    @property
    @abstractmethod
    def location(self) -> str:
        """The root, for people: a folder or a URL, never with a secret."""

    @property
    def max_object_bytes(self) -> int | None:
        """What one object holds at most, for a stream whose length nobody knows; None: as much as there is room for.

        A stream that is longer goes on in a next object (a next part of the backup).
        """
        return None

    @property
    def requests_at_once(self) -> int:
        """How many small objects are read at the same time where there are many to read; 1: one after the other.

        Where it is more, every method may be called from several threads.
        """
        return 1

    @property
    @abstractmethod
    def storage_id(self) -> str:
        """The content of ``.storage-id``: every copy records it."""

    @abstractmethod
    def initialise(self) -> None:
        """Create an empty root with a fresh ``.storage-id``; does nothing on a root that has one. Idempotent.

        :raises StorageNotMounted: the root has backups but no ``.storage-id``.
        """

    @abstractmethod
    def reserve(self, backup_id: str) -> AbstractContextManager[None]:
        """Claim an id exclusively, over processes and hosts, while the block runs; leaves nothing behind.

        :raises StorageConflict: somebody holds it, or an object of that id exists already.
        """

    @abstractmethod
    def open_sink(self, key: str) -> Sink:
        """Begin to write a large object under a temporary name. Nothing of ``key`` is visible before its ``commit``."""

    @abstractmethod
    def create(self, key: str, content: bytes) -> None:
        """Write a small object whole, durably and exclusively.

        :raises StorageConflict: it exists.
        """

    @abstractmethod
    def replace(self, key: str, content: bytes, *, version: str | None) -> None:
        """Write a small object atomically if it is still at ``version`` (None: if it does not exist).

        :raises StorageConflict: somebody else wrote it since; read it again and decide again.
        """

    @abstractmethod
    def read_document(self, key: str) -> Document:
        """:raises ObjectMissing: there is none."""

    @abstractmethod
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream an object, or the range of it, in blocks of at most 1 MiB.

        :raises ObjectMissing: there is none (raised on the first step at the latest).
        :raises ObjectCold: it must be thawed first (as early).
        """

    @abstractmethod
    def stat(self, key: str) -> StoredObject:
        """:raises ObjectMissing: there is none."""

    @abstractmethod
    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects directly in the folder ``prefix`` ("metadata"), in order of key; none where it does not exist.

        Temporary files are never listed.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove one object; a missing one is no error. Idempotent.

        :raises ObjectLocked: it may not be deleted yet; says until when.
        """

    @abstractmethod
    def append_record(self, key: str, record: bytes) -> None:
        """Add one line durably to a log that is only ever appended to ("audit/2026-11.jsonl").

        ``record`` holds no newline. A storage that cannot append writes one object per record below the key.
        """

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Room left, or None where the storage has no limit that it can tell."""

    def capacity_bytes(self) -> int | None:
        """What there would be room for with nothing stored, by whoever uses the disk; None as with ``free_bytes``."""
        self.free_bytes()  # of the root that is meant, or not at all
        return None

    @abstractmethod
    def sweep(self, *, older_than: timedelta) -> tuple[str, ...]:
        """Remove temporary files and reservations whose writer is gone; returns their names.

        With a reservation goes what was published under its id, unless the manifest was: nothing of it is a backup.
        A live writer's files are never touched, whatever their age. Where liveness cannot be told, age decides.
        """

    # Cold and locked objects: of storages that have them

    @property
    def archive_classes(self) -> tuple[str, ...]:
        """The classes that :meth:`archive` takes; nothing is asked for it."""
        return ()

    def protection(self) -> Protection:
        """:raises StorageError: it cannot be asked."""
        return Protection()

    def temperature(self, key: str) -> Temperature:
        """How soon the object can be read.

        :raises ObjectMissing: there is none.
        """
        self.stat(key)
        return Temperature()

    def archive(self, key: str, storage_class: str) -> str:
        """Move an object to a colder class, in place; where it must thaw first, a reader meets ``ObjectCold``.

        :param storage_class: the provider's own word.
        :return: what stays behind and costs as before, half a sentence; empty: nothing.
        :raises FeatureNotAvailable: this storage has no such class.
        :raises ObjectMissing, StorageError: it stays where it was.
        """
        raise FeatureNotAvailable(
            f"'{key}' cannot be archived: storage '{self.name}' ({self.location}) has no class '{storage_class}'.",
            hint="Archive to a storage that has one: S3, Google Cloud Storage or Azure Blob Storage.",
        )

    def thaw(self, key: str, *, days: int) -> None:  # noqa: ARG002 - nothing here is ever cold
        """Ask for a cold object to be readable again, for so many days; what is readable stays so. Idempotent.

        :raises ObjectMissing: there is none.
        """
        self.stat(key)

    def retain(self, key: str, until: datetime) -> None:
        """Let nobody delete or overwrite the object before that moment, where the storage can lock objects.

        :raises FeatureNotAvailable: it cannot.
        :raises StorageError: the object is there and may not be locked.
        """
        raise FeatureNotAvailable(
            f"'{key}' cannot be locked until {until:%Y-%m-%d}: storage '{self.name}' ({self.location}) has no locks.",
            hint="Remove object_lock from this storage in backup.yaml, or use an S3 bucket made with Object Lock.",
        )

    def retained_until(self, key: str) -> datetime | None:
        """Until when the object is locked; None: it is not. :raises ObjectMissing: there is none."""
        self.stat(key)
        return None
