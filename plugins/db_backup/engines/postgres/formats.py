"""What a dump's bytes are: pg_dump's format, and which type of backup it holds. ``Manifest.format`` is its text."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from db_backup.model import BackupType

_TYPES = {BackupType.FULL: "", BackupType.STRUCTURE: ", structure", BackupType.DATA: ", data"}


class Container(StrEnum):
    """``PGSQL_BACKUP_FORMAT``. A directory is stored as a tar of its files."""

    CUSTOM = "custom"
    PLAIN = "plain"
    TAR = "tar"
    DIRECTORY = "directory"


_SUFFIXES = {Container.CUSTOM: "dump", Container.PLAIN: "sql", Container.TAR: "tar", Container.DIRECTORY: "tar"}


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
    def is_archive(self) -> bool:
        """Whether it is pg_restore's to read, and not psql's."""
        return self.container is not Container.PLAIN

    @property
    def is_tar(self) -> bool:
        """Whether the stream is a tar."""
        return self.container in {Container.TAR, Container.DIRECTORY}

    @property
    def as_stream(self) -> DumpFormat:
        """What gives the same inventory without writing anything to a disk first."""
        return dataclasses.replace(self, container=Container.CUSTOM) if self.is_tar else self

    @property
    def suffix(self) -> str:
        """Of the bare dump's file."""
        return _SUFFIXES[self.container]
