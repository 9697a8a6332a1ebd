"""What a dump's bytes are: SQL, and which type of backup it holds. ``Manifest.format`` is its text."""

from __future__ import annotations

from db_backup.model import BackupType

_FORMATS = {BackupType.FULL: "sql", BackupType.STRUCTURE: "sql, structure", BackupType.DATA: "sql, data"}


def format_of(backup_type: BackupType) -> str:
    return _FORMATS[backup_type]


def type_of(dump_format: str) -> BackupType:
    """From ``Manifest.format``."""
    return next(backup_type for backup_type, text in _FORMATS.items() if text == dump_format)
