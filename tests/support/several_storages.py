"""A project whose backups lie in several folders, each a storage of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from db_backup.model import ConnectionInfo
from support.project import Project

SECOND, THIRD = "second", "third"


class SpreadProject(Project):
    """Backups of every entry go to ``local`` and to the folders of ``storages``, one storage for each name."""

    def __init__(
        self,
        folder: Path,
        connections: Mapping[str, ConnectionInfo],
        *,
        storages: tuple[str, ...] = (SECOND,),
        as_process: bool = False,
        off_site: tuple[str, ...] = (),
    ) -> None:
        super().__init__(folder, connections, as_process=as_process)
        self.storages = {"local": self.storage, **{name: folder / f"disk-{name}" for name in storages}}
        self.off_site = off_site
        self.place(*self.storages)

    def place(self, *names: str) -> None:
        """From now on backups go to these storages."""
        document: dict[str, Any] = yaml.safe_load(self.config.read_text())
        document["storages"] = {
            name: {"url": path.as_uri(), "off_site": name in self.off_site}
            for name, path in self.storages.items()
            if name != "local"
        }
        for keys in document["databases"].values():
            keys["storages"] = list(names)
        self.config.write_text(yaml.safe_dump(document))

    def parts(self, backup_id: str, storage: str) -> list[Path]:
        """The files of the backup's parts, of which none may be there."""
        return sorted((self.storages[storage] / "database").glob(f"{backup_id}.*"))

    def spoil(self, backup_id: str, storage: str) -> Path:
        """Turn one byte over in the middle of the copy's largest part; the file."""
        path = max(self.parts(backup_id, storage), key=lambda part: part.stat().st_size)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        return path

    def create(self, entry: str = "shop", *arguments: str, **environment: str) -> str:
        """The id of a new backup, that was not verified."""
        (backup,) = self.json("create", entry, "--no-verify", *arguments, **environment)["backups"]
        return str(backup["id"])

    def backup(self, backup_id: str) -> dict[str, Any]:
        """As `list` shows it."""
        (found,) = [one for one in self.json("list")["backups"] if one["id"] == backup_id]
        return dict(found)

    def state(self, backup_id: str, storage: str) -> dict[str, Any]:
        """As this storage has it."""
        path = self.storages[storage] / "metadata" / f"{backup_id}.state.json"
        document: dict[str, Any] = json.loads(path.read_text())
        return document
