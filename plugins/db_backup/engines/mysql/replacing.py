"""A database in another's place, where databases cannot be renamed: their tables are, all in one statement.

RENAME TABLE takes neither views nor routines along, and no table that has triggers. These are made anew from the stock
tool's scripts: the new ones right after the tables have changed places, the old ones when they could not. Between the
two the database is without triggers and events for a moment; a journal in the database that takes in the old tables
lets the next attempt put in order what an interrupted one has left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pymysql

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.code import LOCK_WAIT_SECONDS, Code, load_code, read_code
from db_backup.engines.mysql.connecting import Session, error_code, identifier, query, session_for
from db_backup.engines.mysql.counters import ALTER_SETTINGS
from db_backup.engines.mysql.databases import (
    Item,
    character_set,
    code_items,
    drop_items,
    move_tables,
    replaced_name,
    some,
    stored_tables,
)
from db_backup.engines.mysql.journal import Journal, begin_journal, mark_of_move, mend
from db_backup.engines.mysql.preflight import describe_server
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.sessions import end_sessions
from db_backup.errors import BackupError, LoadFailed, Refused
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

_ATTEMPT_SECONDS = 5  # the application's statements queue up behind a RENAME that waits
_ATTEMPTS = 5  # each begins with ending the sessions that came back meanwhile
_LOCK_WAIT_TIMEOUT = 1205
_OUTSIDE_KEYS = """SELECT CONCAT(constraint_schema, '.', table_name, '.', constraint_name)
    FROM information_schema.referential_constraints
    WHERE unique_constraint_schema = %s AND constraint_schema <> %s ORDER BY 1"""
_SEQUENCE_DEFAULTS = """SELECT c.table_name, c.column_name, c.column_default FROM information_schema.columns c
    JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
    WHERE c.table_schema = %s AND t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
    AND c.column_default LIKE '%%val(%%'"""


def refuse_outside_keys(session: Session, connection: ConnectionInfo) -> None:
    """:raises Refused: a foreign key of another database refers to this one: RENAME TABLE would take it along."""
    if keys := [str(name) for (name,) in query(session, _OUTSIDE_KEYS, (connection.database,) * 2)]:
        raise Refused(
            f"Foreign keys of other databases refer to tables of '{connection.address}', and would follow the old "
            f"tables out of it: {', '.join(keys)}. Nothing was changed.",
            hint="Drop them, restore, and make them again; or restore into a new database.",
        )


def put_in_place(
    connection: ConnectionInfo, options: EngineOptions, database: str, cancellation: Cancellation
) -> tuple[str, ...]:
    """See ``Engine.replace_with``.

    :raises Refused: the database is in use, or referred to by others; nothing was changed.
    :raises LoadFailed: nothing was changed, or the message says what is missing.
    """
    cancellation.check()
    mend(connection)
    new = read_code(dataclasses.replace(connection, database=database), options, connection.database, cancellation)
    with _session(connection) as session:
        exists = character_set(session, connection.database) is not None
        if exists:
            refuse_outside_keys(session, connection)
        old = read_code(connection, options, connection.database, cancellation) if exists else None
        swap = _Swap(session, connection, database, new, old)
        with swap.undone_on_failure():
            warnings = swap.move(cancellation)
        swap.finish()
        if not exists and new.active_events and swap.events_run:
            return (*warnings, f"{new.active_events} events are now active in '{connection.database}'.")
        return tuple(warnings)


@dataclass
class _Swap:
    """``old`` is None where the target does not exist yet."""

    session: Session
    connection: ConnectionInfo
    database: str
    new: Code
    old: Code | None

    def __post_init__(self) -> None:
        self.target = self.connection.database
        self.aside = replaced_name(self.target)
        self.server = describe_server(self.session, self.connection)
        self.old_tables = stored_tables(self.session, self.target)
        self.new_tables = stored_tables(self.session, self.database)
        self.old_items = code_items(self.session, self.target)
        self.new_items = code_items(self.session, self.database)
        self.created = False

    @property
    def events_run(self) -> bool:
        return str(query(self.session, "SELECT @@event_scheduler")[0][0]).upper() == "ON"

    def move(self, cancellation: Cancellation) -> list[str]:
        """Everything up to the moment at which the tables change places."""
        if self.old is None:
            encoding, collation = character_set(self.session, self.database) or ("", "")
            query(
                self.session,
                f"CREATE DATABASE {identifier(self.target)} CHARACTER SET {encoding} COLLATE {collation}",
            )
            self.created = True
        else:
            begin_journal(
                self.session,
                self.aside,
                Journal(tuple(self.old_tables), tuple(self.new_tables), tuple(self._in_the_way()), self._put_back()),
            )
        query(self.session, f"SET SESSION lock_wait_timeout = {_ATTEMPT_SECONDS}")
        for attempt in range(_ATTEMPTS):
            cancellation.check()
            staying = end_sessions(self.session, self.target)
            end_sessions(self.session, self.database)
            try:
                self._set_code_aside()
                self._rename()
            except pymysql.err.MySQLError as error:
                if error_code(error) != _LOCK_WAIT_TIMEOUT:
                    raise
                if attempt == _ATTEMPTS - 1:
                    raise Refused(
                        f"The tables of '{self.connection.address}' are in use and could not be freed; the database "
                        "is as it was.",
                        hint="See SHOW PROCESSLIST for who holds them, stop the application, and restore again.",
                    ) from error
            else:
                return list(self._about_sessions(staying))
        raise AssertionError("the last attempt returns or raises")

    def _about_sessions(self, staying: int) -> Iterator[str]:
        if staying:
            yield (
                f"{staying} connections to '{self.target}' could not be ended, for the user "
                f"'{self.connection.login}' may not: they go on in the restored database."
            )

    def _in_the_way(self) -> list[Item]:
        """What cannot stay while tables are renamed: triggers, and views that are called like a table that comes."""
        coming = set(self.new_tables)
        return [
            (kind, name)
            for kind, name in self.old_items
            if kind in {"TRIGGER", "EVENT"} or (kind == "VIEW" and name in coming)
        ]

    def _put_back(self) -> bytes:
        """The script that makes again what was in the way."""
        if self.old is None:
            return b""
        views = self.old.views_and_routines if any(kind == "VIEW" for kind, _ in self._in_the_way()) else b""
        return b"\n".join((views, self.old.triggers, self.old.events))

    def _set_code_aside(self) -> None:
        drop_items(self.session, self.target, self._in_the_way())
        drop_items(self.session, self.database, [item for item in self.new_items if item[0] == "TRIGGER"])

    def _rename(self) -> None:
        moves = [((self.target, name), (self.aside, name)) for name in self.old_tables]
        moves += [((self.database, name), (self.target, name)) for name in self.new_tables]
        if self.old is not None:
            moves.append(mark_of_move(self.aside))
        if moves:
            move_tables(self.session, moves)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            try:
                in_place = self._undo()
            except BackupError as problem:
                raise LoadFailed(
                    f"'{self.connection.address}' could not be replaced ({_said(error)}), nor be put back as it was: "
                    f"{problem.message} What is missing lies in the database '{self.aside}'.",
                    hint="Restore again: it begins with putting that back.",
                ) from error
            if in_place:  # the server had done it, and could not say so
                raise self._unfinished(self._steps(), _said(error)) from error
            raise

    def _undo(self) -> bool:
        """Whether there was nothing to be undone any more."""
        if self.old is not None:
            return mend(self.connection)
        if not self.created:
            return False
        with _session(self.connection) as session:
            if stored_tables(session, self.target):
                return True
            query(session, f"DROP DATABASE IF EXISTS {identifier(self.target)}")
            return False

    def finish(self) -> None:
        """The tables are in their place: now what they cannot do without, and then the leftovers."""
        query(self.session, f"SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")
        steps = self._steps()
        for number, (_, step) in enumerate(steps):
            try:
                step()
            except (pymysql.err.MySQLError, BackupError) as error:
                raise self._unfinished(steps[number:], _said(error)) from error

    def _steps(self) -> Sequence[tuple[str, Callable[[], None]]]:
        return (
            ("its character set", self._set_character_set),
            ("defaults that draw from sequences", self._correct_defaults),
            ("views and routines", lambda: self._load(self.new.views_and_routines)),
            ("triggers", lambda: self._load(self.new.triggers)),
            ("the removal of views and routines that only the old one had", self._drop_surplus),
            ("events", lambda: self._load(self.new.events)),
            ("the comparison of what is there now", self._compare),
            ("the removal of the old tables", self._drop_helpers),
        )

    def _unfinished(self, steps: Sequence[tuple[str, object]], said: str) -> LoadFailed:
        return LoadFailed(
            f"The tables of the backup are in their place in '{self.connection.address}', and this is not: "
            f"{', '.join(what for what, _ in steps)}: {said}",
            hint="Mend what it names, and restore again.",
        )

    def _set_character_set(self) -> None:
        if settings := character_set(self.session, self.database):
            query(
                self.session,
                f"ALTER DATABASE {identifier(self.target)} CHARACTER SET {settings[0]} COLLATE {settings[1]}",
            )

    def _correct_defaults(self) -> None:
        """A default names its sequence together with the database."""
        renaming = Renaming(self.database, self.target)
        query(self.session, ALTER_SETTINGS)
        for table, column, default in query(self.session, _SEQUENCE_DEFAULTS, (self.target,)):
            corrected = renaming.requalified(str(default).encode()).decode()
            if corrected != default:
                query(
                    self.session,
                    f"ALTER TABLE {identifier(self.target)}.{identifier(table)} ALTER COLUMN {identifier(column)} "
                    f"SET DEFAULT ({corrected})",
                )

    def _load(self, script: bytes) -> None:
        if problem := load_code(self.connection, self.server.flavour, script):
            raise LoadFailed(problem)

    def _drop_surplus(self) -> None:
        coming = set(self.new_items)
        drop_items(self.session, self.target, [item for item in self.old_items if item not in coming])

    def _compare(self) -> None:
        there = set(code_items(self.session, self.target))
        if missing := sorted(set(self.new_items) - there):
            raise LoadFailed(f"there is no {some(f'{kind.lower()} {name}' for kind, name in missing)}.")

    def _drop_helpers(self) -> None:
        # A key that this user could not see has followed the old tables: they stay, and the error says so.
        query(self.session, "SET SESSION foreign_key_checks = 1")
        for helper in (self.aside, self.database):
            query(self.session, f"DROP DATABASE IF EXISTS {identifier(helper)}")


@contextmanager
def _session(connection: ConnectionInfo) -> Iterator[Session]:
    with session_for(connection, "replace", database="") as session:
        yield session


def _said(error: BaseException) -> str:
    return error.message if isinstance(error, BackupError) else str(error.args[-1] if error.args else error)
