"""What the streams of one dump hold together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.manifest import DatabaseObject, TableInventory

_Item = TypeVar("_Item", bound=Hashable)


@dataclass(frozen=True)
class Contents:
    """The fields are those of ``DumpParser``."""

    tables: tuple[TableInventory, ...]
    created_tables: frozenset[str]
    tables_with_rows: frozenset[str]
    objects: tuple[tuple[str, str], ...]
    counters: tuple[DatabaseObject, ...]
    sequences: frozenset[str]


def contents_of(parsers: Sequence[DumpParser]) -> Contents:
    """Of streams that were read to their ends.

    :raises MalformedDump: two of them bring the same.
    """
    return Contents(
        tables=_tables(parsers),
        created_tables=frozenset(_once("creates the table", (parser.created_tables for parser in parsers))),
        tables_with_rows=frozenset(_once("brings the rows of", (parser.tables_with_rows for parser in parsers))),
        objects=tuple(_once("creates", (parser.objects for parser in parsers))),
        counters=tuple(_once("sets", (parser.counters for parser in parsers))),
        sequences=frozenset(_once("sets the sequence", (parser.sequences for parser in parsers))),
    )


def _once(does: str, found: Iterable[Iterable[_Item]]) -> list[_Item]:
    items = [item for of_one in found for item in of_one]
    if len(items) != len(set(items)):
        ((item, _),) = Counter(items).most_common(1)
        raise MalformedDump(f"more than one of its streams {does} {item!r}")
    return items


def _tables(parsers: Sequence[DumpParser]) -> tuple[TableInventory, ...]:
    """By name. The stream that defines a table counts no row of it."""
    found: dict[str, TableInventory] = {}
    for parser in parsers:
        for table in parser.tables:
            if found.setdefault(table.name, table).rows == 0:
                found[table.name] = table
    return tuple(sorted(found.values(), key=lambda table: table.name))
