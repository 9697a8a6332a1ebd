"""Data backups: every row as one INSERT, written so that it comes back to the bit, and where AUTOINCREMENT stands."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from db_backup.engines.base import Block, Dump, DumpSummary, Preflight
from db_backup.engines.exclusion import Exclusion
from db_backup.engines.piping import PipedStream, piped
from db_backup.engines.row_hashing import TableCounter
from db_backup.engines.sqlite.contents import Schema, find_damage, hash_row, interruptible, quoted, tolerant_text
from db_backup.engines.sqlite.image import Moment
from db_backup.engines.sqlite.literals import Literals, Value, quoted_name
from db_backup.engines.sqlite.replacing import connect_to_write, in_use
from db_backup.engines.sqlite.script import ScriptDamaged, encoding_of, frame, is_frame, statements
from db_backup.engines.sqlite.source import damaged, explained, primary_code
from db_backup.engines.sqlite.structure import SHELL, stay_inside
from db_backup.engines.sqlite.tables import TableRows, by_name, read_tables, sequences
from db_backup.errors import DumpIncomplete, LoadFailed, SourceUnsupported, TargetNotEmpty
from db_backup.manifest import Inventory, Manifest, TableInventory
from db_backup.progress import Cancellation
from db_backup.units import human_bytes

FORMAT = "sqlite script, data"
SHELL_WITHOUT_TRIGGERS = f"{SHELL} -cmd '.dbconfig enable_trigger off'"
_ROWS_BETWEEN_CHECKS = 10_000
_NAME = r'"(?:[^"]|"")*"'
_INSERTION = re.compile(rf"INSERT INTO ({_NAME})\((?:\w+|{_NAME})(?:,{_NAME})*\) (?=VALUES\()", re.DOTALL)
_ANNOUNCEMENT = re.compile(rf"SELECT 0 FROM ({_NAME}) WHERE 0")  # noqa: S608 - a pattern
_REBUILD = re.compile(rf"INSERT INTO ({_NAME})\(\1\) SELECT 'rebuild'")
_EMPTY_SEQUENCES = "DELETE FROM sqlite_sequence"


class RowsDump(Dump):
    """Rows of an image, written while the pipeline reads them."""

    format = FORMAT

    def __init__(
        self,
        path: Path,
        preflight: Preflight,
        moment: Moment,
        writer: RowWriter,
        exclusion: Exclusion,
        stream: PipedStream,
    ) -> None:
        self.preflight = preflight
        self.streams = (stream,)
        self._path = path
        self._moment = moment
        self._writer = writer
        self._exclusion = exclusion
        self._stream = stream

    def complete(self) -> DumpSummary:
        with explained(self._path):
            whole = self._stream.is_whole()
        if not whole:
            raise DumpIncomplete(
                f"Not all of the rows of {self._path} that were written went by.",
                hint="Run the backup again; if it stays so, report it.",
            )
        return DumpSummary(
            consistency=self._moment.consistency,
            recovery_point=self._moment.at,
            inventory=Inventory(tables=self._writer.inventory()),
            warnings=tuple(self._writer.warnings),
            excluded_tables=self._exclusion.tables,
        )


class RowWriter:
    """Writes the script, and counts what it writes."""

    def __init__(self, image: sqlite3.Connection, path: Path, schema: Schema, exclusion: Exclusion) -> None:
        self._image = image
        self._path = path
        self._schema = schema
        self._excluded = frozenset(exclusion.tables)
        self._counters: dict[str, TableCounter] = {}
        self.warnings: list[str] = []

    def inventory(self) -> tuple[TableInventory, ...]:
        return by_name([counter.inventory(name) for name, counter in self._counters.items()])

    def pieces(self, left: Cancellation) -> Iterator[bytes]:
        """The whole script; a damaged file gives none.

        :raises DumpFailed: it is damaged.
        """
        (encoding,) = self._image.execute("PRAGMA encoding").fetchone()
        with interruptible(self._image, left):
            body = self._body(Literals(encoding), left)
            yield from frame("SQLite rows", f"{SHELL_WITHOUT_TRIGGERS} DATABASE_WITH_EMPTY_TABLES", encoding, body)

    def _body(self, literals: Literals, left: Cancellation) -> Iterator[bytes]:
        tables, stand = read_tables(self._image), sequences(self._image)
        self._image.text_factory = tolerant_text
        for table in tables.with_rows:
            yield b"SELECT 0 FROM %b WHERE 0;\n" % quoted_name(table.name)  # prints nothing; fails without the table
            yield from self._rows(table, literals, left, leave_out=table.name in self._excluded)
        for name in tables.rebuilt:
            yield b"INSERT INTO %b(%b) SELECT 'rebuild';\n" % (quoted_name(name), quoted_name(name))
        if stand is not None:
            yield _EMPTY_SEQUENCES.encode() + b";\n"
            yield from self._rows(stand, literals, left, leave_out=False)
        self._image.text_factory = str
        damage = find_damage(self._image, self._schema, thorough=False)
        if damage.problems:
            raise damaged(self._path, "; ".join(damage.problems[:3]))
        self.warnings += damage.warnings
        self.warnings += [f"The rows of the virtual table '{name}' are not in the backup." for name in tables.unwritten]

    def _rows(self, table: TableRows, literals: Literals, left: Cancellation, *, leave_out: bool) -> Iterator[bytes]:
        counter = self._counters[table.name] = TableCounter()
        if leave_out:
            return
        insertion, longest = table.insertion, self._image.getlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH)
        for row in self._image.execute(table.query):
            counter.add_hashed(hash_row(row))
            statement = b"%b%b);\n" % (insertion, literals.row(row))
            if len(statement) > longest:
                raise SourceUnsupported(
                    f"A row of '{table.name}' in {self._path} takes {human_bytes(len(statement))} as a statement, "
                    "more than SQLite reads.",
                    hint="Take full backups, or leave the table out by exclude_tables.",
                )
            if counter.rows % _ROWS_BETWEEN_CHECKS == 0:
                left.check()
            yield statement


@contextmanager
def open_rows(
    path: Path, preflight: Preflight, moment: Moment, writer: RowWriter, exclusion: Exclusion
) -> Iterator[RowsDump]:
    left = Cancellation()
    with piped(writer.pieces(left)) as stream:
        try:
            yield RowsDump(path, preflight, moment, writer, exclusion, stream)
        finally:
            left.cancel("the dump was closed")


def load_rows(content: Iterable[Block], target: Path, manifest: Manifest, cancellation: Cancellation) -> None:
    """Write the rows into the tables of ``target``, which have none, in one transaction.

    Triggers would fire for every row: they are taken away and made again inside the transaction.

    :raises Refused: another program has the database locked.
    :raises TargetNotEmpty, LoadFailed, Interrupted:
    """
    if not target.is_file():
        raise LoadFailed(
            f"There is no database {target} whose tables the rows of {manifest.id} could go into.",
            hint="Restore a structure backup there first.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    try:
        with closing(connect_to_write(target)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("BEGIN EXCLUSIVE")  # ends with the connection, undone, unless it comes to COMMIT
            _check_target(connection, target, manifest)
            with interruptible(connection, cancellation), _without_triggers(connection):
                connection.set_authorizer(stay_inside)
                _insert(connection, content, cancellation)
                connection.set_authorizer(None)
            connection.execute("COMMIT")
    except (sqlite3.Error, ScriptDamaged) as error:
        cancellation.check()
        if isinstance(error, sqlite3.Error) and primary_code(error) == sqlite3.SQLITE_BUSY:
            raise in_use(target) from error
        raise LoadFailed(
            f"The rows of {manifest.id} could not be loaded into {target}: {_sentence(error)}.",
            hint="Nothing was changed. The tables must be those of the backup; restore its structure into a new file.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from error


def read_rows(content: Iterable[Block], cancellation: Cancellation) -> Inventory:
    """Every row, read by SQLite as it would be inserted, counted and hashed.

    :raises ScriptDamaged:
    """
    counters: dict[str, TableCounter] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)) as reader:
        reader.set_authorizer(stay_inside)
        reader.text_factory = tolerant_text
        for statement in statements(content):
            if insertion := _INSERTION.match(statement):
                row = _evaluate(reader, statement[insertion.end() :])
                counters.setdefault(_unquoted(insertion[1]), TableCounter()).add_hashed(hash_row(row))
                cancellation.check()
            elif announcement := _ANNOUNCEMENT.fullmatch(statement):
                counters.setdefault(_unquoted(announcement[1]), TableCounter())
            elif encoding := encoding_of(statement):
                reader.execute(f"PRAGMA encoding = '{encoding}'")
            elif not (is_frame(statement) or _REBUILD.fullmatch(statement) or statement == _EMPTY_SEQUENCES):
                raise ScriptDamaged("holds a statement that is none of ours")
    return Inventory(tables=by_name([counter.inventory(name) for name, counter in counters.items()]))


def refuse_missing_tables(connection: sqlite3.Connection, target: Path, manifest: Manifest) -> None:
    """:raises LoadFailed: the backup has rows of a table that is not there."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing := sorted({table.name for table in manifest.inventory.tables} - there):
        raise LoadFailed(
            f"{target} has no table '{missing[0]}', and {manifest.id} has rows for it.",
            hint="Restore the structure of the same database there first.",
            database=manifest.entry,
            backup_id=manifest.id,
        )


