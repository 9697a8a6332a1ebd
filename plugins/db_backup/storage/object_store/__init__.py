"""Object storages: one implementation of the contract over S3, Google Cloud Storage and Azure Blob Storage."""

from db_backup.storage.object_store.limits import Limits
from db_backup.storage.object_store.storage import ObjectStorage

__all__ = ["Limits", "ObjectStorage"]
