"""A project whose backups are encrypted, and what is asked of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.project import Project
from support.shop_database import sqlite_database


def encrypted_project(folder: Path) -> Project:
    """Of one database ``shop``, with a folder for keys and none in it."""
    made = Project(folder / "project", {"shop": sqlite_database(folder, "shop")}, as_process=False)
    made.environment |= {"BACKUP_KEYS_PATH": str(keys(made)), "BACKUP_ENCRYPT": "true"}
    keys(made).mkdir()
    return made


def keys(project: Project) -> Path:
    return project.folder / "keys"


def create(project: Project, **environment: str) -> str:
    (backup,) = project.json("create", "shop", **environment)["backups"]
    assert backup["encrypted"]
    return str(backup["id"])


def state_path(project: Project, backup_id: str) -> Path:
    return project.storage / "metadata" / f"{backup_id}.state.json"


def state(project: Project, backup_id: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(state_path(project, backup_id).read_text())
    return document


def restored(project: Project, backup_id: str, name: str = "back.sqlite", **environment: str) -> bool:
    document = project.json("restore", backup_id, "--as", str(project.folder / name), **environment)
    return document["differences"] == [] and document["rows"] == 400
