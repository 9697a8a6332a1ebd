"""A compacted image: the exact one without the pages that nothing uses, and otherwise the same.

SQLite 3.40 was seen to give the rows of a table with a CHECK new numbers when it compacts, where no column is the
number, and to refuse a table that has both a CHECK and a generated column. Full-text indexes and applications lean on
these numbers: an image that would not be the same stays exact, and says so.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from db_backup.engines.sqlite.contents import find_damage, interruptible, quoted, read_schema
from db_backup.engines.sqlite.source import open_unchanging, primary_code
from db_backup.progress import Cancellation


@dataclass(frozen=True)
class Compacting:
    """What came of it: ``kept_exact`` says why the image is not compacted; empty when it is."""

    kept_exact: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        return (f"The image is exact and not compacted: {self.kept_exact}.",) if self.kept_exact else ()


def compact_image(file: Path, cancellation: Cancellation) -> Compacting:
    """Put a compacted copy in the place of the image, where it holds the same.

    :raises sqlite3.Error: the image is damaged, or the disk is full.
    :raises Interrupted:
    """
    smaller = file.with_name("compacted.sqlite")
    with closing(open_unchanging(file)) as image:
        try:
            with interruptible(image, cancellation):
                if problems := find_damage(image, read_schema(image), thorough=True).problems:
                    return Compacting(f"SQLite finds damage, which this would hide ({problems[0]})")
                image.execute("PRAGMA synchronous = OFF")  # which the copy is written with
                image.execute("VACUUM INTO ?", (str(smaller),))
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_ERROR:
                raise
            smaller.unlink(missing_ok=True)
            return Compacting(f"SQLite could not do it ({error})")
        with closing(sqlite3.connect(smaller, isolation_level=None)) as copy:
            if table := _renumbered_table(image, copy, cancellation):
                smaller.unlink()
                return Compacting(f"it would give the rows of '{table}' other numbers")
            if _in_wal_mode(file):  # VACUUM forgets it
                copy.execute("PRAGMA journal_mode = WAL")
    smaller.replace(file)
    return Compacting()


def _renumbered_table(image: sqlite3.Connection, copy: sqlite3.Connection, cancellation: Cancellation) -> str | None:
    """The first table whose rows have not kept their numbers."""
    tables = image.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') AND NOT wr"
    )
    for (name,) in tables:
        number = _number_of(image, name)
        if number is None:
            continue
        query = f"SELECT {number} FROM {quoted(name)} ORDER BY 1"  # noqa: S608 - quoted
        cancellation.check()
        if any(one != other for one, other in zip_longest(image.execute(query), copy.execute(query))):
            return str(name)
    return None


def _number_of(image: sqlite3.Connection, table: str) -> str | None:
    """A name of the row's number that no column has taken; None where all are taken, so that nobody can ask for it."""
    columns = {name.lower() for (name,) in image.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in columns), None)


def _in_wal_mode(file: Path) -> bool:
    """What the file's header says (sqlite.org, "Database File Format", 1.3.3)."""
    with file.open("rb") as header:
        header.seek(18)
        return header.read(1) == b"\x02"
