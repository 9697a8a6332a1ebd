"""The dump of a whole server: what each of its databases holds of it."""

from __future__ import annotations

import re
from typing import TypeVar

from db_backup.engines.mysql.chain.silencing import unencrypted
from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.definers import definer_of
from db_backup.engines.mysql.dump_parser import DumpParser, unquoted
from db_backup.engines.mysql.dump_splitter import IDENTIFIER, Kind, MalformedDump, Piece
from db_backup.engines.mysql.inventory import Catalogue, inventory_of, missing_from_dump, tables_of
from db_backup.engines.row_hashing import TableCounter
from db_backup.manifest import DatabaseObject, Inventory, TableInventory
from db_backup.model import BackupType

_Named = TypeVar("_Named", TableInventory, DatabaseObject)
_SQL_MODE = re.compile(rb"/\*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='")  # before the first definition
_USE = re.compile(rb"USE (%s);" % IDENTIFIER)


class ServerDumpParser(DumpParser):
    """A dump of several databases, which ``USE`` tells apart; views come in a second round.

    Position, GTID and end marker are the dump's, everything else is in the parsers of ``databases``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.databases: dict[str, DumpParser] = {}
        self._current: DumpParser | None = None

    @property
    def last_table(self) -> str | None:
        return self._current.last_table if self._current is not None else None

    def _counter(self, table: bytes) -> TableCounter:
        if self._current is None:
            raise MalformedDump("it brings rows before it says of which database")
        return self._current._counter(table)

    def _see_statement(self, text: bytes) -> None:
        if (use := _USE.match(text)) is not None:
            self._current = self.databases.setdefault(unquoted(use[1]), DumpParser())
        elif self._current is not None:
            self._current._see_statement(text)


class AsItIs:
    """A ``Rewrite`` that changes nothing but where tables lie and by which keys: in the server's own folder, by none.

    ``definers``: accounts that the statements name.

    :param preamble: SQL that comes first.
    """

    def __init__(self, parser: DumpParser, preamble: bytes, *, keep_sandbox_line: bool) -> None:
        self.parser = parser
        self.definers: set[str] = set()
        self._preamble = preamble
        self._keep_sandbox_line = keep_sandbox_line

    def apply(self, piece: Piece) -> bytes:
        before, self._preamble = self._preamble, b""
        if piece.kind is Kind.STATEMENT and (definer := definer_of(piece.text)) is not None:
            self.definers.add(definer)
        if piece.kind is Kind.SANDBOX and not self._keep_sandbox_line:
            return before
        if piece.kind is Kind.STATEMENT and (mode := _SQL_MODE.match(piece.text)) is not None:
            return before + mode[0] + b"NO_DIR_IN_CREATE," + piece.text[mode.end() :]
        if piece.kind is Kind.STATEMENT and piece.text.startswith(b"CREATE TABLE"):
            return before + unencrypted(piece.text)
        return before + piece.text

    def held_back(self) -> bytes:
        return b""


def server_inventory(catalogues: dict[str, Catalogue], parser: ServerDumpParser) -> Inventory:
    """Of every database, with its name before each.

    :raises MalformedDump: the dump brings something twice.
    """
    found = {
        database: inventory_of(catalogue, contents_of([_parser_of(parser, database)]), BackupType.FULL)
        for database, catalogue in catalogues.items()
    }
    return _joined(found)


def archived_inventory(parser: ServerDumpParser) -> Inventory:
    """What the dump says for itself: its tables.

    :raises MalformedDump: it brings something twice.
    """
    found = {
        database: Inventory(tables=tables_of(contents_of([of_one]), BackupType.FULL, ()))
        for database, of_one in parser.databases.items()
    }
    return Inventory(tables=_joined(found).tables)


def missing_from_server_dump(catalogues: dict[str, Catalogue], parser: ServerDumpParser) -> list[str]:
    """As ``missing_from_dump``, of every database.

    :raises MalformedDump: the dump brings something twice.
    """
    missing = []
    for database, catalogue in catalogues.items():
        if database not in parser.databases:
            missing.append(f"the database '{database}'")
            continue
        contents = contents_of([parser.databases[database]])
        missing += [f"{item} of '{database}'" for item in missing_from_dump(catalogue, contents, BackupType.FULL)]
    return missing


def _parser_of(parser: ServerDumpParser, database: str) -> DumpParser:
    return parser.databases.get(database) or DumpParser()


def _joined(inventories: dict[str, Inventory]) -> Inventory:
    tables: list[TableInventory] = []
    objects: list[DatabaseObject] = []
    for database, inventory in inventories.items():
        objects.append(DatabaseObject(kind="database", name=database))
        tables += [_of(database, table) for table in inventory.tables]
        objects += [_of(database, item) for item in inventory.objects]
    return Inventory(
        tables=tuple(sorted(tables, key=lambda table: table.name)),
        objects=tuple(sorted(objects, key=lambda item: (item.kind, item.name))),
    )


def _of(database: str, item: _Named) -> _Named:
    return item.model_copy(update={"name": f"{database}.{item.name}"})
