"""An encrypted backup in several parts, restored by the commands in its manifest: a shell, stock tools, one script."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from db_backup.encryption.key_file import generate_secret
from db_backup.storage import LocalStorage
from support.encrypted import put_key
from support.project import Project
from support.shop_database import sqlite_database

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "decrypt_backup.py"


def rows(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select * from orders order by id").fetchall()


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_commands_in_the_manifest_restore_it(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sqlite_database(tmp_path, "shop", rows=3000, row_bytes=100)
    project = Project(tmp_path / "project", {"shop": shop}, as_process=False)
    key = put_key(tmp_path / "keys", generate_secret("default"))
    project.environment["BACKUP_KEYS_PATH"] = str(key.parent)
    monkeypatch.setattr(LocalStorage, "max_object_bytes", 40_000 if compression != "none" else 200_000)
    (backup,) = project.json("create", "shop", "--encrypt", "--compression", compression, "--no-verify")["backups"]
    assert len(backup["parts"]) > 1

    folder = project.storage / "database"
    shutil.copy(SCRIPT, folder)
    shutil.copy(key, folder / "KEY.json")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for step in project.manifest(backup["id"])["stock_restore"]:
        done = subprocess.run(
            ["sh", "-c", step["command"]],
            cwd=folder,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{step}\n{done.stderr}"
    assert rows(folder / "restored.sqlite") == rows(Path(shop.database))
    decrypted = folder / backup["parts"][0]["path"].removesuffix(".enc")
    assert decrypted.stat().st_mode & 0o077 == 0
