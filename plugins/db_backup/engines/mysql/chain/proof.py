"""Whether a server's binlog still leads on from where a backup ended: the same server, the same history, no gap."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql

from db_backup.engines.mysql.chain.capture import MOST_OFFSET, CaptureEnded, fetch_head
from db_backup.engines.mysql.chain.events import Head, MalformedBinlog
from db_backup.engines.mysql.chain.position import Position, serial_of
from db_backup.engines.mysql.chain.server import gtids_at, read_files, read_standing, server_ids
from db_backup.engines.mysql.connecting import Session, error_code, query
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.server import Server, describe_server
from db_backup.errors import ChainBroken, SourceError
from db_backup.manifest import Manifest, ServerInfo
from db_backup.model import ConnectionInfo
from db_backup.progress import Cancellation

_NOT_LOGGING = 1381  # ER_NO_BINARY_LOGGING


def prove(
    session: Session, connection: ConnectionInfo, parent: Manifest, cancellation: Cancellation
) -> tuple[Position, Head]:
    """Where the next increment begins, and what the file in which that is begins with.

    :raises ChainBroken: the binlog does not lead on from there.
    :raises ServerUnreachable, AccessDenied, PrivilegeMissing, SourceError: nobody can know.
    """
    server = describe_server(session, connection)
    position = _position_of(parent)
    for reason in _breaks(session, server, parent, position):
        raise _broken(parent, reason)
    try:
        head = fetch_head(connection, server.flavour, position.place.file, cancellation)
    except (CaptureEnded, MalformedBinlog) as error:
        raise _broken(parent, f"the binlog file {position.place.file} cannot be read: {error}") from error
    except SourceError as error:
        cancellation.check()
        if position.place.file in read_files(session):
            raise
        raise _broken(parent, _purged(position)) from error
    if head.fingerprint != position.head:
        raise _broken(
            parent,
            f"the binlog file {position.place.file} is not the one that it ended in: the history was begun anew (RESET "
            "MASTER), or this is another server",
        )
    return position, head


def _breaks(session: Session, server: Server, parent: Manifest, position: Position) -> Iterator[str]:
    """What speaks against it, the plainest first."""
    if server.info.flavour != parent.server.flavour or server.info.major != parent.server.major:
        yield (
            f"the server is {server.info.flavour} {server.info.version} now and was {parent.server.flavour} "
            f"{parent.server.version}, on which its statements may not be replayed"
        )
    if not server.binlog or read_standing(session) is None:
        yield "the server writes no binlog any more"
    yield from _other_server(session, server, parent.server, position)
    yield from _missing_history(session, position)
    yield from _other_history(session, server, position)


def _other_server(session: Session, server: Server, was: ServerInfo, position: Position) -> Iterator[str]:
    if server.info.identity != was.identity:
        yield f"another server answers: its server_uuid is '{server.info.identity}', and was '{was.identity}'"
    number, domain = server_ids(session, server.flavour)
    if number != position.server:
        yield f"another server answers, perhaps after a failover: its server_id is {number}, and was {position.server}"
    if domain != position.domain:
        yield f"the server writes another history: its gtid_domain_id is {domain}, and was {position.domain}"


def _missing_history(session: Session, position: Position) -> Iterator[str]:
    place = position.place
    try:
        files = read_files(session)
    except pymysql.err.MySQLError as error:
        if error_code(error) != _NOT_LOGGING:
            raise
        yield "the server writes no binlog any more"
        return
    if place.file not in files:
        first = next(iter(files), place.file)
        same_name = serial_of(first)[0] == serial_of(place.file)[0]
        later = same_name and serial_of(first)[1] > serial_of(place.file)[1]
        yield (
            _purged(position)
            if later
            else (
                f"the server has no binlog file {place.file}: its history was begun anew (RESET MASTER), or this is "
                "another server"
            )
        )
    elif files[place.file] < place.offset:
        yield (
            f"the binlog file {place.file} has {files[place.file]} bytes, and it ended at {place.offset}: the history "
            "was begun anew (RESET MASTER), or events were lost when the server crashed"
        )
    if place.offset > MOST_OFFSET:
        yield (
            f"it ended at {place}, beyond 4 GiB, where no increment can begin (FLUSH BINARY LOGS begins another file)"
        )


def _other_history(session: Session, server: Server, position: Position) -> Iterator[str]:
    if server.flavour is Flavour.MARIADB:
        found = gtids_at(session, server, position.place)
        if found is None or frozenset(filter(None, found.split(","))) != position.gtids:
            yield (
                f"at {position.place} the server has the GTID '{found or ''}', and it had '{position.gtid}': the "
                "history was begun anew (RESET MASTER), or this is another server"
            )
    elif not query(session, "SELECT GTID_SUBSET(%s, @@global.gtid_executed)", (position.gtid,))[0][0]:
        yield "the server has not executed transactions that it had executed then"


def _purged(position: Position) -> str:
    return f"the server has purged its binlog file {position.place.file}, in which it ended"


def _position_of(parent: Manifest) -> Position:
    text = parent.chain.to_position if parent.chain is not None else None
    try:
        return Position.parse(text or "")
    except ValueError as error:
        raise _broken(parent, "it has no position of a binlog") from error


def _broken(parent: Manifest, reason: str) -> ChainBroken:
    return ChainBroken(
        f"No increment can follow {parent.id}: {reason}.",
        hint="Take a full backup, which begins another chain; what was changed in between is in no backup.",
        database=parent.entry,
        backup_id=parent.id,
    )
