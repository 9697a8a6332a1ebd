"""A dump loaded into an empty database, some of its tables loaded into any, and a dump read without a server.

The client commits as it goes: after a load that failed, what it had made is taken away again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pymysql

from db_backup.engines.base import Block, LoadOptions
from db_backup.engines.mysql.connecting import Session, connect, identifier, query, session_for
from db_backup.engines.mysql.contents import contents_of
from db_backup.engines.mysql.counters import ALTER_SETTINGS
from db_backup.engines.mysql.databases import (
    character_set,
    code_items,
    drop_tables,
    empty_database,
    is_replacement,
    set_character_set,
    some,
    stored_tables,
)
from db_backup.engines.mysql.definers import missing_definers
from db_backup.engines.mysql.dump_parser import DumpParser
from db_backup.engines.mysql.dump_splitter import MalformedDump
from db_backup.engines.mysql.events import about_passed
from db_backup.engines.mysql.feeding import Fed, feed_all, parsers_for
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.inventory import tables_of
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.engines.mysql.selection import Selection
from db_backup.engines.mysql.server import describe_server
from db_backup.engines.mysql.sessions import await_end_of_load, other_sessions
from db_backup.errors import ArtefactCorrupt, ArtefactTruncated, BackupError, LoadFailed, TargetNotEmpty
from db_backup.manifest import Inventory, Manifest
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

_FOREIGN_KEYS = """SELECT table_name, constraint_name, referenced_table_name
    FROM information_schema.referential_constraints WHERE constraint_schema = %s AND unique_constraint_schema = %s"""


@dataclass(frozen=True)
class Loaded:
    """``passing_events``: names of events that may be missing without a fault, for their time passes."""

    warnings: tuple[str, ...]
    passing_events: frozenset[str]


def load(
    connection: ConnectionInfo,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
    options: LoadOptions,
) -> Loaded:
    """Feed a dump to stock clients. The binlog stays on: replicas and later increments must see a restore.

    :raises TargetNotEmpty: the database holds something, or with ``options.tables`` one of these; nothing was changed.
    :raises LoadFailed: the client failed, or the dump ended before its end marker.
    :raises ScratchUnavailable: a scratch server is full or gone, or lacks another database that the dump needs.
    """
    cancellation.check()
    with scratch_faults(connection, manifest):
        target = _prepare(connection, manifest, options.tables)
        try:
            fed = feed_all(connection, target.flavour, streams, manifest, cancellation, target.selection)
        except BaseException as error:
            if not connection.scratch:
                _go_back(connection, target, manifest, error)
            raise
        return Loaded((*fed.warnings, *_about(connection, target, fed)), fed.passing_events)


@dataclass(frozen=True)
class _Target:
    """What is known of the database before the load. ``sessions``: connections to it.

    ``settings``: its character set and collation.
    """

    flavour: Flavour
    events_run: bool
    sessions: frozenset[int]
    settings: tuple[str, str] | None
    selection: Selection | None


def _prepare(connection: ConnectionInfo, manifest: Manifest, tables: Sequence[str]) -> _Target:
    """See that nothing is in the way, and give an empty database the character set that the backup's had."""
    database = connection.database
    session = connect(connection)
    try:
        server = describe_server(session, connection)
        sequences = _refuse_filled(session, connection, tables)
        if manifest.server.collation and not code_items(session, database) and not stored_tables(session, database):
            set_character_set(session, database, manifest.server.encoding, manifest.server.collation)
        return _Target(
            server.flavour,
            str(query(session, "SELECT @@event_scheduler")[0][0]).upper() == "ON" and not is_replacement(database),
            other_sessions(session, database),
            character_set(session, database),
            Selection(tables, sequences) if tables else None,
        )
    except pymysql.err.MySQLError as error:
        raise LoadFailed(
            f"{manifest.id} cannot be loaded into '{database}': {error.args[-1]}.",
            hint="Restore it into a server of the same flavour and version, with a user that may create everything.",
            backup_id=manifest.id,
        ) from error
    finally:
        session.close()


def _refuse_filled(session: Session, connection: ConnectionInfo, tables: Sequence[str]) -> list[str]:
    """A dump drops what it brings. Names of the sequences that are there."""
    there = [(kind.lower(), name) for kind, name in code_items(session, connection.database)]
    stored = stored_tables(session, connection.database)
    wanted = set(tables)
    views = [name for kind, name in there if kind == "view"]
    everything = [*stored, *(name for _, name in there)]
    in_the_way = [name for name in (*stored, *views) if name in wanted] if tables else everything
    if in_the_way:
        raise TargetNotEmpty(
            f"The database at {connection.address} holds {some(in_the_way)} already, and was not touched.",
            hint="Restore into a new database" + (", or rename these first." if tables else "."),
        )
    return stored


