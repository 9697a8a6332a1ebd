"""The demo's car marketplace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scripts.demo import database

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    path = tmp_path_factory.mktemp("demo") / "car_marketplace.sqlite"
    return path, database.create(path)


@pytest.fixture
def marketplace(written: tuple[Path, int]) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(written[0])) as connection:
        connection.execute("pragma foreign_keys = on")
        yield connection
        connection.rollback()


def one(connection: sqlite3.Connection, query: str) -> object:
    return connection.execute(query).fetchone()[0]


def test_it_has_about_fifty_thousand_rows(written: tuple[Path, int], marketplace: sqlite3.Connection) -> None:
    tables = [name for (name,) in marketplace.execute("select name from sqlite_schema where type = 'table'")]
    rows = sum(int(str(one(marketplace, f"select count(*) from {table}"))) for table in tables)
    assert rows == written[1]
    assert 45_000 < rows < 60_000


def test_it_is_sound(marketplace: sqlite3.Connection) -> None:
    assert one(marketplace, "pragma integrity_check") == "ok"
    assert marketplace.execute("pragma foreign_key_check").fetchall() == []


def test_every_table_holds_something(marketplace: sqlite3.Connection) -> None:
    tables = [name for (name,) in marketplace.execute("select name from sqlite_schema where type = 'table'")]
    assert len(tables) == 14
    assert [table for table in tables if not one(marketplace, f"select count(*) from {table}")] == []


def test_two_machines_get_the_same_rows(written: tuple[Path, int], tmp_path: Path) -> None:
    again = tmp_path / "again.sqlite"
    database.create(again)
    with closing(sqlite3.connect(written[0])) as first, closing(sqlite3.connect(again)) as second:
        assert list(first.iterdump()) == list(second.iterdump())


@pytest.mark.parametrize(
    ("story", "contradictions"),
    [
        ("a sold listing has its sale, and no other has", """
            select count(*) from listings left join sales on sales.listing_id = listings.id
            where (listings.status = 'sold') <> (sales.id is not null)"""),
        ("a car is sold after it was listed", """
            select count(*) from sales join listings on listings.id = listing_id where sold_at <= listed_at"""),
        ("a car is listed after its first registration", """
            select count(*) from listings join cars on cars.id = car_id where listed_at < first_registered_on"""),
        ("a review follows its sale", """
            select count(*) from reviews join sales on sales.id = sale_id where written_at <= sold_at"""),
        ("a service was done before today, at no more miles than the car has", """
            select count(*) from service_records join cars on cars.id = car_id
            where done_on > '2025-09-28' or service_records.mileage > cars.mileage"""),
        ("only electric cars have a battery to measure", """
            select count(*) from cars where (fuel = 'electric') <> (battery_health is not null)"""),
        ("the last price change leads to the present price", """
            select count(*) from listings join (
                select listing_id, new_price_pence, max(changed_at) from price_changes group by listing_id
            ) on listing_id = listings.id where price_pence <> new_price_pence"""),
    ],
)  # fmt: skip
def test_its_rows_tell_one_story(marketplace: sqlite3.Connection, story: str, contradictions: str) -> None:
    assert one(marketplace, contradictions) == 0, story


def test_its_views_show_cars_and_dealers(marketplace: sqlite3.Connection) -> None:
    assert int(str(one(marketplace, "select count(*) from cars_for_sale"))) > 100
    assert one(marketplace, "select count(*) from dealer_performance where stars not between 1 and 5") == 0


def test_its_trigger_remembers_a_new_price(marketplace: sqlite3.Connection) -> None:
    listing, price = marketplace.execute("select id, price_pence from listings where status = 'active'").fetchone()
    marketplace.execute("update listings set price_pence = price_pence - 5000 where id = ?", (listing,))
    newest = "select old_price_pence, new_price_pence from price_changes order by id desc limit 1"
    assert marketplace.execute(newest).fetchone() == (price, price - 5000)


def test_an_interrupted_start_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(database.Marketplace, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        database.create(tmp_path / "car_marketplace.sqlite")
    assert list(tmp_path.iterdir()) == []
