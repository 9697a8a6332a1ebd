"""What the storages hold, and what was noted of it day by day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import insert

from db_backup.catalog import Catalog, Held, HeldByDay, tables
from db_backup.catalog.sqlite import open_sqlite
from db_backup.manifest import Copy
from db_backup.model import BackupType, utc_now
from support.catalog_places import CatalogPlace, catalog_place
from support.factories import MORNING, make_manifest, make_state

pytestmark = pytest.mark.unit
__all__ = ["catalog_place"]

FULL, STRUCTURE = BackupType.FULL, BackupType.STRUCTURE


@pytest.fixture
def catalog(catalog_place: CatalogPlace) -> Iterator[Catalog]:
    with catalog_place.open() as opened:
        yield opened


def record(catalog: Catalog, entry: str, type: BackupType, serial: int, *storages: str, missing: str = "") -> str:
    """A backup of 4096 bytes with a copy in each of these storages, and none in ``missing``."""
    manifest = make_manifest(entry=entry, type=type, serial=serial)
    copies = [Copy(storage=name, storage_id="id", created_at=MORNING) for name in storages]
    if missing:
        copies.append(Copy(storage=missing, storage_id="", created_at=MORNING, missing="it was not reachable"))
    catalog.record(manifest, make_state(manifest, copies=tuple(copies)))
    return manifest.id


def noted(catalog: Catalog) -> list[tuple[str, str, int, int]]:
    return [(line.storage, line.entry, line.copies, line.size_bytes) for line in catalog.usage_by_day()]


def test_a_copy_counts_once_in_each_storage_that_has_it(catalog: Catalog) -> None:
    record(catalog, "shop", FULL, 1, "local", "s3")
    record(catalog, "shop", FULL, 2, "local", missing="s3")
    record(catalog, "shop", STRUCTURE, 1, "local")
    record(catalog, "blog", FULL, 1, "s3")

    assert catalog.held() == [
        Held(storage="local", entry="shop", type=FULL, copies=2, size_bytes=8192),
        Held(storage="local", entry="shop", type=STRUCTURE, copies=1, size_bytes=4096),
        Held(storage="s3", entry="blog", type=FULL, copies=1, size_bytes=4096),
        Held(storage="s3", entry="shop", type=FULL, copies=1, size_bytes=4096),
    ]


def test_a_day_is_noted_once_and_stays_when_backups_are_deleted(catalog: Catalog) -> None:
    first = record(catalog, "shop", FULL, 1, "local")
    record(catalog, "shop", STRUCTURE, 1, "local")

    assert catalog.note_usage()
    catalog.forget(first)
    assert not catalog.note_usage()

    assert noted(catalog) == [("local", "shop", 2, 8192)]
    assert catalog.usage_by_day()[0].day == utc_now().date()


def test_an_empty_day_is_noted_as_soon_as_there_is_something(catalog: Catalog) -> None:
    catalog.note_usage()
    record(catalog, "shop", FULL, 1, "local")

    assert catalog.note_usage()
    assert noted(catalog) == [("local", "shop", 1, 4096)]


def test_days_are_read_from_the_oldest_on_and_the_oldest_are_given_up(
    catalog: Catalog, catalog_place: CatalogPlace
) -> None:
    record(catalog, "shop", FULL, 1, "local")
    today = utc_now().replace(hour=3, minute=0, second=0, microsecond=0)
    lines = [
        HeldByDay(
            storage="local",
            entry="shop",
            day=(today - timedelta(days=days)).date(),
            noted_at=today - timedelta(days=days),
            copies=days,
            size_bytes=days,
        )
        for days in (32, 31, 1)
    ]
    with catalog_place.database().write() as connection:
        connection.execute(insert(tables.usage), [line.model_dump() for line in lines])

    assert catalog.note_usage()

    assert catalog.usage_by_day()[:-1] == lines[1:]
    assert catalog.usage_by_day()[-1].size_bytes == 4096


def test_a_catalogue_of_the_first_schema_is_brought_up_to_date_with_all_that_it_holds(tmp_path: Path) -> None:
    path, config = tmp_path / "catalog.sqlite", Config()
    config.set_main_option("script_location", str(Path(tables.__file__).parent / "migrations"))
    with open_sqlite(path).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO storages VALUES ('local', '3f2a', '/backups', '2026-01-31 03:00:00')")

    with Catalog.open(path) as catalog:
        assert catalog.storage_id("local") == "3f2a"
        record(catalog, "shop", FULL, 1, "local")
        assert catalog.note_usage()