def _go_back(connection: ConnectionInfo, target: _Target, manifest: Manifest, error: BaseException) -> None:
    """Take away what was made.

    :raises LoadFailed: that fails too.
    """
    database = connection.database
    try:
        with session_for(connection, "take what was loaded away from") as session:
            await_end_of_load(session, database, target.sessions, connection.address)
            if target.selection is None:
                empty_database(session, database)
            else:
                _set_back(session, database, target)
                drop_tables(session, database, {*target.selection.tables, *target.selection.sequences})
    except BackupError as problem:
        said = error.message if isinstance(error, BackupError) else str(error)
        raise LoadFailed(
            f"{said} The database at {connection.address} is incomplete: what had been loaded by then is still "
            f"there ({problem.message})",
            hint="Drop what was loaded before another attempt.",
            database=manifest.entry,
            backup_id=manifest.id,
        ) from error


def _about(connection: ConnectionInfo, target: _Target, fed: Fed) -> Iterator[str]:
    """What a person should know of a load that went well."""
    if target.selection is None and fed.events and target.events_run:
        yield f"{fed.events} events are now active in '{connection.database}', beside the original's."
    if connection.scratch:
        return
    with session_for(connection, "examine what was loaded into") as session:
        if target.selection is not None:
            _set_back(session, connection.database, target)
            yield from _about_selection(session, connection.database, target.selection)
        if passed := sorted(fed.passing_events - _events(session, connection.database)):
            yield about_passed(passed)
        if missing := missing_definers(session, fed.definers):
            yield (
                f"These accounts, in whose name views, triggers, routines or events run, do not exist at "
                f"{connection.address}: using what they define fails there (1449) until they are made: {some(missing)}."
            )


def _set_back(session: Session, database: str, target: _Target) -> None:
    """Triggers of another character set come in that of the backup's database, which is not this one's."""
    if target.settings is not None and character_set(session, database) != target.settings:
        set_character_set(session, database, *target.settings)


def _events(session: Session, database: str) -> set[str]:
    return {name for kind, name in code_items(session, database) if kind == "EVENT"}


def _about_selection(session: Session, database: str, selection: Selection) -> Iterator[str]:
    query(session, ALTER_SETTINGS)
    for table, key, referred in query(session, _FOREIGN_KEYS, (database, database)):
        if table in selection.tables and referred not in selection.tables:
            query(session, f"ALTER TABLE {identifier(table)} DROP FOREIGN KEY {identifier(key)}")
            yield (
                f"The foreign key '{key}' of '{table}' was left out, for it refers to '{referred}', which was not "
                "restored with it."
            )
    if selection.shared_sequences:
        yield (
            "These sequences were there already and stand where they stood: perhaps behind the rows that were "
            f"restored: {some(sorted(selection.shared_sequences))}."
        )


def read_archive(streams: Sequence[Iterable[Block]], manifest: Manifest, cancellation: Cancellation) -> Inventory:
    """What a dump holds, every stream of it read to its end marker.

    :raises ArtefactCorrupt, ArtefactTruncated:
    """
    parsers = parsers_for(streams, manifest)
    for content, parser in zip(streams, parsers, strict=True):
        _read_stream(content, parser, manifest, cancellation)
    try:
        contents = contents_of(parsers)
    except MalformedDump as error:
        raise _unreadable(manifest, "", error) from error
    return Inventory(tables=tables_of(contents, manifest.type, manifest.excluded_tables))


def _read_stream(content: Iterable[Block], parser: DumpParser, manifest: Manifest, cancellation: Cancellation) -> None:
    try:
        for block in content:
            cancellation.check()
            parser.feed(block)
        parser.finish()
    except MalformedDump as error:
        raise _unreadable(manifest, _place(parser), error) from error
    if not parser.complete:
        raise ArtefactTruncated(
            f"The dump of {manifest.id} ends before its end marker{_place(parser)}.",
            hint="Restore from another copy or another backup.",
            backup_id=manifest.id,
        )


def _unreadable(manifest: Manifest, place: str, error: MalformedDump) -> ArtefactCorrupt:
    return ArtefactCorrupt(
        f"The dump of {manifest.id} cannot be read{place}: {error}.",
        hint="Restore from another copy or another backup.",
        backup_id=manifest.id,
    )


def _place(parser: DumpParser) -> str:
    return f", at or after the table '{parser.last_table}'" if parser.last_table else ""
