"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from db_backup.config import Config, load_config
from db_backup.settings import load_settings

ReadConfig = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> ReadConfig:
    """Reads a text as include/backup.yaml of an empty project."""

    def read_text(text: str, **environment: str) -> Config:
        path = tmp_path / "include" / "backup.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
        return load_config(load_settings({"AIRFLOW_HOME": str(tmp_path), **environment}, root=tmp_path))

    return read_text
