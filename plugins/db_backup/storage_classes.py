"""The colder classes of object storages: pure facts, by each provider's own word.

Amazon: "Amazon S3 storage classes" and "Archive retrieval options"; Google: "Storage classes"; Microsoft: "Access tiers
for blob data" and "Blob rehydration from the archive tier".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StorageClass:
    """A class that objects can be archived to.

    :param minimum_days: that are billed for, however soon the object is deleted.
    :param thaw: how long it usually takes until an object can be read, in words; empty: it can be read at once.
    """

    name: str
    minimum_days: int
    thaw: str = ""


S3_CLASSES = (
    StorageClass("STANDARD_IA", 30),
    StorageClass("ONEZONE_IA", 30),
    StorageClass("INTELLIGENT_TIERING", 0),
    StorageClass("GLACIER_IR", 90),
    StorageClass("GLACIER", 90, "3 to 5 hours"),
    StorageClass("DEEP_ARCHIVE", 180, "up to 12 hours"),
)
GCS_CLASSES = (StorageClass("NEARLINE", 30), StorageClass("COLDLINE", 90), StorageClass("ARCHIVE", 365))
AZURE_TIERS = (StorageClass("Cool", 30), StorageClass("Cold", 90), StorageClass("Archive", 180, "up to 15 hours"))

#: By name, which no two providers share.
STORAGE_CLASSES: Mapping[str, StorageClass] = {one.name: one for one in (*S3_CLASSES, *GCS_CLASSES, *AZURE_TIERS)}


def thaw_time(storage_class: str) -> str:
    """How long it usually takes until an object of this class can be read; empty: it can be read at once."""
    known = STORAGE_CLASSES.get(storage_class)
    return known.thaw if known else ""


def needs_thaw(storage_class: str) -> bool:
    """Whether an object of this class must be thawed before it can be read."""
    return bool(thaw_time(storage_class))
