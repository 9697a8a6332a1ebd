"""Named places for artefacts: one contract (``base``), one implementation for each kind of place."""

from db_backup.storage.base import Block, Document, Protection, Sink, Storage, StoredObject, Temperature
from db_backup.storage.local import LocalStorage
from db_backup.storage.object_store import Limits, ObjectStorage

__all__ = [
    "Block",
    "Document",
    "Limits",
    "LocalStorage",
    "ObjectStorage",
    "Protection",
    "Sink",
    "Storage",
    "StoredObject",
    "Temperature",
]
