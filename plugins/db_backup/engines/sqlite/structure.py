"""Structure backups: the definitions in SQLite's schema table, as a script that builds an empty database.

Its statements are those that the objects were made with. Tables come first, for some virtual tables look at them when
they are made, and triggers last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from db_backup.engines.base import Dump, DumpSummary, Preflight
from db_backup.engines.piping import PipedStream, piped
from db_backup.engines.sqlite.contents import quoted, read_schema
from db_backup.engines.sqlite.script import ScriptDamaged, frame
from db_backup.engines.sqlite.tables import by_name, read_tables
from db_backup.errors import DumpIncomplete, SourceUnsupported
from db_backup.manifest import Consistency, Inventory, TableInventory

FORMAT = "sqlite script, structure"
SHELL = "sqlite3 -bail"
_ORDER = ("table", "view", "virtual table", "index", "trigger")
_SETTINGS = ("application_id", "user_version")


@dataclass(frozen=True)
class Structure:
    """The whole script, and what it makes."""

    script: str
    inventory: Inventory


class StructureDump(Dump):
    """The definitions of one moment, read before the pipeline begins."""

    format = FORMAT

    def __init__(
        self, path: Path, preflight: Preflight, taken_at: datetime, structure: Structure, stream: PipedStream
    ) -> None:
        self.preflight = preflight
        self.streams = (stream,)
        self._path = path
        self._taken_at = taken_at
        self._structure = structure
        self._stream = stream

    def complete(self) -> DumpSummary:
        try:
            same = self._stream.is_whole() and inventory_of(self._structure.script) == self._structure.inventory
        except ScriptDamaged as damage:
            raise SourceUnsupported(
                f"The structure of {self._path} cannot be written for others: it {damage}.",
                hint="Take full backups of this database: they need nothing of its application.",
            ) from damage
        if not same:
            raise DumpIncomplete(
                f"The structure of {self._path} that was written does not make the objects that the database lists.",
                hint="Run the backup again; if it stays so, report it.",
            )
        return DumpSummary(
            consistency=Consistency(snapshot="read transaction"),
            recovery_point=self._taken_at,
            inventory=self._structure.inventory,
        )


@contextmanager
def open_structure(
    path: Path, preflight: Preflight, taken_at: datetime, structure: Structure
) -> Iterator[StructureDump]:
    with piped([structure.script.encode()]) as stream:
        yield StructureDump(path, preflight, taken_at, structure, stream)


def read_structure(connection: sqlite3.Connection) -> Structure:
    """Everything that a user made, as the connection's transaction has it."""
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    body = [piece.encode() for piece in _body(connection)]
    script = b"".join(frame("SQLite structure", f"{SHELL} NEW_DATABASE", encoding, body)).decode()
    tables = tuple(TableInventory(name=name, rows=0) for name in sorted(read_tables(connection).ordinary))
    return Structure(script, Inventory(tables=tables, objects=read_schema(connection).objects))


def count_structure(connection: sqlite3.Connection) -> Inventory:
    """The inventory of a database that a structure backup was restored to: rows that should not be there show."""
    found = []
    for name in read_tables(connection).ordinary:
        (rows,) = connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()  # noqa: S608 - quoted
        found.append(TableInventory(name=name, rows=rows))
    return Inventory(tables=by_name(found), objects=read_schema(connection).objects)


def build(script: str, connection: sqlite3.Connection) -> None:
    """Run a structure script in an empty database, and nothing that reaches out of it.

    :raises ScriptDamaged: SQLite does not accept it.
    """
    connection.set_authorizer(stay_inside)
    try:
        connection.executescript(script)
    except sqlite3.Error as error:
        raise ScriptDamaged(f"is refused by SQLite: {error}") from error
    finally:
        connection.set_authorizer(None)


def inventory_of(script: str) -> Inventory:
    """What a structure script makes, made in memory.

    :raises ScriptDamaged: SQLite does not accept it.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        build(script, connection)
        return count_structure(connection)


def _body(connection: sqlite3.Connection) -> Iterator[str]:
    shadow = read_tables(connection).shadow
    definitions = []
    for number, (kind, name, table, sql) in enumerate(
        connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    ):
        if name.startswith("sqlite_") or name in shadow or table in shadow:
            continue
        virtual = kind == "table" and sql[:14].upper() == "CREATE VIRTUAL"
        definitions.append((_ORDER.index("virtual table" if virtual else kind), number, sql))
    for _, _, sql in sorted(definitions):
        # A comment at the definition's end would swallow the semicolon.
        yield sql + ("\n;\n" if "--" in sql.rpartition("\n")[2] else ";\n")
    for name in _SETTINGS:
        (setting,) = connection.execute(f"PRAGMA {name}").fetchone()
        yield f"PRAGMA {name} = {setting};\n"


def stay_inside(action: int, *_: str | None) -> int:
    """An authorizer: a script is code, and may open no other file."""
    return sqlite3.SQLITE_DENY if action in {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH} else sqlite3.SQLITE_OK
