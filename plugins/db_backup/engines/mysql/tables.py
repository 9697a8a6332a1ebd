"""The tables of a database as their rows are concerned: counted, analysed, found, and taken away again."""

# ruff: noqa: S608 - names are quoted
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from db_backup.engines.mysql.connecting import Session, identifier, query
from db_backup.errors import SourceError
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

_VERSIONED = "SYSTEM VERSIONED"
# The dump tools print no rows of these: they are other tables', or lie elsewhere.
_ROWS_OF_OTHERS = {"mrg_myisam", "mrg_isam", "connect", "oqgraph", "spider", "vp", "federated"}
_TABLES = """SELECT table_name, table_type, engine FROM information_schema.tables
    WHERE table_schema = %s AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY table_name"""

_SIZES = """SELECT table_name, data_length FROM information_schema.tables
    WHERE table_schema = %s AND data_length IS NOT NULL"""


@dataclass(frozen=True)
class Table:
    """``versioned``: it keeps the history of its rows, which is rows too."""

    name: str
    versioned: bool
    has_own_rows: bool

    @property
    def all_rows(self) -> str:
        """What to select from."""
        return identifier(self.name) + (" FOR SYSTEM_TIME ALL" if self.versioned else "")


def read_tables(session: Session, database: str) -> list[Table]:
    return [
        Table(str(name), kind == _VERSIONED, str(engine).lower() not in _ROWS_OF_OTHERS)
        for name, kind, engine in query(session, _TABLES, (database,))
    ]


def read_sizes(session: Session, database: str) -> dict[str, int]:
    """What the server believes that each table takes, in bytes, without its indexes."""
    return {str(name): int(size) for name, size in query(session, _SIZES, (database,))}


def count_rows(session: Session, database: str) -> dict[str, int]:
    """``session`` must use ``database``; history counts."""
    return {
        table.name: int(query(session, f"SELECT count(*) FROM {table.all_rows}")[0][0])
        for table in read_tables(session, database)
        if table.has_own_rows
    }


def filled_tables(session: Session, tables: Iterable[Table]) -> list[str]:
    """Names of those that have rows."""
    return [
        table.name
        for table in tables
        if table.has_own_rows and query(session, f"SELECT 1 FROM {table.all_rows} LIMIT 1")
    ]


def empty_tables(session: Session, tables: Iterable[Table]) -> None:
    """Take away every row, and switch indexes on that a dump switches off for its time.

    No trigger may be there; foreign keys are not looked at.
    """
    query(session, "SET SESSION foreign_key_checks = 0")
    for table in tables:
        name = identifier(table.name)
        if filled_tables(session, [table]):
            if table.versioned:  # TRUNCATE refuses it (4137)
                query(session, f"DELETE FROM {name}")
                query(session, f"DELETE HISTORY FROM {name}")
            else:
                query(session, f"TRUNCATE TABLE {name}")
        query(session, f"ALTER TABLE {name} ENABLE KEYS")


def refresh_statistics(session: Session, connection: ConnectionInfo, cancellation: Cancellation) -> None:
    """Each replica keeps its own: nothing of this goes to the binlog.

    :raises SourceError: the server says that it could not.
    """
    for table in read_tables(session, connection.database):
        cancellation.check()
        if not table.has_own_rows:
            continue
        for _, _, kind, said in query(session, f"ANALYZE NO_WRITE_TO_BINLOG TABLE {identifier(table.name)}"):
            if str(kind).lower() == "error":
                raise SourceError(
                    f"The statistics of '{table.name}' at '{connection.address}' could not be refreshed: {said}.",
                    hint="Run ANALYZE TABLE yourself; the rows are not concerned.",
                )
