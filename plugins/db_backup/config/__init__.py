"""Configuration: ``backup.yaml`` over the settings, as entries (SPEC §2)."""

from __future__ import annotations

from db_backup.config.entry import Config, Entry, KeyConfig, StorageConfig
from db_backup.config.loading import load_config
from db_backup.config.resolve import choose_compression
from db_backup.config.schema import Archive, Channels, Check, Hook, Hooks, Objectives, RestoreTarget

__all__ = [
    "Archive",
    "Channels",
    "Check",
    "Config",
    "Entry",
    "Hook",
    "Hooks",
    "KeyConfig",
    "Objectives",
    "RestoreTarget",
    "StorageConfig",
    "choose_compression",
    "load_config",
]
