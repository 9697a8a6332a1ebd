"""Where AUTO_INCREMENT columns and sequences stand: a section of ours at the end of a data backup.

The tools print these with definitions only. They are read after the rows, so that no row is ahead of its counter, and
written as statements that set them back as well as forth.
"""

# ruff: noqa: S608 - names are quoted
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from db_backup.engines.mysql.connecting import Session, identifier, query
from db_backup.engines.mysql.dump_parser import COUNTERS_BEGIN, COUNTERS_END, auto_increment_of

_AUTO_INCREMENTS = """SELECT c.table_name FROM information_schema.columns c
    JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
    WHERE c.table_schema = %s AND c.extra LIKE '%%auto_increment%%'
    AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY c.table_name"""
_SEQUENCES = """SELECT table_name FROM information_schema.tables
    WHERE table_schema = %s AND table_type = 'SEQUENCE' ORDER BY table_name"""
# ALTER TABLE reads the whole definition again, which may be older than today's rules.
ALTER_SETTINGS = (
    "SET SESSION sql_mode = '', foreign_key_checks = 0 /*M!100304 , system_versioning_alter_history = KEEP */"
)


@dataclass(frozen=True)
class Counter:
    """``statement`` sets it to where it stands."""

    name: str
    statement: str


def read_counters(session: Session, database: str) -> tuple[Counter, ...]:
    """Every one of the database that the session uses."""
    return (*_auto_increments(session, database), *_sequences(session, database))


def _auto_increments(session: Session, database: str) -> Iterator[Counter]:
    for (name,) in query(session, _AUTO_INCREMENTS, (database,)):
        definition = str(query(session, f"SHOW CREATE TABLE {identifier(name)}")[0][1])
        value = auto_increment_of(definition.encode(errors="surrogateescape"))
        yield Counter(str(name), f"ALTER TABLE {identifier(name)} AUTO_INCREMENT={value}")


def _sequences(session: Session, database: str) -> Iterator[Counter]:
    for (name,) in query(session, _SEQUENCES, (database,)):
        value = int(query(session, f"SELECT next_not_cached_value FROM {identifier(name)}")[0][0])
        yield Counter(str(name), f"ALTER SEQUENCE {identifier(name)} RESTART {value}")


def counters_section(session: Session, database: str) -> bytes:
    """The end of a data backup, after the tool's own."""
    statements = [
        "SET NAMES utf8mb4",
        ALTER_SETTINGS,
        *(counter.statement for counter in read_counters(session, database)),
    ]
    lines = "".join(f"{statement};\n" for statement in statements).encode(errors="surrogateescape")
    return b"\n%b\n\n%b\n%b\n" % (COUNTERS_BEGIN, lines, COUNTERS_END)


def set_counters(session: Session, counters: Sequence[Counter]) -> None:
    for statement in (ALTER_SETTINGS, *(counter.statement for counter in counters)):
        query(session, statement)
