"""Named places for artefacts: one contract (``base``), one implementation for each kind of place."""

from db_backup.storage.base import Block, Document, Sink, Storage, StoredObject, Temperature
from db_backup.storage.local import LocalStorage

__all__ = ["Block", "Document", "LocalStorage", "Sink", "Storage", "StoredObject", "Temperature"]
