"""Writes the demo's database: a British car marketplace of some 50,000 rows, the same on every machine.

python -m scripts.demo.database [FILE]
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from scripts.demo import marketplace as market

DATABASE = Path(__file__).resolve().parents[2] / "include" / "demo" / "car_marketplace.sqlite"
SEED = 20250928
AS_OF = datetime(2025, 9, 28, 18, 0)  # noqa: DTZ001 - every moment of the marketplace is UTC, printed with a Z
OPENED = datetime(2023, 9, 1, 8, 0)  # noqa: DTZ001
DEALERS = 140
CUSTOMERS = 4_200
CARS = 5_600
SERIES = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"
PLATE_LETTERS = "ABCDEFGHJKLMNOPRSTUVWXYZ"

T = TypeVar("T")
Row = tuple[object, ...]


def create(path: Path = DATABASE) -> int:
    """Write the database and return its number of rows. It appears under its name only when it is whole.

    :raises OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.unlink(missing_ok=True)
    try:
        connection = sqlite3.connect(unfinished)
        try:
            rows = _fill(connection)
        finally:
            connection.close()
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def _fill(connection: sqlite3.Connection) -> int:
    here = Path(__file__).parent
    # The file is new: a crash leaves only a temporary name behind, so nothing needs a journal.
    connection.execute("pragma journal_mode = off")
    connection.execute("pragma synchronous = off")
    connection.executescript((here / "schema.sql").read_text())
    Marketplace(connection, random.Random(SEED)).write()
    connection.commit()
    rows = connection.total_changes
    connection.executescript((here / "schema_after_loading.sql").read_text())
    connection.execute("pragma optimize")
    connection.commit()
    return rows


