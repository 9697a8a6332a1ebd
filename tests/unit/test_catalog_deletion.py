"""A lease and a deletion on one backup: whichever is first keeps the other out, in either kind of catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from db_backup.catalog import Catalog, tables
from db_backup.errors import Refused
from db_backup.manifest import Tombstone
from support.catalog_places import CatalogPlace, catalog_place
from support.factories import MORNING, make_manifest, make_state

pytestmark = pytest.mark.unit
__all__ = ["catalog_place"]

BACKUP = "backup_shop_full_2026-01-31_03-00-00"
OTHER = "backup_shop_full_2026-01-30_03-00-00"


@pytest.fixture
def catalog(catalog_place: CatalogPlace) -> Iterator[Catalog]:
    with catalog_place.open(host="tower") as opened:
        yield opened


def test_a_deletion_is_refused_while_a_lease_stands_and_names_it(catalog: Catalog) -> None:
    with (
        catalog.lease(BACKUP, "restore"),
        pytest.raises(Refused, match=r"in use: restore, process \d+ on tower"),
        catalog.deletion(BACKUP),
    ):
        pass
    with catalog.deletion(BACKUP):
        assert [lease.purpose for lease in catalog.leases(BACKUP)] == ["deletion"]
    assert catalog.leases() == []


def test_a_lease_and_a_second_deletion_are_refused_while_a_deletion_runs(catalog: Catalog) -> None:
    with catalog.deletion(BACKUP):
        with pytest.raises(Refused, match="is being deleted: deletion, process"), catalog.lease(BACKUP, "restore"):
            pass
        with pytest.raises(Refused, match="in use: deletion"), catalog.deletion(BACKUP):
            pass
        with catalog.lease(OTHER, "restore"), pytest.raises(Refused), catalog.deletion(OTHER):
            pass
    with catalog.lease(BACKUP, "restore"):
        pass


def test_a_lease_is_refused_on_what_is_marked_as_being_deleted(catalog: Catalog) -> None:
    manifest = make_manifest()
    marked = Tombstone(marked_at=MORNING, reason="its days ended", actor="ada")
    catalog.record(manifest, make_state(manifest, tombstone=marked))
    with pytest.raises(Refused, match="cleanup"), catalog.lease(manifest.id, "restore"):
        pass
    with catalog.deletion(manifest.id):  # to finish it
        pass


def test_the_claims_of_the_dead_keep_nobody_out(catalog: Catalog, catalog_place: CatalogPlace) -> None:
    for first, second in ((catalog.lease, catalog.deletion), (catalog.deletion, catalog.lease)):
        with first(BACKUP, *(["restore"] if first == catalog.lease else [])):
            database = catalog_place.database()
            with database.write() as connection:
                connection.execute(update(tables.leases).values(boot_id="an earlier one"))
            with second(BACKUP, *(["restore"] if second == catalog.lease else [])):
                pass


def test_locks_of_the_living_are_listed(catalog: Catalog, catalog_place: CatalogPlace) -> None:
    with catalog.entry_lock("shop", "full backup"):
        assert [(lock.entry, lock.purpose) for lock in catalog.locks()] == [("shop", "full backup")]
        with catalog_place.database().write() as connection:
            connection.execute(update(tables.locks).values(boot_id="an earlier one"))
        assert catalog.locks() == []
