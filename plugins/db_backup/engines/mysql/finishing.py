"""The end of a swap: the tables have changed places, and what they cannot do without follows them.

All it takes is in the journal, and each step can be repeated: the next attempt finishes what an interrupted one began.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pymysql

from db_backup.engines.mysql.code import LOCK_WAIT_SECONDS, load_code, made_anew
from db_backup.engines.mysql.connecting import Session, identifier, query
from db_backup.engines.mysql.counters import ALTER_SETTINGS
from db_backup.engines.mysql.databases import (
    Item,
    code_items,
    drop_items,
    folded,
    replaced_name,
    replacement_name,
    set_character_set,
    some,
    stored_tables,
)
from db_backup.engines.mysql.dump_splitter import IDENTIFIER
from db_backup.engines.mysql.events import about_passed
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.server import describe_server
from db_backup.errors import BackupError, LoadFailed
from db_backup.model import ConnectionInfo

_SEQUENCE_DEFAULTS = """SELECT c.table_name, c.column_name, c.column_default FROM information_schema.columns c
    JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
    WHERE c.table_schema = %s AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
    AND c.column_default LIKE '%%val(%%'"""
_KEYS_INTO = """SELECT table_name, constraint_name FROM information_schema.referential_constraints
    WHERE constraint_schema = %s AND unique_constraint_schema = %s ORDER BY 1, 2"""
_COLUMNS = rb"\((?:%s(?:, )?)+\)" % IDENTIFIER
_KEY = rb"CONSTRAINT %%b FOREIGN KEY %b REFERENCES (?:%b\.)?%b %b(?: ON (?:DELETE|UPDATE)(?: [A-Z]+)+)*" % (
    _COLUMNS,
    IDENTIFIER,
    IDENTIFIER,
    _COLUMNS,
)


@dataclass(frozen=True)
class Coming:
    """What comes with the new tables, as the scripts that make it.

    ``items``: what they make. ``surplus``: what only the old database has. ``passing_events``: those that may be gone
    before they are made, for their time passes. ``settings``: the character set and the collation of the database.
    """

    items: tuple[Item, ...] = ()
    surplus: tuple[Item, ...] = ()
    passing_events: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    views_and_routines: bytes = b""
    triggers: bytes = b""
    events: bytes = b""


def finish(session: Session, connection: ConnectionInfo, coming: Coming) -> tuple[str, ...]:
    """Make it, compare, and drop the old tables. Returns warnings.

    :raises LoadFailed: the message says what is missing; the old tables are still there.
    """
    query(session, f"SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")
    finishing = _Finishing(session, connection, coming)
    steps = finishing.steps()
    for number, (_, step) in enumerate(steps):
        try:
            step()
        except (pymysql.err.MySQLError, BackupError) as error:
            raise _unfinished(connection, [what for what, _ in steps[number:]], said(error)) from error
    return tuple(finishing.warnings)


def _unfinished(connection: ConnectionInfo, missing: Iterable[str], words: str) -> LoadFailed:
    return LoadFailed(
        f"The tables of the backup are in their place in '{connection.address}', and this is not: "
        f"{', '.join(missing)}: {words}",
        hint="Mend what it names, and restore again: it begins with finishing this. If that cannot be mended, drop the "
        f"database '{replaced_name(connection.database)}' first, which holds the old tables.",
    )


class _Finishing:
    def __init__(self, session: Session, connection: ConnectionInfo, coming: Coming) -> None:
        self.session = session
        self.connection = connection
        self.coming = coming
        self.target = connection.database
        self.copy = replacement_name(self.target)
        self.flavour = describe_server(session, connection).flavour
        self.renaming = Renaming(self.copy, self.target)
        self.warnings: list[str] = []

    def steps(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return (
            ("its character set", self._set_character_set),
            ("defaults that draw from sequences", self._correct_defaults),
            ("foreign keys to tables that are gone", self._correct_keys),
            (
                "the removal of views and routines that only the old one had",
                lambda: drop_items(self.session, self.target, self.coming.surplus),
            ),
            ("views and routines", lambda: self._load(self.coming.views_and_routines)),
            ("triggers", lambda: self._load(self.coming.triggers)),
            ("events", lambda: self._load(self.coming.events)),
            ("the comparison of what is there now", self._compare),
            ("the removal of the old tables", self._drop_helpers),
        )

    def _set_character_set(self) -> None:
        if self.coming.settings:
            encoding, collation = self.coming.settings
            set_character_set(self.session, self.target, encoding, collation)

    def _correct_defaults(self) -> None:
        """A default names its sequence together with the database."""
        query(self.session, ALTER_SETTINGS)
        for table, column, default in query(self.session, _SEQUENCE_DEFAULTS, (self.target,)):
            corrected = self.renaming.requalified(str(default).encode()).decode()
            if corrected != default:
                query(
                    self.session,
                    f"ALTER TABLE {self._place(table)} ALTER COLUMN {identifier(column)} SET DEFAULT ({corrected})",
                )

    def _correct_keys(self) -> None:
        """A key whose table is nowhere does not follow: it goes on naming the copy's database."""
        query(self.session, ALTER_SETTINGS)
        for table, key in query(self.session, _KEYS_INTO, (self.target, self.copy)):
            definition = str(query(self.session, f"SHOW CREATE TABLE {self._place(table)}")[0][1]).encode()
            found = re.search(_KEY % re.escape(identifier(key).encode()), definition)
            if found is None:
                raise LoadFailed(f"the foreign key '{key}' of '{table}' cannot be read.")
            corrected = self.renaming.requalified(found[0]).decode()
            query(self.session, f"ALTER TABLE {self._place(table)} DROP FOREIGN KEY {identifier(key)}")
            query(self.session, f"ALTER TABLE {self._place(table)} ADD {corrected}")

    def _place(self, table: str) -> str:
        return f"{identifier(self.target)}.{identifier(table)}"

    def _load(self, script: bytes) -> None:
        there = code_items(self.session, self.target)
        if problem := load_code(self.connection, self.flavour, made_anew(script, there)):
            raise LoadFailed(problem)

    def _compare(self) -> None:
        there = set(folded(self.session, code_items(self.session, self.target)).values())
        coming = folded(self.session, self.coming.items)
        missing = sorted(item for item, place in coming.items() if place not in there)
        gone = [name for kind, name in missing if kind == "EVENT" and name in self.coming.passing_events]
        if absent := [f"{kind.lower()} {name}" for kind, name in missing if kind != "EVENT" or name not in gone]:
            raise LoadFailed(f"there is no {some(absent)}.")
        if keys := query(self.session, _KEYS_INTO, (self.target, self.copy)):
            raise LoadFailed(f"keys refer to '{self.copy}': {some(f'{table}.{key}' for table, key in keys)}.")
        if gone:
            self.warnings.append(about_passed(gone))

    def _drop_helpers(self) -> None:
        # A key that this user could not see has followed the old tables: they stay, and the error says so.
        query(self.session, "SET SESSION foreign_key_checks = 1")
        query(self.session, f"DROP DATABASE IF EXISTS {identifier(replaced_name(self.target))}")
        if not stored_tables(self.session, self.copy):  # else it is the copy of another attempt
            query(self.session, f"DROP DATABASE IF EXISTS {identifier(self.copy)}")


def said(error: BaseException) -> str:
    return error.message if isinstance(error, BackupError) else str(error.args[-1] if error.args else error)
