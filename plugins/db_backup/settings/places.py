"""Where the project and Airflow's home lie. Relative paths count from the project's root, never the working folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import db_backup

#: As a default it stands for the system's folder for temporary files ($TMPDIR, else /tmp).
TEMP_FOLDER = "<temp folder>"
_AIRFLOW_HOME_NAMES = ("$AIRFLOW_HOME", "${AIRFLOW_HOME}")


def airflow_home(environment: Mapping[str, str] | None = None) -> Path:
    """``$AIRFLOW_HOME``, else ``~/airflow``, as Airflow decides it."""
    environment = os.environ if environment is None else environment
    return Path(environment.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()


def project_root(environment: Mapping[str, str] | None = None) -> Path:
    """The folder above ``plugins/`` when this package lies in one, else Airflow's home."""
    above = Path(db_backup.__file__).resolve().parent.parent
    return above.parent if above.name == "plugins" else airflow_home(environment)


@dataclass(frozen=True)
class Places:
    """The two folders that paths in settings may count from."""

    root: Path
    home: Path

    def absolute(self, text: str) -> Path:
        """``~`` and a leading ``$AIRFLOW_HOME`` are expanded; a relative path counts from the root."""
        if text == TEMP_FOLDER:
            return Path(tempfile.gettempdir())
        for name in _AIRFLOW_HOME_NAMES:
            if text == name or text.startswith(f"{name}/"):
                return self.home / text[len(name) :].lstrip("/")
        path = Path(text)
        return Path(os.path.normpath(self.root / (path.expanduser() if text.startswith("~") else path)))
