"""A dump that is cut off or fails while it is encrypted: at no moment does anything decrypt as complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from db_backup.encryption import DataKey
from db_backup.encryption.key_file import generate_secret
from db_backup.engines.mysql.dump import MysqlDump
from db_backup.engines.postgres.dump import PostgresDump
from db_backup.errors import ArtefactError
from db_backup.model import EngineName
from support.encrypted import put_key
from support.lab import EngineLab, ToolBehaviour
from support.project import Project

pytestmark = pytest.mark.integration

_DUMPS = {EngineName.MYSQL: MysqlDump, EngineName.POSTGRES: PostgresDump}


class Looking:
    """What lies in a storage while a dump says whether it is whole, and before that."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage
        self._encrypted: list[tuple[DataKey, dict[str, str]]] = []
        self.found = self.decrypted = 0

    @contextmanager
    def at_the_end_of(self, dump: type) -> Iterator[None]:
        encryptor = DataKey.encryptor

        def remembering(key: DataKey, write: Any, **names: str) -> Any:
            self._encrypted.append((key, names))
            return encryptor(key, write, **names)

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(DataKey, "encryptor", remembering))
            for method in ("stream_ended", "complete"):
                stack.enter_context(mock.patch.object(dump, method, self._looked_around(getattr(dump, method))))
            yield

    def _looked_around(self, method: Callable[..., object]) -> Callable[..., object]:
        def looking(*arguments: object) -> object:
            self._look()
            try:
                return method(*arguments)
            finally:
                self._look()

        return looking

    def _look(self) -> None:
        contents = [path.read_bytes() for path in self._storage.rglob(".tmp-*")]
        self.found += len(contents)
        self.decrypted += sum(_decrypts(key, names, content) for content in contents for key, names in self._encrypted)


def _decrypts(key: DataKey, names: dict[str, str], content: bytes) -> bool:
    try:
        for _ in key.decrypt([content], **names):
            pass
    except ArtefactError:
        return False
    return True


@pytest.mark.parametrize("engine", _DUMPS)
@pytest.mark.parametrize("behaviour", [ToolBehaviour.TRUNCATES, ToolBehaviour.FAILS, None])
def test_nothing_decrypts_as_complete_before_the_dump_is_known_to_be(
    tmp_path: Path, labs: dict[EngineName, EngineLab], engine: EngineName, behaviour: ToolBehaviour | None
) -> None:
    lab = labs[engine]
    project = Project(tmp_path / "project", {"shop": lab.connection(lab.create_sample())}, as_process=False)
    put_key(project.folder / "keys", generate_secret("default"))
    environment = {"BACKUP_ENCRYPT": "true", "BACKUP_KEYS_PATH": str(project.folder / "keys")}
    if behaviour is not None:
        fake = lab.fake_dump_tool(tmp_path / "fake", behaviour)
        environment["PATH"] = f"{fake}:{os.environ['PATH']}"

    looking = Looking(project.storage)
    with looking.at_the_end_of(_DUMPS[engine]):
        created = project.json("create", "shop", "--no-verify", exit_code=0 if behaviour is None else 1, **environment)

    assert (len(created["backups"]), len(created["failed"])) == ((1, 0) if behaviour is None else (0, 1))
    assert looking.found >= 2
    assert looking.decrypted == 0