def _insert(connection: sqlite3.Connection, content: Iterable[Block], cancellation: Cancellation) -> None:
    for statement in statements(content):
        if encoding := encoding_of(statement):
            (found,) = connection.execute("PRAGMA encoding").fetchone()
            if found != encoding:
                raise ScriptDamaged(f"was written for a database in {encoding}, and this one is in {found}")
        elif not is_frame(statement):
            connection.execute(statement)
        cancellation.check()


def _check_target(connection: sqlite3.Connection, target: Path, manifest: Manifest) -> None:
    refuse_missing_tables(connection, target, manifest)
    for table in read_tables(connection).with_rows:
        if connection.execute(f"{table.query} LIMIT 1").fetchone() is not None:
            raise TargetNotEmpty(
                f"The table '{table.name}' of {target} has rows already; nothing was changed.",
                hint="Load the rows into a database whose tables are empty.",
                database=manifest.entry,
                backup_id=manifest.id,
            )


@contextmanager
def _without_triggers(connection: sqlite3.Connection) -> Iterator[None]:
    triggers = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {quoted(name)}")
    yield
    for _, sql in triggers:
        connection.execute(sql)


def _evaluate(reader: sqlite3.Connection, values: str) -> tuple[Value, ...]:
    try:
        row: tuple[Value, ...] = reader.execute(values).fetchone()
    except sqlite3.Error as error:
        raise ScriptDamaged(f"holds a row that SQLite does not read: {error}") from error
    return row


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"')


def _sentence(error: Exception) -> str:
    return f"the script {error}" if isinstance(error, ScriptDamaged) else str(error)
