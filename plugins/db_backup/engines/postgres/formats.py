"""What a dump's bytes are: pg_dump's format, and which type of backup it holds. ``Manifest.format`` is its text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from db_backup.model import BackupType

_TYPES = {BackupType.FULL: "", BackupType.STRUCTURE: ", structure", BackupType.DATA: ", data"}


class Container(StrEnum):
    """``PGSQL_BACKUP_FORMAT``, as far as it is written."""

    CUSTOM = "custom"
    PLAIN = "plain"


@dataclass(frozen=True)
class DumpFormat:
    """Of one dump."""

    container: Container
    type: BackupType = BackupType.FULL

    def __str__(self) -> str:
        return f"pg_dump {self.container}{_TYPES[self.type]}"

    @classmethod
    def parse(cls, text: str) -> DumpFormat:
        """From ``Manifest.format``."""
        return next(
            dump_format
            for container in Container
            for backup_type in _TYPES
            if str(dump_format := cls(container, backup_type)) == text
        )

    @property
    def is_custom(self) -> bool:
        return self.container is Container.CUSTOM

    @property
    def suffix(self) -> str:
        """Of the bare dump's file."""
        return "dump" if self.is_custom else "sql"
