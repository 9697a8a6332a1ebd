"""What Airflow loads of the suite from ``plugins/``: in every process, so nothing is imported before it is needed."""

from __future__ import annotations

from functools import cached_property
from types import ModuleType

from airflow.plugins_manager import AirflowPlugin


class DbBackupPlugin(AirflowPlugin):
    """Makes the pools of the DAGs as Airflow starts."""

    name = "db_backup"

    @cached_property
    def listeners(self) -> list[ModuleType]:
        from db_backup.operators import pools

        return [pools]
