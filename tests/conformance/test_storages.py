"""Every storage keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.storage_contract import StorageContract
from db_backup.storage import LocalStorage, Storage

pytestmark = pytest.mark.unit


class TestLocal(StorageContract):
    def open_storage(self, folder: Path, *, expected_id: str | None = None) -> Storage:
        return LocalStorage("disk", folder / "root", expected_id=expected_id)

    def forget_identity(self, folder: Path) -> None:
        (folder / "root" / ".storage-id").unlink()
