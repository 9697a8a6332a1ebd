"""Plain bytes of the kinds that databases print, of any size, the same every time."""

from __future__ import annotations

import base64
import itertools
import json
import random
import sqlite3
from collections.abc import Iterator
from functools import cache

_LETTERS = "eeeeetttaaooiinnsshhrrdlcumwfgypbvk"


@cache
def _words() -> list[str]:
    chance = random.Random(3)
    return ["".join(chance.choices(_LETTERS, k=chance.randint(2, 10))) for _ in range(5000)]


def _cut(lines: Iterator[str], size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        content += next(lines).encode()
    return bytes(content[:size])


@cache
def prose(size: int) -> bytes:
    chance = random.Random(4)
    return _cut((_words()[min(int(chance.expovariate(1 / 400)), 4999)] + " " for _ in itertools.count()), size)


@cache
def sql_dump(size: int) -> bytes:
    """One INSERT a line, with names, prices, dates and references."""
    chance = random.Random(5)
    return _cut(
        (
            f"INSERT INTO `orders` VALUES ({number},'{chance.choice(_words())} {chance.choice(_words())}',"
            f"{chance.randint(1, 99999) / 100:.2f},'2025-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}',"
            f"{chance.randint(1, 5000)});\n"
            for number in itertools.count(1)
        ),
        size,
    )


@cache
def json_lines(size: int) -> bytes:
    chance = random.Random(6)
    return _cut(
        (
            json.dumps({"id": number, "tags": chance.sample(_words(), 3), "price": chance.random() * 1000}) + "\n"
            for number in itertools.count(1)
        ),
        size,
    )


@cache
def numbers(size: int) -> bytes:
    chance = random.Random(7)
    return _cut((f"{chance.gauss(0, 1000):.4f}\t{chance.randint(0, 10**9)}\n" for _ in itertools.count()), size)


@cache
def counters(size: int) -> bytes:
    """64-bit integers in order, as an index or a binary column holds them."""
    return b"".join(number.to_bytes(8, "little") for number in range(-(-size // 8)))[:size]


@cache
def rows_of_padding(size: int) -> bytes:
    """What tables filled by ``repeat('x', 1000)`` print."""
    return _cut((f"{number}\t{'x' * 1000}\n" for number in itertools.count(1)), size)


@cache
def rows_of_flags(size: int) -> bytes:
    return _cut((f"{number}\tactive\t2025-01-01 00:00:00\tfalse\t\\N\n" for number in itertools.count(1)), size)


@cache
def accounts(size: int) -> bytes:
    """pgbench_accounts as COPY prints it."""
    return _cut((f"{number}\t{number % 10}\t0\t{'':84}\n" for number in itertools.count(1)), size)


@cache
def moments(size: int) -> bytes:
    """Timestamps with microseconds, and prices, as COPY prints them."""
    chance = random.Random(8)
    return _cut(
        (
            f"{number}\t2025-09-{chance.randint(1, 28):02} {chance.randint(0, 23):02}:{chance.randint(0, 59):02}:"
            f"{chance.randint(0, 59):02}.{chance.randint(0, 999_999):06}+00\t{chance.randint(1, 99_999) / 100}\n"
            for number in itertools.count(1)
        ),
        size,
    )


@cache
def uuids(size: int) -> bytes:
    chance = random.Random(9)
    return _cut((f"{number}\t{chance.getrandbits(128):032x}\tt\n" for number in itertools.count(1)), size)


@cache
def base64_lines(size: int) -> bytes:
    return base64.encodebytes(random.Random(10).randbytes(size))[:size]


@cache
def sqlite_pages(size: int) -> bytes:
    """The image of a database: a table of JSON, a table of numbers and an index."""
    chance = random.Random(11)
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, payload TEXT)")
    database.execute("CREATE TABLE readings (sensor INTEGER, reading REAL)")
    database.execute("CREATE INDEX by_sensor ON readings (sensor, reading)")
    lines = json_lines(size).decode().splitlines()
    database.executemany("INSERT INTO events (payload) VALUES (?)", zip(lines[: len(lines) * 2 // 3], strict=True))
    rows = ((chance.randint(1, 400), chance.gauss(20, 5)) for _ in range(size // 128))
    database.executemany("INSERT INTO readings VALUES (?, ?)", rows)
    database.commit()
    return database.serialize()[:size]
