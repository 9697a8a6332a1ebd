"""A database in another's place, where databases cannot be renamed: their tables are, all in one statement.

RENAME TABLE takes neither views nor routines along, and no table that has triggers. These are made anew from the stock
tool's scripts: the new ones right after the tables have changed places, the old ones when they could not. Between the
two the database is without triggers and events for a moment; a journal in the database that takes in the old tables
lets the next attempt put in order what an interrupted one has left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pymysql

from db_backup.engines.base import EngineOptions
from db_backup.engines.mysql.code import Code, read_code
from db_backup.engines.mysql.connecting import Session, error_code, identifier, query, session_for
from db_backup.engines.mysql.databases import (
    Item,
    character_set,
    code_items,
    drop_items,
    folded,
    move_tables,
    replaced_name,
    some,
    stored_tables,
)
from db_backup.engines.mysql.finishing import Coming, finish, said
from db_backup.engines.mysql.journal import Journal, begin_journal, mark_of_move, mend, put_code_back
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
        try:
            warnings = swap.move(cancellation)
        except BaseException as error:
            if not (swap.was_finished(error) and isinstance(error, Exception)):
                raise
            return ()
        warnings += finish(session, connection, swap.journal.coming)
        if not exists and new.active_events and swap.events_run:
            warnings.append(f"{new.active_events} events are now active in '{connection.database}'.")
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
        self.old_tables = stored_tables(self.session, self.target)
        self.new_tables = stored_tables(self.session, self.database)
        self.old_items = code_items(self.session, self.target)
        self.new_items = code_items(self.session, self.database)
        self.created = False
        self.was_without_code = False
        self.journal = self._journal()

    def _journal(self) -> Journal:
        places = folded(self.session, self.new_items).values()
        old_code = folded(self.session, [item for item in self.old_items if item[0] != "TRIGGER"])
        return Journal(
            tuple(self.old_tables),
            tuple(self.new_tables),
            tuple(self._in_the_way()),
            self._put_back(),
            Coming(
                tuple(self.new_items),
                tuple(item for item, place in old_code.items() if place not in places),
                self.new.passing_events,
                character_set(self.session, self.database) or (),
                self.new.views_and_routines,
                self.new.triggers,
                self.new.events,
            ),
        )

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
            begin_journal(self.session, self.aside, self.journal)
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
                if self.old is not None:
                    put_code_back(self.session, self.connection, self.journal)
                if attempt == _ATTEMPTS - 1:
                    raise self._in_use() from error
            else:
                return list(self._about_sessions(staying))
        raise AssertionError("the last attempt returns or raises")

    def _in_use(self) -> Refused:
        state = "the database is as it was"
        if self.was_without_code:
            state = (
                "its tables are as they were, and its triggers and events are there again. They were away for some "
                "seconds, and what was written then went without them"
            )
        return Refused(
            f"The tables of '{self.connection.address}' are in use and could not be freed; {state}.",
            hint="See SHOW PROCESSLIST for who holds them, stop the application, and restore again.",
        )

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
        """First under locks on all tables: while others use them, nothing is dropped."""
        drop_items(self.session, self.database, [item for item in self.new_items if item[0] == "TRIGGER"])
        if self.old is None:
            return
        triggers = [item for item in self.journal.items if item[0] == "TRIGGER"]
        try:
            self._lock_old_tables()
            self._refuse_other_tables()
            self.was_without_code = self.was_without_code or bool(self.journal.items)
            drop_items(self.session, self.target, triggers)
        finally:
            query(self.session, "UNLOCK TABLES")
        drop_items(self.session, self.target, [item for item in self.journal.items if item not in triggers])

    def _lock_old_tables(self) -> None:
        """:raises pymysql.err.MySQLError: they are in use.

        Where they cannot be locked for another reason (no LOCK TABLES privilege, a broken MERGE table), the attempt
        goes on without.
        """
        if not self.old_tables:
            return
        locks = ", ".join(f"{identifier(self.target)}.{identifier(name)} WRITE" for name in self.old_tables)
        try:
            query(self.session, f"LOCK TABLES {locks}")
        except pymysql.err.MySQLError as error:
            if error_code(error) == _LOCK_WAIT_TIMEOUT:
                raise

    def _refuse_other_tables(self) -> None:
        """A table that came meanwhile would stay, among those of the backup."""
        if others := set(stored_tables(self.session, self.target)) ^ set(self.old_tables):
            raise Refused(
                f"Tables of '{self.connection.address}' were made or dropped while it was to be replaced: "
                f"{some(sorted(others))}. The database is as it was.",
                hint="Stop the application, and restore again.",
            )

    def _rename(self) -> None:
        moves = [((self.target, name), (self.aside, name)) for name in self.old_tables]
        moves += [((self.database, name), (self.target, name)) for name in self.new_tables]
        if self.old is not None:
            moves.append(mark_of_move(self.aside))
        if moves:
            move_tables(self.session, moves)

    def was_finished(self, error: BaseException) -> bool:
        """After a failure: put back what was changed; or finish, where the server had done it and could not say so.

        :raises LoadFailed: neither can be done.
        """
        try:
            return self._mend()
        except BackupError as problem:
            raise LoadFailed(
                f"'{self.connection.address}' could not be replaced ({said(error)}), nor be put back as it was: "
                f"{problem.message} What is missing lies in the database '{self.aside}'.",
                hint="Restore again: it begins with putting that in order.",
            ) from error

    def _mend(self) -> bool:
        if self.old is not None:
            return mend(self.connection)
        if not self.created:
            return False
        with _session(self.connection) as session:
            if stored_tables(session, self.target):
                finish(session, self.connection, self.journal.coming)
                return True
            query(session, f"DROP DATABASE IF EXISTS {identifier(self.target)}")
            return False


@contextmanager
def _session(connection: ConnectionInfo) -> Iterator[Session]:
    with session_for(connection, "replace", database="") as session:
        yield session