class Marketplace:
    """The rows, table after table; each step keeps what the later ones refer to."""

    def __init__(self, connection: sqlite3.Connection, chance: random.Random) -> None:
        self._connection = connection
        self._chance = chance
        self._make_ids: dict[str, int] = {}
        self._dealers: list[tuple[int, str, int, int | None]] = []  # id, name, city, franchise
        self._customers: list[tuple[int, int, datetime]] = []  # id, city, registered
        self._cars: list[tuple[int, market.CarModel, date, int, int]] = []  # id, model, registered, mileage, pence
        self._listings: list[tuple[int, int, int, datetime, datetime | None, str, int]] = []

    def write(self) -> None:
        self._insert("cities", self._cities())
        self._make_ids = {name: number for number, name in enumerate(sorted({m.make for m in market.MODELS}), 1)}
        self._insert("makes", ((number, name) for name, number in self._make_ids.items()))
        self._insert("models", self._models())
        self._insert("dealers", self._dealer_rows())
        self._insert("customers", self._customer_rows())
        self._insert("cars", self._car_rows())
        self._insert("service_records", self._service_rows())
        price_changes: list[Row] = []
        self._insert("listings", self._listing_rows(price_changes))
        self._insert("price_changes", price_changes)
        self._insert("favourites", self._favourite_rows())
        test_drives: list[Row] = []
        self._insert("enquiries", self._enquiry_rows(test_drives))
        self._insert("test_drives", test_drives)
        reviews: list[Row] = []
        self._insert("sales", self._sale_rows(reviews))
        self._insert("reviews", reviews)

    def _insert(self, table: str, rows: Iterator[Row] | Sequence[Row]) -> None:
        rows = list(rows)
        places = ", ".join("?" * len(rows[0]))
        self._connection.executemany(f"insert into {table} values ({places})", rows)  # noqa: S608 - our own names

    def _cities(self) -> Iterator[Row]:
        for number, (name, area, _, latitude, longitude, _) in enumerate(market.CITIES, 1):
            yield number, name, area, latitude, longitude

    def _models(self) -> Iterator[Row]:
        for number, model in enumerate(market.MODELS, 1):
            make_id = self._make_ids[model.make]
            yield number, make_id, model.name, model.body, model.list_price * 100, model.launch, model.end

    def _dealer_rows(self) -> Iterator[Row]:
        names: set[str] = set()
        while len(names) < DEALERS:
            city = self._city()
            kind = self._chance.choice(market.DEALER_KINDS).format(city=market.CITIES[city - 1][0])
            name = f"{self._chance.choice(market.DEALER_SURNAMES)} {kind}"
            if name in names:
                continue
            names.add(name)
            franchise = self._chance.choice(list(self._make_ids.values())) if self._chance.random() < 0.35 else None
            number = len(names)
            self._dealers.append((number, name, city, franchise))
            address = f"Unit {self._chance.randint(1, 40)}, {self._chance.choice(market.TRADING_ESTATES)}"
            joined = (OPENED - timedelta(days=self._chance.randint(0, 900))).date()
            yield number, name, city, address, self._postcode(city), self._phone("01"), franchise, joined.isoformat()

    def _customer_rows(self) -> Iterator[Row]:
        for number in range(1, CUSTOMERS + 1):
            first, last = self._chance.choice(market.FIRST_NAMES), self._chance.choice(market.LAST_NAMES)
            city, registered = self._city(), self._moment(OPENED, AS_OF - timedelta(days=20))
            self._customers.append((number, city, registered))
            mailbox = f"{first}.{last}".lower().replace("'", "")
            email = f"{mailbox}{number}@example.{self._chance.choice(('com', 'org', 'net'))}"
            phone = self._phone("07") if self._chance.random() < 0.8 else None
            address = f"{self._chance.randint(1, 180)} {self._chance.choice(market.STREETS)}"
            newsletter = int(self._chance.random() < 0.4)
            yield number, first, last, email, phone, address, city, _text(registered), newsletter

    def _car_rows(self) -> Iterator[Row]:
        weights = [model.popularity for model in market.MODELS]
        plates: set[str] = set()
        for number in range(1, CARS + 1):
            model_id = self._chance.choices(range(1, len(market.MODELS) + 1), weights)[0]
            model = market.MODELS[model_id - 1]
            registered = self._first_registered(model)
            years = (AS_OF.date() - registered).days / 365.25
            mileage = int(years * self._chance.gauss(7_800, 2_300) + self._chance.randint(40, 900))
            mileage = max(mileage, self._chance.randint(5, 300))
            fuel = self._chance.choice(model.fuels)
            self._cars.append((number, model, registered, mileage, self._worth(model, years, mileage)))
            gearbox = "automatic" if fuel not in {"petrol", "diesel"} or self._chance.random() < 0.35 else "manual"
            colours, colour_weights = zip(*market.COLOURS, strict=True)
            battery = (
                round(max(0.62, 1 - years * self._chance.uniform(0.008, 0.024)), 3) if fuel == "electric" else None
            )
            equipment = sorted(self._chance.sample(market.EQUIPMENT, self._chance.randint(3, 11)))
            book = self._chance.randbytes(32) if self._chance.random() < 0.72 else None
            yield (
                number, self._vin(registered), self._plate(registered, plates), model_id, registered.isoformat(), fuel,
                gearbox, self._chance.choices(colours, colour_weights)[0], mileage,
                min(int(self._chance.expovariate(1 / (0.4 + years / 4))), 8), json.dumps(equipment), battery, book,
            )  # fmt: skip

    def _service_rows(self) -> Iterator[Row]:
        number = 0
        for car, _, registered, mileage, _ in self._cars:
            days = (AS_OF.date() - registered).days
            shares = sorted(self._chance.random() for _ in range(min(days // 900, 3)))
            for share in shares:
                number += 1
                work, pounds = self._chance.choice(market.SERVICE_WORK)
                done = registered + timedelta(days=int(days * share))
                pence = int(pounds * 100 * self._chance.uniform(0.8, 1.4))
                yield number, car, done.isoformat(), int(mileage * share), work, pence

    def _listing_rows(self, price_changes: list[Row]) -> Iterator[Row]:
        number = 0
        for car, model, registered, _, worth in self._cars:
            start = max(OPENED, datetime.combine(registered, datetime.min.time()) + timedelta(days=30))
            listed = self._at_the_dealers(
                self._moment(min(start, AS_OF - timedelta(days=6)), AS_OF - timedelta(days=2))
            )
            for attempt in range(1 if self._chance.random() < 0.9 else 2):
                number += 1
                dealer = self._dealer_for(model)
                days_open = int(self._chance.expovariate(1 / 48)) + 3
                closed: datetime | None = self._at_the_dealers(listed + timedelta(days=days_open))
                status = "withdrawn" if attempt == 0 and self._chance.random() < 0.12 else "sold"
                if closed is None or closed > AS_OF:
                    closed, status = None, "reserved" if self._chance.random() < 0.06 else "active"
                first = price = _priced(worth * self._chance.uniform(1.02, 1.12))
                moment = listed
                while (moment := moment + timedelta(days=self._chance.randint(9, 34), minutes=17)) < (closed or AS_OF):
                    cut = _priced(price * self._chance.uniform(0.955, 0.99))
                    if cut < price:
                        price_changes.append((len(price_changes) + 1, number, _text(moment), price, cut))
                        price = cut
                views = int(((closed or AS_OF) - listed).days * self._chance.uniform(4, 38))
                self._listings.append((number, car, dealer, listed, closed, status, price))
                yield number, car, dealer, _text(listed), closed and _text(closed), status, first, price, views
                if closed is None or status == "sold":
                    break
                listed = closed + timedelta(days=self._chance.randint(2, 20))
                if listed > AS_OF - timedelta(days=2):
                    break

    def _favourite_rows(self) -> Iterator[Row]:
        seen: set[tuple[int, int]] = set()
        for listing, _, _, listed, closed, _, _ in self._listings:
            for _ in range(self._chance.choice((0, 0, 1, 1, 1, 2, 3))):
                customer, _, registered = self._chance.choice(self._customers)
                if (customer, listing) not in seen and registered < (closed or AS_OF):
                    seen.add((customer, listing))
                    yield customer, listing, _text(self._moment(max(listed, registered), closed or AS_OF))

    def _enquiry_rows(self, test_drives: list[Row]) -> Iterator[Row]:
        number = 0
        for listing, car, _, listed, closed, _, price in self._listings:
            for _ in range(self._chance.choice((0, 1, 1, 2, 2, 3, 3))):
                customer, city, registered = self._chance.choice(self._customers)
                if registered >= (closed or AS_OF):
                    continue
                number += 1
                asked = self._moment(max(listed, registered), closed or AS_OF)
                answered = asked + timedelta(minutes=self._chance.randint(6, 2_400))
                shown = _text(answered) if answered < AS_OF and self._chance.random() < 0.93 else None
                yield number, listing, customer, _text(asked), self._question(car, city, price), shown
                if shown and self._chance.random() < 0.33:
                    starts = self._at_the_dealers(answered + timedelta(days=self._chance.randint(1, 6)))
                    outcome = "planned" if starts > AS_OF else self._chance.choices(("done", "missed"), (88, 12))[0]
                    test_drives.append((len(test_drives) + 1, number, _text(starts), outcome))

    def _sale_rows(self, reviews: list[Row]) -> Iterator[Row]:
        dealers = {number: name for number, name, _, _ in self._dealers}
        number = 0
        for listing, car, dealer, _, closed, status, price in self._listings:
            if status != "sold" or closed is None:
                continue
            number += 1
            customer = self._buyer(closed)
            agreed = price - self._chance.choice((0, 0, 0, 100_00, 150_00, 250_00)) if price > 3_000_00 else price
            part_exchange = self._chance.randrange(400_00, max(agreed // 2, 500_00), 50_00)
            part_exchange = part_exchange if self._chance.random() < 0.38 else 0
            financed = int(self._chance.random() < 0.55)
            yield number, listing, customer, _text(closed), agreed, part_exchange, financed
            written = closed + timedelta(days=self._chance.randint(1, 25), minutes=self._chance.randint(0, 600))
            if self._chance.random() < 0.5 and written < AS_OF:
                stars = self._chance.choices((1, 2, 3, 4, 5), (4, 4, 10, 32, 50))[0]
                choices = market.COMPLAINTS if stars < 3 else market.MIXED if stars == 3 else market.PRAISE
                model = self._cars[car - 1][1].name
                review = self._chance.choice(choices).format(model=model, dealer=dealers[dealer])
                reviews.append((number, stars, review, _text(written)))

    def _question(self, car: int, city: int, price: int) -> str:
        _, model, registered, _, _ = self._cars[car - 1]
        return self._chance.choice(market.QUESTIONS).format(
            make=model.make,
            model=model.name,
            day=self._chance.choice(("Friday", "Saturday morning", "Monday after five", "the weekend")),
            offer=f"£{_priced(price * self._chance.uniform(0.86, 0.97)) // 100:,}",
            year=max(registered.year - self._chance.randint(2, 8), 2004),
            old_model=self._chance.choice(market.MODELS).name,
            city=market.CITIES[city - 1][0],
            side=self._chance.choice(("driver's", "passenger", "near-side rear", "off-side rear")),
            equipment=self._chance.choice(market.EQUIPMENT),
        )

    def _dealer_for(self, model: market.CarModel) -> int:
        make = self._make_ids[model.make]
        franchised = [number for number, _, _, franchise in self._dealers if franchise == make]
        if franchised and self._chance.random() < 0.4:
            return self._chance.choice(franchised)
        return self._chance.choice(self._dealers)[0]

    def _buyer(self, sold: datetime) -> int:
        while True:
            customer, _, registered = self._chance.choice(self._customers)
            if registered < sold or sold < OPENED + timedelta(days=30):
                return customer

    def _first_registered(self, model: market.CarModel) -> date:
        newest = min(model.end, 2025)
        oldest = max(model.launch, 2008)
        # Most cars on offer are three to seven years old.
        year = round(self._chance.triangular(oldest, newest, min(max(2020, oldest), newest)))
        day = date(year, 1, 1) + timedelta(days=self._chance.randint(0, 364))
        return min(day, AS_OF.date() - timedelta(days=40))

    def _worth(self, model: market.CarModel, years: float, mileage: int) -> int:
        """Pence: an eighth off in the first weeks, then about a sixth a year, corrected for the mileage."""
        usual_mileage = years * 7_800
        correction = 1 - (mileage - usual_mileage) / 400_000
        worth = model.list_price * 100 * 0.88 * 0.845**years * correction * self._chance.gauss(1, 0.06)
        return int(max(worth, 650_00))

    def _vin(self, registered: date) -> str:
        return "".join(self._chance.choices(SERIES, k=9)) + SERIES[registered.year % 30] + f"{self._serial():07d}"

    def _serial(self) -> int:
        return self._chance.randint(1, 9_999_999)

    def _plate(self, registered: date, taken: set[str]) -> str:
        # Two letters for the place, two digits for the half-year (March: the year, September: the year + 50), three.
        half_year = (
            registered.year % 100
            if 3 <= registered.month < 9
            else (registered.year - (registered.month < 3)) % 100 + 50
        )
        while True:
            area = market.CITIES[self._city() - 1][2] + self._chance.choice(PLATE_LETTERS)
            plate = f"{area}{half_year:02d} {''.join(self._chance.choices(PLATE_LETTERS, k=3))}"
            if plate not in taken:
                taken.add(plate)
                return plate

    def _city(self) -> int:
        weights = [city[-1] for city in market.CITIES]
        return self._chance.choices(range(1, len(market.CITIES) + 1), weights)[0]

    def _postcode(self, city: int) -> str:
        area = market.CITIES[city - 1][1]
        letters = "".join(self._chance.choices("ABDEFGHJLNPQRSTUWXYZ", k=2))
        return f"{area}{self._chance.randint(1, 28)} {self._chance.randint(1, 9)}{letters}"

    def _phone(self, prefix: str) -> str:
        # Ofcom, "Telephone numbers for use in TV and radio drama programmes": these reach nobody.
        start = "07700 900" if prefix == "07" else "01632 960"
        return f"{start}{self._chance.randint(0, 999):03d}"

    def _moment(self, start: datetime, end: datetime) -> datetime:
        return start + timedelta(seconds=self._chance.randint(0, max(int((end - start).total_seconds()) - 1, 0)))

    def _at_the_dealers(self, day: datetime) -> datetime:
        """The same day within opening hours; a Sunday becomes Monday."""
        day += timedelta(days=day.weekday() == 6)
        return day.replace(hour=self._chance.randint(9, 17), minute=self._chance.choice((0, 15, 30, 45)), second=0)


def _priced(pence: float) -> int:
    """As dealers price: to the next £x95 below, or £x45."""
    return max(int(pence) // 50_00 * 50_00 - 5_00, 495_00)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"


def main(arguments: list[str]) -> int:
    path = Path(arguments[0]) if arguments else DATABASE
    print(f"{path}: {create(path):,} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
