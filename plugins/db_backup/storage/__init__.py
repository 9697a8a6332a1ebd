"""Named places for artefacts: one contract (``base``), one implementation for each kind of place."""

from db_backup.storage.base import Block, Document, Protection, Sink, Storage, StoredObject, Temperature
from db_backup.storage.local import LocalStorage

__all__ = ["Block", "Document", "LocalStorage", "Protection", "Sink", "Storage", "StoredObject", "Temperature"]
