"""Colder classes of object storages: what class an object is in, moving it there, and having it thawed.

Each provider's way is a :class:`ColdClasses`; paths are those in the bucket, with the storage's prefix.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from db_backup.errors import FeatureNotAvailable, ObjectCold
from db_backup.storage.base import Temperature
from db_backup.storage_classes import StorageClass, thaw_time


class ColdClasses(Protocol):
    """The classes of one bucket.

    ``classes``: those that :meth:`archive` takes. Every method raises ``ObjectMissing``, ``StorageAccessDenied`` and
    ``StorageError``.
    """

    classes: ClassVar[tuple[StorageClass, ...]]

    def temperature(self, path: str) -> Temperature:
        """How soon the object can be read."""

    def archive(self, path: str, storage_class: str) -> str:
        """Move the object to that class; one that is there already stays.

        :return: what the old class still holds and costs, half a sentence; empty: nothing.
        :raises ObjectCold: it must be thawed before it can be moved.
        :raises FeatureNotAvailable: there is no such class here.
        """

    def thaw(self, path: str, *, days: int) -> None:
        """Ask for the object to be readable for so many days; what is, or was asked for, stays so."""


def cold_error(place: str, path: str, temperature: Temperature) -> ObjectCold | None:
    """Why the object cannot be read; None: it can."""
    if temperature.readable:
        return None
    took = thaw_time(temperature.storage_class)
    usually = f"; that usually takes {took}" if took else ""
    if temperature.thawing:
        state, hint = f"is being thawed{usually}", "Try again when it is there."
    else:
        state, hint = f"must be thawed before it can be read{usually}", "`db-backup restore` asks for it, and waits."
    return ObjectCold(f"'{path}' in {place} is in the class {temperature.storage_class}, and {state}.", hint=hint)


def refuse_unknown_class(classes: tuple[StorageClass, ...], storage_class: str, place: str) -> None:
    """:raises FeatureNotAvailable: none of these is of that name."""
    names = [one.name for one in classes]
    if storage_class not in names:
        raise FeatureNotAvailable(
            f"There is no class '{storage_class}' in {place}.", hint=f"Use one of: {', '.join(names)}."
        )
