"""Settings: environment variables, then the project's ``.env``, then defaults (SPEC §2)."""

from __future__ import annotations

from db_backup.settings.definition import EffectiveSetting, Settings
from db_backup.settings.loading import load_settings
from db_backup.settings.places import airflow_home, project_root
from db_backup.settings.values import HourWindow, Weekday

__all__ = [
    "EffectiveSetting",
    "HourWindow",
    "Settings",
    "Weekday",
    "airflow_home",
    "load_settings",
    "project_root",
]
