"""One database under several addresses, and a server told from another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from db_backup.engines import engine_for
from db_backup.engines.base import EngineOptions
from db_backup.jobs.restore.targets import Target, is_same_server, lock_name, server_address
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName
from support.factories import make_manifest

pytestmark = pytest.mark.unit


def connection(**fields: Any) -> ConnectionInfo:
    return ConnectionInfo(**{"conn_id": "a", "engine": EngineName.POSTGRES, "host": "db", "database": "shop", **fields})


def target(folder: Path, **fields: Any) -> Target:
    engine = engine_for(connection(**fields), EngineOptions(staging_path=folder, scratch_path=folder))
    return Target(engine, engine)


def server(engine: EngineName = EngineName.POSTGRES, **fields: Any) -> ServerInfo:
    return ServerInfo(engine=engine, flavour="PostgreSQL", version="15.20", **fields)


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ({"host": ""}, "localhost:5432"),
        ({"host": "127.0.0.1"}, "localhost:5432"),
        ({"host": "::1", "port": 5433}, "localhost:5433"),
        ({"host": "DB.Example.Com"}, "db.example.com:5432"),
        ({"engine": EngineName.MYSQL, "host": "localhost"}, "localhost:3306"),
        ({"engine": EngineName.SQLITE, "host": "", "database": "/srv/app.sqlite"}, ""),
    ],
)
def test_a_server_has_one_address_however_it_is_written(fields: dict[str, Any], address: str) -> None:
    assert server_address(connection(**fields)) == address


def test_restores_exclude_each_other_by_the_server_and_not_by_its_address(tmp_path: Path) -> None:
    one, other = target(tmp_path), target(tmp_path, host="db.example.com", conn_id="b")
    known, unknown = server(identity="7310"), server()
    assert lock_name(one, known) == lock_name(other, known)
    assert lock_name(one, unknown) != lock_name(other, unknown)
    assert lock_name(one, known) != lock_name(target(tmp_path, database="crm"), known)
    assert len(lock_name(one, known)) <= 48  # characters that the catalogue keeps of a lock's name


def test_a_file_is_one_target_by_whatever_path(tmp_path: Path) -> None:
    file, link = tmp_path / "app.sqlite", tmp_path / "link.sqlite"
    link.symlink_to(file)
    sqlite = server(EngineName.SQLITE)
    names = [
        lock_name(target(tmp_path, engine=EngineName.SQLITE, host="", database=str(path)), sqlite)
        for path in (file, link)
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("taken_of", "restored_to", "same"),
    [
        ({"identity": "7310", "address": "old:5432/shop"}, {"identity": "7310"}, True),
        ({"identity": "7310", "address": "db:5432/shop"}, {"identity": "9999"}, False),
        ({"address": "db:5432/shop"}, {}, True),
        ({"address": "db/shop"}, {}, True),
        ({"address": "other:5432/shop"}, {}, False),
        ({"address": "db:5433/shop"}, {}, False),
    ],
)
def test_a_server_is_told_by_its_identity_and_else_by_its_address(
    tmp_path: Path, taken_of: dict[str, str], restored_to: dict[str, str], same: bool
) -> None:
    manifest = make_manifest(server=server(**taken_of))
    assert is_same_server(manifest, target(tmp_path), server(**restored_to)) is same
