"""Loading rows into tables that exist: what must be true of them, how nothing fires meanwhile, and how to go back.

A trigger cannot be switched off: each is taken away and made again, by the tools that dump and restore it, so that it
comes back with its definer, SQL mode and character set. That this user can make it is tried out under another name
first. The tools commit as they go: after a load that failed, what it filled is emptied, and counters are set back.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from db_backup.engines.base import Block, EngineOptions
from db_backup.engines.mysql.client import load_script
from db_backup.engines.mysql.connecting import Session, identifier, query, session_for
from db_backup.engines.mysql.counters import Counter, read_counters, set_counters
from db_backup.engines.mysql.databases import some
from db_backup.engines.mysql.dump_parser import DumpParser, code_head, with_name
from db_backup.engines.mysql.dump_splitter import Kind
from db_backup.engines.mysql.feeding import feed_all
from db_backup.engines.mysql.preflight import Findings, examine_copy
from db_backup.engines.mysql.privileges import read_privileges
from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.engines.mysql.sessions import await_end_of_load, other_sessions
from db_backup.engines.mysql.streams import running_tool
from db_backup.engines.mysql.tables import Table, empty_tables, filled_tables, read_tables
from db_backup.errors import BackupError, LoadFailed, TargetNotEmpty
from db_backup.manifest import Manifest
from db_backup.model import BackupType, ConnectionInfo
from db_backup.progress import Cancellation

_LOCK_WAIT_SECONDS = 60
_TRIGGERS = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s"


@dataclasses.dataclass(frozen=True)
class _Target:
    """What was there before the load. ``sessions``: connections to the database."""

    tables: tuple[Table, ...]
    counters: tuple[Counter, ...]
    triggers: tuple[str, ...]
    sessions: frozenset[int]


def load_rows(
    connection: ConnectionInfo,
    options: EngineOptions,
    streams: Sequence[Iterable[Block]],
    manifest: Manifest,
    cancellation: Cancellation,
) -> tuple[str, ...]:
    """Feed a data backup to the stock client, without triggers; returns warnings.

    :raises TargetNotEmpty: a table has rows; nothing was changed.
    :raises LoadFailed: as the contract of ``engines.base`` says.
    :raises ScratchUnavailable: a scratch server is full or gone.
    """
    cancellation.check()
    with scratch_faults(connection, manifest):
        findings = examine_copy(connection, BackupType.DATA)
        with _session(connection) as session:
            target = _examine(session, connection, manifest, findings)
        with _without_triggers(connection, options, findings, target, manifest, cancellation):
            try:
                return feed_all(connection, findings.server.flavour, streams, manifest, cancellation).warnings
            except BaseException as error:
                _go_back(connection, target, manifest, error)
                raise


def _examine(session: Session, connection: ConnectionInfo, manifest: Manifest, findings: Findings) -> _Target:
    """:raises TargetNotEmpty, LoadFailed:"""
    database = connection.database
    tables = tuple(read_tables(session, database))
    if missing := sorted({table.name for table in manifest.inventory.tables} - {table.name for table in tables}):
        raise _failed(
            f"The database at {connection.address} has no {some(missing)}, and {manifest.id} has rows for it.",
            "Restore the structure of the same database there first.",
            manifest,
        )
    if filled := filled_tables(session, tables):
        raise TargetNotEmpty(
            f"The database at {connection.address} has rows in {some(filled)} already; nothing was changed.",
            hint="Load the rows into a database whose tables are empty.",
            database=manifest.entry,
            backup_id=manifest.id,
        )
    if not read_privileges(session, database, findings.server.flavour).holds("TRIGGER"):
        raise _failed(
            f"The rows of {manifest.id} were not loaded into {connection.address}: without the privilege TRIGGER the "
            f"user '{connection.login}' cannot see which triggers would fire.",
            f"GRANT TRIGGER ON {identifier(database)}.* to that user.",
            manifest,
        )
    return _Target(
        tables,
        read_counters(session, database),
        tuple(str(name) for (name,) in query(session, _TRIGGERS, (database,))),
        other_sessions(session, database),
    )


@contextmanager
def _without_triggers(
    connection: ConnectionInfo,
    options: EngineOptions,
    findings: Findings,
    target: _Target,
    manifest: Manifest,
    cancellation: Cancellation,
) -> Iterator[None]:
    if not target.triggers:
        yield
        return
    script = _dump_triggers(connection, options, findings, target, manifest, cancellation)
    _rehearse(connection, findings, script, manifest, cancellation)
    try:
        _drop_triggers(connection, target.triggers)
        yield
    finally:
        if problem := _put_back(connection, findings, target, script):
            raise _failed(
                f"The triggers of {connection.address} could not be put back: {problem}",
                f"Make them again from a structure backup of the same database: {some(target.triggers)}.",
                manifest,
            )


def _put_back(connection: ConnectionInfo, findings: Findings, target: _Target, script: bytes) -> str:
    """Whatever has happened, and whoever wants to stop; what went wrong, or nothing."""
    try:
        _drop_triggers(connection, target.triggers)  # perhaps not all of them are gone
        return load_script(connection, findings.server.flavour, script, Cancellation())
    except BackupError as error:
        return error.message


def _drop_triggers(connection: ConnectionInfo, names: Iterable[str]) -> None:
    with _session(connection) as session:
        for name in names:
            query(session, f"DROP TRIGGER IF EXISTS {identifier(name)}")


def _dump_triggers(
    connection: ConnectionInfo,
    options: EngineOptions,
    findings: Findings,
    target: _Target,
    manifest: Manifest,
    cancellation: Cancellation,
) -> bytes:
    """The script that makes every trigger of the database again.

    :raises LoadFailed: it is not to be had.
    """
    plan = dataclasses.replace(findings.plan, definitions=False, rows=False, triggers=True, events=False)
    wanted = dataclasses.replace(options, mysql_triggers=True)
    with running_tool(connection, wanted, findings.dump_tool, plan, cancellation) as tool:
        script = tool.stdout.read()
        status = tool.wait()
        cancellation.check()
        words = tool.last_words
    parser = DumpParser()
    parser.feed(script)
    parser.finish()
    kept = [name for kind, name in parser.objects if kind == "trigger"]
    if status or not parser.complete or len(kept) != len(target.triggers):
        raise _failed(
            f"The triggers of {connection.address} could not be set aside, and nothing was changed: {tool.name} gave "
            f"{len(kept)} of {len(target.triggers)}{f' ({words})' if words else ''}.",
            "Drop them, load the rows, and make them again.",
            manifest,
        )
    return script


def _rehearse(
    connection: ConnectionInfo, findings: Findings, script: bytes, manifest: Manifest, cancellation: Cancellation
) -> None:
    """Make every trigger under another name, and take it away again.

    :raises LoadFailed: this user cannot make one of them.
    """
    prefix = f"db_backup_rehearsal_{secrets.token_hex(4)}"
    pieces: list[bytes] = []
    names: list[str] = []
    for piece in DumpParser().pieces(script):
        text = piece.text
        head = code_head(text) if piece.kind is Kind.STATEMENT else None
        if head is not None:
            names.append(f"{prefix}_{len(names)}")
            text = with_name(text, identifier(names[-1]).encode())
        pieces.append(text)
    try:
        problem = load_script(connection, findings.server.flavour, b"".join(pieces), cancellation)
    finally:
        _drop_triggers(connection, names)
    if problem:
        raise _failed(
            f"The rows of {manifest.id} were not loaded into {connection.address}, for this user could not put its "
            f"triggers back afterwards: {problem}",
            "Load the rows as a user that may make these triggers: with TRIGGER, and with SET USER (or SUPER) where "
            "another account is their definer.",
            manifest,
        )


def _go_back(connection: ConnectionInfo, target: _Target, manifest: Manifest, error: BaseException) -> None:
    """Empty what was filled, and set counters to where they stood.

    :raises LoadFailed: that fails too.
    """
    try:
        with _session(connection) as session:
            await_end_of_load(session, connection.database, target.sessions, connection.address)
            loaded = {table.name for table in manifest.inventory.tables}
            empty_tables(session, [table for table in target.tables if table.name in loaded])
            set_counters(session, target.counters)
    except BackupError as problem:
        said = error.message if isinstance(error, BackupError) else str(error)
        raise _failed(
            f"{said} The rows that had been loaded by then are still there: {problem.message}",
            "Empty the tables before another attempt.",
            manifest,
        ) from error


@contextmanager
def _session(connection: ConnectionInfo) -> Iterator[Session]:
    with session_for(connection, "load rows into") as session:
        query(session, f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_SECONDS}")
        yield session


def _failed(message: str, hint: str, manifest: Manifest) -> LoadFailed:
    return LoadFailed(message, hint=hint, database=manifest.entry, backup_id=manifest.id)
