"""Generated rows of three kinds, a third of the bytes each: prose, numbers, JSON. The same on every machine."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

_LETTERS = "eeeeetttaaooiinnsshhrrdlcumwfgypbvk"
_ACTIONS = ("viewed", "added to basket", "bought", "returned", "rated")

#: Table → its columns, in words that PostgreSQL, MariaDB and SQLite all understand.
TABLES = {
    "articles": "id BIGINT PRIMARY KEY, title VARCHAR(200), body TEXT, published TIMESTAMP",
    "measurements": "id BIGINT PRIMARY KEY, sensor INT, taken TIMESTAMP, reading DOUBLE PRECISION, amount DECIMAL(9,4)",
    "events": "id BIGINT PRIMARY KEY, payload JSON",
}


def write_rows(folder: Path, megabytes: int) -> dict[str, Path]:
    """Table → a file of its rows: tab-separated, without anything that would need escaping."""
    makers = {"articles": _articles, "measurements": _measurements, "events": _events}
    files = {table: folder / f"{table}.tsv" for table in TABLES}
    for table, path in files.items():
        left = megabytes * 1_000_000 // len(TABLES)
        with path.open("w", encoding="ascii") as file:
            for line in makers[table]():
                left -= file.write(line)
                if left <= 0:
                    break
    return files


class _Prose:
    """Words as often as in a language: few of them very often."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._words = ["".join(chance.choices(_LETTERS, k=chance.randint(2, 10))) for _ in range(20_000)]
        self._weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self._words))))

    def words(self, count: int) -> str:
        return " ".join(self._chance.choices(self._words, cum_weights=self._weights, k=count))


def _moment(chance: random.Random) -> str:
    day = f"2025-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    return f"{day} {chance.randint(3, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}"


def _articles() -> Iterator[str]:
    chance = random.Random(1)
    prose = _Prose(chance)
    for number in itertools.count(1):
        yield f"{number}\t{prose.words(6)}\t{prose.words(chance.randint(20, 150))}\t{_moment(chance)}\n"


def _measurements() -> Iterator[str]:
    chance = random.Random(2)
    for number in itertools.count(1):
        reading, amount = chance.gauss(20, 5), chance.expovariate(1 / 250)
        yield f"{number}\t{chance.randint(1, 400)}\t{_moment(chance)}\t{reading:.6f}\t{amount:.4f}\n"


def _events() -> Iterator[str]:
    chance = random.Random(3)
    prose = _Prose(chance)
    for number in itertools.count(1):
        payload = {
            "customer": chance.randint(1, 90_000),
            "action": chance.choice(_ACTIONS),
            "session": f"{chance.getrandbits(64):016x}",
            "price": round(chance.random() * 900, 2),
            "tags": prose.words(3).split(),
            "note": prose.words(8),
        }
        yield f"{number}\t{json.dumps(payload)}\n"
