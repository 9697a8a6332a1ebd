"""What a database in another's place has set aside, in the database that takes in the old tables; and putting it back.

Whatever ends a swap early, the next attempt finds here how far it was.
"""

# ruff: noqa: S608 - names are quoted
from __future__ import annotations

import json
from dataclasses import dataclass

from db_backup.engines.mysql.code import LOCK_WAIT_SECONDS, load_code, made_anew
from db_backup.engines.mysql.connecting import Session, identifier, query, session_for
from db_backup.engines.mysql.databases import (
    Item,
    Place,
    character_set,
    code_items,
    move_tables,
    replaced_name,
    replacement_name,
    some,
    stored_tables,
)
from db_backup.engines.mysql.finishing import Coming, finish
from db_backup.engines.mysql.server import describe_server
from db_backup.errors import Refused, SourceError
from db_backup.model import ConnectionInfo

_TABLE = "__db_backup_journal"
_DONE = "__db_backup_journal_done"


@dataclass(frozen=True)
class Journal:
    """``items``: the code that is dropped before the tables change places; ``script`` makes it again.

    ``coming``: what is made once they have.
    """

    old_tables: tuple[str, ...]
    new_tables: tuple[str, ...]
    items: tuple[Item, ...]
    script: bytes
    coming: Coming
    moved: bool = False


def begin_journal(session: Session, aside: str, journal: Journal) -> None:
    """Make the database that will take in the old tables, with the journal in it."""
    query(session, f"CREATE DATABASE {identifier(aside)} CHARACTER SET utf8mb4")
    query(
        session,
        f"CREATE TABLE {_place(aside)} (names longtext NOT NULL, script longblob NOT NULL, "
        "new_views_and_routines longblob NOT NULL, new_triggers longblob NOT NULL, new_events longblob NOT NULL) "
        "ENGINE = InnoDB",
    )
    coming = journal.coming
    names = {
        "old_tables": journal.old_tables,
        "new_tables": journal.new_tables,
        "items": journal.items,
        "coming": {
            "items": coming.items,
            "surplus": coming.surplus,
            "passing_events": coming.passing_events,
            "settings": coming.settings,
        },
    }
    query(
        session,
        f"INSERT INTO {_place(aside)} VALUES (%s, %s, %s, %s, %s)",
        (json.dumps(names), journal.script, coming.views_and_routines, coming.triggers, coming.events),
    )


def mark_of_move(aside: str) -> tuple[Place, Place]:
    """What is renamed together with the tables, as the last: once it has this name, the old ones may be dropped."""
    return (aside, _TABLE), (aside, _DONE)


def mend(connection: ConnectionInfo) -> bool:
    """Put in order what an interrupted swap of this connection's database has left; nothing where there is nothing.

    Returns whether the new tables had come into their place: then the swap is finished, and the old ones are gone.

    :raises Refused: what is there is not what a swap leaves.
    :raises LoadFailed: it cannot be finished; the message says what is missing.
    """
    database, aside = connection.database, replaced_name(connection.database)
    with session_for(connection, "put in order what an interrupted restore has left of", database="") as session:
        if character_set(session, aside) is None:
            return False
        query(session, f"SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")
        tables = stored_tables(session, aside)
        journal = _read(session, aside, tables)
        if journal is None and (theirs := [*tables, *(name for _, name in code_items(session, aside))]):
            raise Refused(
                f"The database '{aside}' at {connection.address} is in the way: it holds {some(theirs)}, and no "
                "restore has left it so.",
                hint="See whether anybody needs it, and rename or drop it.",
            )
        if character_set(session, database) is None:
            _refuse_only_copy(connection, aside, tables)
        elif journal is not None and journal.moved:
            finish(session, connection, journal.coming)
            return True
        elif journal is not None:
            _put_tables_back(session, connection, tables, journal)
            put_code_back(session, connection, journal)
        query(session, f"DROP DATABASE {identifier(aside)}")
        return False


def _refuse_only_copy(connection: ConnectionInfo, aside: str, tables: list[str]) -> None:
    if tables:
        raise Refused(
            f"There is no '{connection.address}', and what a restore had taken out of it lies in '{aside}': "
            f"{some(tables)}.",
            hint="Move these tables back by RENAME TABLE, or drop that database if nobody needs it.",
        )


def _read(session: Session, aside: str, tables: list[str]) -> Journal | None:
    """Takes the journal off the list. None where an attempt ended before it had written anything."""
    for name in (_TABLE, _DONE):
        if name not in tables:
            continue
        tables.remove(name)
        for written, script, *scripts in query(session, f"SELECT * FROM {identifier(aside)}.{name}"):
            names = json.loads(written)
            coming = names["coming"]
            return Journal(
                tuple(names["old_tables"]),
                tuple(names["new_tables"]),
                _items(names["items"]),
                script,
                Coming(
                    _items(coming["items"]),
                    _items(coming["surplus"]),
                    tuple(coming["passing_events"]),
                    tuple(coming["settings"]),
                    *scripts,
                ),
                moved=name == _DONE,
            )
    return None


def _items(pairs: list[list[str]]) -> tuple[Item, ...]:
    return tuple((kind, name) for kind, name in pairs)


def _put_tables_back(session: Session, connection: ConnectionInfo, aside: list[str], journal: Journal) -> None:
    """Servers that rename all tables or none leave nothing to do here; older ones do, when they crash."""
    database, copy, place = (
        connection.database,
        replacement_name(connection.database),
        replaced_name(connection.database),
    )
    there = set(stored_tables(session, database))
    came = there & set(journal.new_tables) if set(aside) >= set(journal.old_tables) else set()
    moves = [((database, name), (copy, name)) for name in sorted(came)] if aside else []
    moves += [((place, name), (database, name)) for name in aside]
    if len(moves) > len(aside) and character_set(session, copy) is None:
        raise Refused(
            f"Of the tables that were to be replaced in '{connection.address}' all lie in '{place}', "
            f"and of those in their place only {some(sorted(came))} are there.",
            hint=f"Move these away, and the others back, by RENAME TABLE; then drop '{place}'.",
        )
    if moves:
        move_tables(session, moves)


def put_code_back(session: Session, connection: ConnectionInfo, journal: Journal) -> None:
    """Make again what is missing of the code that was dropped.

    :raises SourceError: it cannot be made.
    """
    there = code_items(session, connection.database)
    if set(journal.items) <= set(there):
        return
    flavour = describe_server(session, connection).flavour
    if problem := load_code(connection, flavour, made_anew(journal.script, there)):
        raise SourceError(
            f"The triggers and events of '{connection.address}' could not be put back: {problem}",
            hint=f"They are in the journal, {_place(replaced_name(connection.database))}.",
        )


def _place(aside: str) -> str:
    return f"{identifier(aside)}.{_TABLE}"
